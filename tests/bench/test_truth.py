"""The harness finds out who is wrong: in the result, in the gradient, in one cell of many."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.bench import data, fresh, pooled, truth
from polypool.bench.contestant import Effort
from polypool.bench.data import Data
from polypool.bench.pooled import Options
from polypool.bench.subjects import Subject, subjects
from polypool.bench.workloads import WORKLOADS, Workload
from polypool.testing.tolerances import Tolerance

TINY = Options(effort=Effort(seconds=0.0, least=3, most=3), scale=0.0, kernels="reference")
LENGTHS = torch.tensor([25, 33, 21, 17, 23, 35, 19, 31, 25])

FORMS: dict[str, Callable[[], Data]] = {
    "packed": lambda: data.ragged("packed", LENGTHS, 4),
    "unsorted": lambda: data.ragged("nodes", LENGTHS, 4, shuffled=True),
    "clusters": lambda: data.ragged("clusters", LENGTHS, 4, shuffled=True),
    "tokens": lambda: data.tokens(9, 48, 4, real=0.7),
    "tokens-full": lambda: data.tokens(9, 25, 4),
    "grid": lambda: data.grid(9, 4, 5),
    "grid-last": lambda: data.grid(9, 4, 5, channels_last=True),
}


@pytest.fixture(autouse=True)
def _nothing_to_compile() -> Iterator[None]:
    """What is tested is the harness."""
    with pp.kernels("reference"):
        yield


def workload(form: str) -> Workload:
    return Workload(f"tiny-{form}", form, frozenset({"packed"}), lambda _: FORMS[form]())


class Off(pp.Pooling):
    """A mean that is wrong in float32 alone, as a broken kernel would be."""

    def reduce(self, cells: pp.Cells) -> Tensor:
        rows = cells.rows
        return cells.mean(rows) * (1.0 if rows.dtype == torch.float64 else 1.01)


class Leaning(torch.autograd.Function):
    """A mean of rows whose gradient is a little off in float32."""

    @staticmethod
    def forward(context: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(context: object, g: Tensor) -> Tensor:
        return g * (1.0 if g.dtype == torch.float64 else 1.01)


class OffBackwards(pp.Pooling):
    """A mean with a wrong gradient."""

    def reduce(self, cells: pp.Cells) -> Tensor:
        return cells.mean(Leaning.apply(cells.rows))


@pytest.mark.parametrize("form", FORMS)
def test_a_wrong_operator_has_no_time(form: str) -> None:
    place = pooled.field("pooling", "x", workload(form), Subject("off", lambda _: Off()), TINY)
    (row,) = pooled.rows(place, against=False)  # nobody takes the gradient of a wrong result
    assert (row.ours.status, row.ours.ms, row.ours.checks) == ("wrong", None, ())
    assert "result off by" in row.ours.why


def test_a_wrong_gradient_has_no_time_either() -> None:
    subject = Subject("off", lambda _: OffBackwards())
    forward, both = pooled.rows(pooled.field("pooling", "x", workload("packed"), subject, TINY))
    assert forward.ours.status == "ok"
    assert both.ours.status == "wrong"
    assert "gradient off by" in both.ours.why


def test_a_wrong_step_beside_x_times_2() -> None:
    subject = Subject("off", lambda _: Off())
    row = fresh.step_row(pooled.field("fresh", "x", workload("packed"), subject, TINY))
    assert row.ours.status == "wrong"
    assert row.entries[1].status == "ok"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["mean", "softmax", "scores", "median", "attention"])
def test_ours_and_all_rivals_are_right(form: str, name: str) -> None:
    place = pooled.field("pooling", "x", workload(form), subjects()[name], TINY)
    for row in pooled.rows(place):
        assert row.ours.status == "ok", row.ours.why
        for entry in row.entries:
            assert entry.status in ("ok", "missing"), f"{entry.name}: {entry.why}"


@pytest.mark.parametrize("form", ["packed", "tokens", "grid"])
def test_so_are_they_forward_for_every_subject(form: str) -> None:
    for subject in subjects().values():
        place = pooled.field("pooling", "x", workload(form), subject, TINY)
        (row,) = pooled.rows(place, backward=False)
        for entry in row.entries:
            assert entry.status in ("ok", "missing"), f"{subject.name}, {entry.name}: {entry.why}"


def test_who_took_long_is_not_waited_for_again() -> None:
    place = pooled.field("pooling", "x", workload("packed"), subjects()["median"], TINY)
    forward, _ = pooled.rows(place)
    slow = replace(forward.entries[1], ms=3100.0)
    row = replace(forward, entries=(forward.ours, slow, *forward.entries[2:]))
    found = [pooled._patient(pooled.Opponent(e.name, lambda x: x), row, TINY) for e in row.entries[1:]]
    assert [(each.status, each.why) for each in found] == [
        ("skipped", "forward alone takes 3.1 s"),
        *[("ok", "")] * (len(found) - 1),
    ]


def test_one_wrong_cell_is_found_if_all_are_compared() -> None:
    cells = FORMS["packed"]()
    module = pp.build("mean")
    inputs = (cells.values,)
    some = truth.find(truth.of_module(module), cells, inputs, None)
    every = truth.find(truth.of_module(module), cells, inputs, None, thorough=True)
    out = module(cells.layout).clone()
    assert some.cells.tolist() == [0, 4, 8]
    assert (some.judge([out]), every.judge([out])) == ("", "")
    out[3] += 0.1
    assert every.judge([out]).startswith("result off by 1.0e-01")
    out[4, 2] = torch.nan
    assert some.judge([out]).startswith("result off by inf")


def test_a_wrong_shape() -> None:
    cells = FORMS["packed"]()
    true = truth.find(truth.of_module(pp.build("mean")), cells, (cells.values,), None)
    assert true.judge([torch.zeros(9, 5)]) == "shape [9, 5] instead of [9, 4]"


@pytest.mark.parametrize("cells", [1, 8, 9, 10, 1000])
def test_cells_that_are_compared(cells: int) -> None:
    some = truth.spread_out(cells).tolist()
    assert some[0] == 0
    assert some[-1] == cells - 1
    assert some == sorted(set(some))


def test_apart() -> None:
    one, tolerance = torch.ones(3), Tolerance(1e-5, 1e-6)
    assert truth.apart(one, one.double(), tolerance, floor=1.0) == ""
    assert truth.apart(one + 1e-6, one.double(), tolerance, floor=1.0) == ""
    assert "off by" in truth.apart(one + 1e-4, one.double(), tolerance, floor=1.0)
    # small gradients are compared with the largest of them
    assert "off by" in truth.apart(one * 1.01e-6, one.double() * 1e-6, tolerance, floor=0.0)
    nan = torch.tensor([torch.nan, torch.inf])
    assert truth.apart(nan, nan.double(), tolerance, floor=1.0) == ""
    assert "off by inf" in truth.apart(torch.zeros(2), nan.double(), tolerance, floor=1.0)


@pytest.mark.parametrize("name", sorted(WORKLOADS.keys() - {"ones"}))
def test_parts_are_what_they_say(name: str) -> None:
    """The cells of a part, pooled by themselves, are cells of the whole."""
    cells = WORKLOADS[name].make(0.0)
    some = torch.tensor([1])
    part = cells.part(some)
    pool = pp.build("mean")
    whole: Tensor = pool(cells.layout)
    own: Tensor = pool(part.layout(part.take(cells.values)))
    torch.testing.assert_close(own, whole[some], atol=2e-3, rtol=2e-3)


def test_the_yardstick_reads_as_many_bytes() -> None:
    wide = pooled.one_read(torch.ones(8, 4, dtype=torch.float32))
    half = pooled.one_read(torch.ones(8, 4, dtype=torch.bfloat16))
    assert float(_sum(wide)) == 32
    assert float(_sum(half)) == 16


def _sum(read: Callable[[], object]) -> Tensor:
    total = read()
    assert isinstance(total, Tensor)
    return total
