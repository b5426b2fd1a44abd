"""What each element adds to a score: exact attribution for every pooling, and maps of whole models' decisions."""

from polypool.explain.activation import ActivationMap, class_activation_map
from polypool.explain.contributions import Contributions, contributions, is_exact
from polypool.explain.decision import NotExplained
from polypool.explain.nodes import NodeContributions, node_contributions
from polypool.explain.pictures import draw_graph, draw_image, draw_tokens, tokens_html
from polypool.explain.tokens import TokenContributions, token_contributions

__all__ = [
    "ActivationMap",
    "Contributions",
    "NodeContributions",
    "NotExplained",
    "TokenContributions",
    "class_activation_map",
    "contributions",
    "draw_graph",
    "draw_image",
    "draw_tokens",
    "is_exact",
    "node_contributions",
    "token_contributions",
    "tokens_html",
]
