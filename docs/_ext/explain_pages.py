"""Writes the table of what attribution is exact for, from the property cards, before Sphinx reads its sources."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from operator_pages import table, write  # type: ignore[import-not-found]

import polypool as pp
from polypool.explain import is_exact

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def how(pool: pp.Pooling) -> str:
    """What its contributions are, in words."""
    if pool.card.has_weights:
        return "its weights held fixed, times the elements"
    if pool.card.homogeneity:
        divided = "" if pool.card.homogeneity == 1 else f", divided by {pool.card.homogeneity}"
        return f"gradient times element{divided}"
    return "gradient times element"


def exact_table() -> str:
    """One row per operator."""
    rows = []
    for name in pp.names():
        pool = pp.build(name, channels=4)
        adds_up = "yes" if is_exact(pool) else "no: the error says how much is missing"
        rows.append([f"[{name}](operators/{name}.md)", how(pool), adds_up])
    return table(["pooling", "contribution of an element", "adds up to the score"], rows)


def write_table(app: Sphinx) -> None:
    """Writes the generated table."""
    write(Path(app.srcdir) / "_generated" / "explain.md", exact_table())


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension with Sphinx."""
    app.connect("builder-inited", write_table)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
