"""Writes the operators' pages and the table of their cards from the registry, before Sphinx reads its sources.

Nothing about an operator is written by hand in the documentation: a new one appears in all of it by being
registered.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polypool as pp
from polypool.registry import aliases

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sphinx.application import Sphinx

LAYOUTS = ("grid", "tokens", "packed", "nodes", "clusters")

# What a card's field says to somebody who chooses a pooling.
MEANING = {
    "layouts": "runs on",
    "decomposable": "exact `state`, `merge` and `finalize`, for streams and shards",
    "permutation_invariant": "the order of the elements does not matter",
    "homogeneity": "scaling the elements by c > 0 scales the result by c to this power",
    "has_weights": "`pool.weights(layout)` tells what each element counts",
    "learnable": "has parameters to train",
    "constant_preserving": "a cell of equal elements gives that element",
    "takes_weights": "runs on a layout with weights",
    "source": "source",
}


def said(value: object) -> str:
    """One value of a card as text for a table cell."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return " ".join(str(value).split()).replace("|", "\\|")


def mark(value: object) -> str:
    """One value of a card, short: a tick, a number or nothing."""
    if isinstance(value, bool):
        return "✓" if value else ""
    return "" if value is None else str(value)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), *map(list, rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def card_table(card: Any) -> str:
    """All fields of one card, with what they mean."""
    fields = {f.name: getattr(card, f.name) for f in dataclasses.fields(card)}
    rows = ([f"`{name}`", said(fields[name]), meaning] for name, meaning in MEANING.items() if name in fields)
    return table(["card", "", "meaning"], rows)


def operator_page(name: str, described: set[type]) -> str:
    """One operator's page: its card, and its docstring, which begins with what it computes.

    `described` holds the classes that have a page already; only the first one is in the index.
    """
    made = type(pp.build(name, channels=4))
    no_index = "\n   :no-index:" if made in described else ""
    described.add(made)
    return f"""# {name}

{card_table(pp.card(name))}
```{{eval-rst}}
.. autoclass:: {made.__module__}.{made.__qualname__}{no_index}
```
"""


def operators_index(names: Iterable[str]) -> str:
    """The list of all operators, with a line about each."""
    rows = [[f"[{name}]({name}.md)", said(pp.card(name).summary)] for name in names]
    others = [[f"`{alias}`", f"[{name}]({name}.md)"] for alias, name in aliases().items()]
    toctree = "\n".join(names)
    return f"""# Operators

Every name of `pp.names()`; each page is made from the class and from its property card.

{table(["name", "what it computes"], rows)}
## Other names

`pp.build` knows these as well.

{table(["name", "builds"], others)}
```{{toctree}}
:hidden:

{toctree}
```
"""


def choice_table(names: Iterable[str]) -> str:
    """One row per operator: the part of the cards that helps to choose."""
    head = ["pooling", "learned", "streams and merges", "homogeneity", "weights to show", "weighted layouts"]
    head += ["any order", "keeps constants", "layouts"]
    rows = []
    for name in names:
        card = pp.card(name)
        layouts = "all" if set(card.layouts) == set(LAYOUTS) else said(card.layouts)
        fields = [card.learnable, card.decomposable, card.homogeneity, card.has_weights, card.takes_weights]
        fields += [card.permutation_invariant, card.constant_preserving]
        rows.append([f"[{name}](operators/{name}.md)", *map(mark, fields), layouts])
    return table(head, rows)


def write(path: Path, text: str) -> None:
    """Writes a file unless it already says so, which would make Sphinx read it again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def write_pages(app: Sphinx) -> None:
    """Writes every generated page, and removes those of operators that are gone."""
    source = Path(app.srcdir)
    names = pp.names()
    described: set[type] = set()
    pages = {source / "operators" / f"{name}.md": operator_page(name, described) for name in names}
    pages[source / "operators" / "index.md"] = operators_index(names)
    for stale in set((source / "operators").glob("*.md")) - set(pages):
        stale.unlink()
    for path, text in pages.items():
        write(path, text)
    write(source / "_generated" / "which-pooling.md", choice_table(names))


def setup(app: Sphinx) -> dict[str, Any]:
    """Registers the extension with Sphinx."""
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
