"""Long cells, which are cut into pieces: joined, and chosen from, as if they had not been."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.ops.cpu.job import PIECE, Job
from polypool.ops.source import Source
from tests.ops.moments.sources import SETS, agree, defined, dense, listed, measured
from tests.support import close, identical, integers, normal

INF, NAN = float("inf"), float("nan")
LONG = (1 << 18) + 5000
# With 130 channels a piece has 1984 rows, with 600 as many as one may not be shorter than: 512.
ROWS = {130: (3, 0, 5000, 20, 1985, 1984, 0), 600: (1100, 7), 1: (LONG, 3)}


def cut(source: Source) -> Source:
    """The same, which must be in pieces."""
    assert Job(source).joined
    return source


@pytest.mark.parametrize("heads", [0, 1])
@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("channels", ROWS)
def test_listed_rows(channels: int, shuffled: bool, heads: int) -> None:
    agree(cut(listed(ROWS[channels], channels, shuffled=shuffled, heads=heads)))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes(dtype: torch.dtype) -> None:
    agree(cut(listed(ROWS[130], 130, dtype, heads=2)))
    agree(cut(dense(1, 9000, 40, dtype)))
    agree(cut(dense(1, LONG, 2, dtype, first=True)))


def test_dense_rows() -> None:
    agree(cut(dense(2, 3000, 130)))
    agree(cut(dense(2, 3000, 130, heads=2)), ("sum", "mean", "m2"), weights=True)


@pytest.mark.parametrize("heads", [0, 1, 2])
def test_contiguous_cells(heads: int) -> None:
    source = cut(dense(1, LONG, 2, first=True, heads=heads))
    agree(source)
    agree(source, ("sum", "mean", "m2"), weights=heads > 0)


@pytest.mark.parametrize("keys", SETS, ids="+".join)
def test_only_what_is_wanted(keys: tuple[str, ...]) -> None:
    """Whose pieces have means of their own."""
    rows, cell = dense(1, 5000, 130), dense(1, LONG, 2, first=True)
    for source in (rows, cell):
        source.values[:, source.values.shape[1] // 2 :] += 5
        agree(cut(source), keys)


@pytest.mark.parametrize("name", ["std", "moments", "mean+max+std"])
def test_large_pictures(name: str) -> None:
    """Through a layout, masked and not."""
    picture = normal(1, 1, 520, 520, dtype=torch.float32)
    picture[:, :, 300:] += 4
    pool, real = pp.build(name), torch.ones(1, 520, 520, dtype=torch.bool)
    for mask in (None, real):
        found = pool(pp.Grid(picture, mask))
        with pp.kernels("reference"):
            close(found, pool(pp.Grid(picture, mask)), name)


SHAPES = {
    "rows": lambda x, w: Source(x[None], weight=None if w is None else w[None]),
    "listed": lambda x, w: Source(x, torch.tensor([0, 0, len(x), len(x)]), None, w),
    "contiguous": lambda x, w: Source(x.T.contiguous().T[None], weight=None if w is None else w[None]),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)


def numbers(shape: str) -> Tensor:
    """The members of a cell of three pieces."""
    return normal(2 * LONG, 2, dtype=torch.float32) if shape == "contiguous" else normal(5000, 130).float()


@every_shape
def test_winners_wherever_they_are(shape: str) -> None:
    """In the first piece, at the seams and in the last; of equals in several pieces the first."""
    x = numbers(shape)
    piece, end = int(Job(SHAPES[shape](x, None)).fields[PIECE]), len(x)
    for at in (0, piece - 1, piece, piece + 1, 2 * piece, end - 4):
        x = numbers(shape)
        x[[at, end - 1]] = 100.0
        x[[at + 1, end - 2]] = -100.0
        found = agree(cut(SHAPES[shape](x, None)), ("max", "min"))
        assert found.places.amax((1, 2)).tolist() == [at, at + 1]


@every_shape
def test_a_tie_between_pieces(shape: str) -> None:
    """Of 5 values, which fill all pieces, the first of each wins; gradients go to one place alone."""
    x = integers(5, *numbers(shape).shape).float()
    found = agree(cut(SHAPES[shape](x, None)), ("max", "min"))
    assert int((found.values != 0).sum()) == 2 * x.shape[1]


@every_shape
@pytest.mark.parametrize("at", [0, 2500, 4999])
@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_what_is_not_finite_in_a_piece(shape: str, at: int, bad: float) -> None:
    """It is in the channel it is in, and the others are as without it."""
    x = numbers(shape)
    x[at if shape != "contiguous" else at * 100, 0] = bad
    source = cut(SHAPES[shape](x, None))
    keys = ("mean", "m2", "max", "min")
    found, wanted = measured(source, keys), defined(source, keys)
    clean = measured(SHAPES[shape](numbers(shape), None), keys)
    identical(found.stats[..., 1:], clean.stats[..., 1:], "other channels")
    identical(found.values[..., 1:], clean.values[..., 1:], "gradients of other channels")
    for i, key in enumerate(keys):
        same = found.stats[i, ..., 0].double()
        assert torch.allclose(same, wanted.stats[i, ..., 0], rtol=1e-5, atol=1e-5, equal_nan=True), key
    identical(found.places.where(wanted.places >= 0, -1), wanted.places, "places")


@every_shape
def test_pieces_that_weigh_nothing(shape: str) -> None:
    """The first and the last piece of a cell have weight 0, and hold NaN."""
    x = numbers(shape)
    w = torch.zeros(len(x), 1)
    middle = slice(len(x) // 2 - 50, len(x) // 2 + 50)
    w[middle] = 0.5
    bad = x.clone()
    bad[: middle.start], bad[middle.stop :] = NAN, INF
    found = agree(cut(SHAPES[shape](bad, w)))
    assert int((found.values.flatten(0, -2).abs().sum(-1) > 0).sum()) == 100
    empty = measured(cut(SHAPES[shape](bad, 0 * w)), ("mean", "m2", "max"))
    assert not empty.stats.any()
    assert not measured(cut(SHAPES[shape](bad, 0 * w)), ("mean", "m2")).values.any()


@every_shape
def test_all_minus_infinity_behind_pieces_of_weight_0(shape: str) -> None:
    """The first member that counts takes the gradient, nothing else."""
    x = torch.full_like(numbers(shape), -INF)
    w = torch.ones(len(x), 1)
    first = len(x) // 2
    w[:first] = 0
    for weight, wanted in ((w, first), (None, 0)):
        source = cut(SHAPES[shape](x, weight))
        place = int(measured(source, ("max",)).places.amax())
        assert place == wanted
