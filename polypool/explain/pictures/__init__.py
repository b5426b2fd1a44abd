"""Pictures of contributions, in one call each: on an image, as coloured text, on a graph."""

from polypool.explain.pictures.graph import draw_graph
from polypool.explain.pictures.image import draw_image
from polypool.explain.pictures.text import draw_tokens, tokens_html

__all__ = ["draw_graph", "draw_image", "draw_tokens", "tokens_html"]
