"""Which samples a check runs on: every form of every layout that the operator claims."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from polypool.testing.bags import Bags
from polypool.testing.samples import Sample
from polypool.testing.written import clusters, graph_clusters, grid, nodes, packed, pairs, soft, tokens

Form = Callable[[Bags], Sample]

# The first form of each layout is the one that checks use which need one per layout only.
FORMS: dict[str, tuple[Form, ...]] = {
    "packed": (packed,),
    "tokens": (partial(tokens, side="holes"), tokens, partial(tokens, side="left", extra=0)),
    "grid": (grid, partial(grid, dims=1), partial(grid, dims=3, channels_last=True)),
    "nodes": (nodes, partial(nodes, shuffled=False)),
    "clusters": (clusters, pairs, graph_clusters),
}
# Cells of equal size need no mask: another path through the same layouts.
FULL: dict[str, tuple[Form, ...]] = {
    "tokens": (partial(tokens, extra=0),),
    "grid": (partial(grid, extra=0), partial(grid, extra=0, channels_last=True)),
}
LAYOUTS = tuple(FORMS)


def one_of_each(kinds: Sequence[str], bags: Bags) -> Iterator[Sample]:
    """One form of each layout."""
    for kind in LAYOUTS:
        if kind in kinds:
            yield FORMS[kind][0](bags)


def all_forms(kinds: Sequence[str], bags: Bags) -> Iterator[Sample]:
    """Every form of each layout; with weights also as a soft assignment."""
    for kind in LAYOUTS:
        if kind in kinds:
            yield from (form(bags) for form in FORMS[kind])
    if "clusters" in kinds and bags.weights is not None:
        yield soft(bags)


def full_forms(kinds: Sequence[str], bags: Bags) -> Iterator[Sample]:
    """The forms without a mask, for cells of equal size."""
    for kind, forms in FULL.items():
        if kind in kinds:
            yield from (form(bags) for form in forms)


def padded_forms(kinds: Sequence[str], bags: Bags) -> Iterator[Sample]:
    """The forms that hold rows of no cell: padding, or nodes in no cluster."""
    for sample in all_forms(kinds, bags):
        if not bool(sample.real().all()):
            yield sample
