"""What every layout says of itself, and that it stays the same wherever a layout is put."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

import polypool as pp
from tests.layouts.known import KNOWN, ONE_OF_EACH, Known
from tests.support import close, identical, normal

NAN = float("nan")

every_layout = pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
one_of_each = pytest.mark.parametrize("known", [KNOWN[name] for name in ONE_OF_EACH], ids=ONE_OF_EACH)


@every_layout
def test_cells_are_those_written_by_hand(known: Known) -> None:
    layout, values = known.layout, known.values
    close(known.matrix(pp.build("sum")(layout)), known.integral(values), "sum")
    close(known.matrix(pp.build("mean")(layout)), known.integral(values, mean=True), "mean")
    close(known.matrix(pp.build("max")(layout)), known.largest(values), "max")


@every_layout
def test_counts(known: Known) -> None:
    real = [sum(weight > 0 for _, weight in cell) for cell in known.cells]
    assert known.layout.num_cells == len(known.cells)
    assert isinstance(known.layout.num_cells, int)
    assert known.layout.counts.dtype == torch.int64
    assert known.layout.counts.tolist() == real


@every_layout
def test_a_layout_in_words(known: Known) -> None:
    said = repr(known.layout)
    assert said.startswith(type(known.layout).__name__ + "(values=(")
    assert f"num_cells={len(known.cells)}" in said
    assert ("weighted" in said) == known.layout.weighted
    whole = all(weight == 1 for cell in known.cells for _, weight in cell)
    assert known.layout.weighted or whole


@every_layout
def test_kind_is_that_of_the_modality(known: Known) -> None:
    kinds = {"Grid": "grid", "Regions": "grid", "Tokens": "tokens", "Packed": "packed", "Nodes": "nodes"}
    parent = "tokens" if known.name.startswith("tokens") else "packed"
    own = type(known.layout).__name__
    assert known.layout.kind == (parent if own == "Spans" else kinds.get(own, "clusters"))


@every_layout
def test_with_values_keeps_the_structure(known: Known) -> None:
    """Other numbers, another number of channels, another dtype; what may not be read stays unread."""
    shape = list(known.values.shape)
    shape[known.channel_dim] += 2
    values = normal(*shape, seed=4)
    other = known.layout.with_values(values)
    assert type(other) is type(known.layout)
    assert other.values is values
    assert other.channels == shape[known.channel_dim]
    close(known.matrix(pp.build("sum")(other)), known.integral(values), "sum of other values")
    hidden = Known(known.name, other, known.cells, known.disjoint, known.channel_dim).spoilt(NAN)
    identical(pp.build("sum")(other.with_values(hidden)), pp.build("sum")(other), "NaN where nothing is read")
    assert pp.build("sum")(other.with_values(values.half())).dtype == torch.float16


def test_with_values_keeps_what_was_computed() -> None:
    """Order and counts are found once per layout."""
    for name in ("nodes-unsorted", "packed", "clusters-batch", "tokens-spans-mask"):
        layout: Any = KNOWN[name].layout
        members = layout.members
        assert members.counts is members.counts
        assert layout.with_values(layout.values * 2).members is members
    tokens: Any = KNOWN["tokens-mask"].layout
    assert tokens.with_values(tokens.values * 2)._real is tokens._real


@every_layout
def test_a_layout_keeps_no_graph_alive(known: Known) -> None:
    """What it keeps between uses has no gradient: rows are made anew, so what was pooled once can be freed."""
    layout = known.layout.with_values(known.values.clone().requires_grad_())
    for name in pp.names(layout):
        pp.build(name, channels=layout.channels).double()(layout)
    layout.scale(pp.build("mean")(layout))

    def kept(owner: object) -> Iterator[Tensor]:
        for value in vars(owner).values():
            if isinstance(value, Tensor):
                yield value
            elif hasattr(value, "__dict__"):
                yield from kept(value)

    assert [tensor is layout.values for tensor in kept(layout) if tensor.requires_grad] == [True]


@every_layout
def test_to_a_dtype_touches_the_values_alone(known: Known) -> None:
    for moved in (
        known.layout.to(torch.float32),
        known.layout.to("cpu", torch.float32),
        known.layout.to(device="cpu", dtype=torch.float32),
        known.layout.to(torch.zeros((), dtype=torch.float32)),
    ):
        assert moved.values.dtype == torch.float32
        for name in ("weight", *type(known.layout).structure):
            before, after = getattr(known.layout, name), getattr(moved, name)
            assert (before is None) == (after is None)
            if before is not None:
                identical(after, before, name)
        close(known.matrix(pp.build("sum")(moved)), known.integral(known.values), "sum")
    assert known.layout.values.dtype == torch.float64


@every_layout
def test_to_a_device(known: Known) -> None:
    """Everything moves, so that nothing is left behind on the way to a GPU."""
    moved = known.layout.to("meta")
    for name in ("values", "weight", *type(known.layout).structure):
        tensor = getattr(moved, name)
        assert tensor is None or tensor.device.type == "meta"
    identical(pp.build("sum")(known.layout.to("cpu")), pp.build("sum")(known.layout), "cpu to cpu")


def through_pytree(layout: pp.Layout) -> pp.Layout:
    leaves, spec = pytree.tree_flatten({"layout": layout})
    assert all(leaf is None or isinstance(leaf, Tensor) for leaf in leaves)
    back: pp.Layout = pytree.tree_unflatten(leaves, spec)["layout"]
    return back


def through_pickle(layout: pp.Layout) -> pp.Layout:
    back: pp.Layout = pickle.loads(pickle.dumps(layout))
    return back


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, through_pickle, through_pytree], ids=lambda way: way.__name__
)
@every_layout
def test_copies(known: Known, way: Callable[[pp.Layout], pp.Layout]) -> None:
    pp.build("median" if not known.layout.weighted else "mean")(known.layout)  # fills what is computed once
    twin = way(known.layout)
    assert type(twin) is type(known.layout)
    assert twin is not known.layout
    assert repr(twin) == repr(known.layout)
    assert twin.kind == known.layout.kind
    identical(twin.counts, known.layout.counts, "counts")
    identical(pp.build("sum")(twin), pp.build("sum")(known.layout), "sum")
    y = normal(twin.num_cells, 2)
    identical(twin.lift(y), known.layout.lift(y), "lift")


def test_leaves_have_names() -> None:
    """An error of torch.export then names `values` or `mask` and not a number."""
    keyed, _ = pytree.tree_flatten_with_path(KNOWN["grid-mask"].layout)
    assert [str(path[0]) for path, _ in keyed] == [".values", ".weight", ".mask"]
    mapped = pytree.tree_map(lambda leaf: leaf, KNOWN["nodes-unsorted"].layout)
    assert isinstance(mapped, pp.Nodes)
    assert mapped.num_graphs == 5


def doubled(layout: pp.Layout) -> tuple[Tensor, Tensor]:
    """Pools and un-pools."""
    pooled = pp.build("mean")(layout)
    return pooled, layout.with_values(2 * layout.values).lift(layout.rows_of(pooled))


@one_of_each
def test_a_layout_goes_into_a_compiled_function(known: Known) -> None:
    torch.compiler.reset()
    program = torch.compile(doubled, fullgraph=True, backend="aot_eager")
    for found, wanted in zip(program(known.layout), doubled(known.layout), strict=True):
        close(found, wanted, "compiled")


@one_of_each
def test_a_layout_comes_out_of_a_compiled_function(known: Known) -> None:
    torch.compiler.reset()
    program = torch.compile(
        lambda layout: layout.with_values(2 * layout.values), fullgraph=True, backend="eager"
    )
    twice = program(known.layout)
    assert type(twice) is type(known.layout)
    close(known.matrix(pp.build("sum")(twice)), 2 * known.integral(known.values), "sum of twice the values")


def test_a_compiled_function_is_not_compiled_again_for_other_sizes() -> None:
    torch.compiler.reset()
    traced = []

    def backend(graph: Any, inputs: Any) -> Any:
        traced.append(graph)
        return graph

    pool = pp.build("std")
    program = torch.compile(lambda layout: pool(layout), fullgraph=True, backend=backend, dynamic=True)
    for batch, length in ((3, 5), (4, 9), (2, 17)):
        x, mask = normal(batch, length, 2), normal(batch, length, seed=1) > 0
        close(program(pp.Tokens(x, mask)), pool(pp.Tokens(x, mask)), "compiled")
    assert len(traced) == 1


class Doubled(torch.nn.Module):
    """What is exported: a layout in, tensors out."""

    def forward(self, layout: pp.Layout) -> tuple[Tensor, Tensor]:
        return doubled(layout)


@one_of_each
def test_a_layout_goes_into_an_exported_program(known: Known) -> None:
    program = torch.export.export(Doubled(), (known.layout,)).module()
    for found, wanted in zip(program(known.layout), doubled(known.layout), strict=True):
        close(found, wanted, "exported")
    again = known.layout.with_values(normal(*known.values.shape, seed=8))
    for found, wanted in zip(program(again), doubled(again), strict=True):
        close(found, wanted, "exported, other values")


def test_an_exported_program_takes_other_sizes() -> None:
    dynamic = torch.export.Dim.DYNAMIC
    first = pp.Tokens(normal(3, 5, 2), normal(3, 5) > 0)
    # The leaves in the order in which they were named: values, weight, mask.
    shapes = ([{0: dynamic, 1: dynamic}, None, {0: dynamic, 1: dynamic}],)
    program = torch.export.export(Doubled(), (first,), dynamic_shapes=shapes).module()
    for batch, length in ((3, 5), (2, 8), (5, 2)):
        other = pp.Tokens(normal(batch, length, 2, seed=2), normal(batch, length, seed=3) > 0)
        for found, wanted in zip(program(other), doubled(other), strict=True):
            close(found, wanted, "exported, other sizes")
