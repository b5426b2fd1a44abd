"""NaN, infinities, zeros, numbers of every size, weights of 0 and cells of nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from polypool.ops.source import Source
from tests.ops.power.cases import INF, NAN, SETTINGS, Setting, agree, defined, measured
from tests.support import Tolerance, close, identical, normal, of_gradients

Make = Callable[[Tensor, "Tensor | None"], Source]

# One cell of n members and C channels, and a second one beside it that must not notice.
SHAPES: dict[str, Make] = {
    "rows": lambda x, w: Source(
        torch.stack([x, torch.ones_like(x)]),
        weight=None if w is None else torch.stack([w, torch.ones_like(w)]),
    ),
    "listed": lambda x, w: Source(
        torch.cat([torch.ones(2, x.shape[1], dtype=x.dtype), x]),
        torch.tensor([0, 2, 2 + len(x)]),
        torch.cat([torch.arange(2), 2 + torch.arange(len(x)).flip(0)]),
        None if w is None else torch.cat([w[:2] * 0 + 1, w.flip(0)]),
    ),
    "contiguous": lambda x, w: Source(
        torch.stack([x.T, torch.ones_like(x.T)]).transpose(1, 2),
        weight=None if w is None else torch.stack([w, torch.ones_like(w)]),
    ),
}
every_shape = pytest.mark.parametrize("shape", SHAPES)
every_setting = pytest.mark.parametrize("setting", SETTINGS, ids=str)
BAD = ((NAN,), (-INF,), (INF, INF), (-INF, NAN, NAN))


@every_shape
@every_setting
@pytest.mark.parametrize("bad", BAD, ids=str)
def test_in_their_own_cell_and_channel_only(shape: str, setting: Setting, bad: tuple[float, ...]) -> None:
    for dtype in (torch.float32, torch.float64):
        for places in (3, 100, 2100):
            x = 0.25 + normal(places, 5, dtype=dtype).abs()
            clean = measured(SHAPES[shape](x, None), setting)
            for i, number in enumerate(bad):
                x[(places // 2 + 37 * i) % places, 1] = number
            found = agree(SHAPES[shape](x, None), setting)
            others = [0, 2, 3, 4]
            close(found.out[..., others], clean.out[..., others], "other channels")
            gradients = found.values[..., others], clean.values[..., others]
            close(*gradients, "their gradients", of_gradients(dtype))


@every_shape
@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.signed], ids=str)
def test_infinities_of_either_sign(shape: str, setting: Setting) -> None:
    """The sign that more of them have; none where they cancel."""
    for dtype in (torch.float32, torch.float64):
        for places in (3, 64, 100, 1030, 2100):
            for signs in ((1, -1), (1, 1, -1), (-1, -1, -1)):
                x = normal(places, 5, dtype=dtype)
                for i, sign in enumerate(signs):
                    x[(places // 2 + 37 * i) % places, 1] = sign * INF
                source = SHAPES[shape](x, None)
                close(
                    measured(source, setting).out[:, 1],
                    defined(source, setting).out[:, 1],
                    f"{signs} of {places}",
                )


@every_shape
@every_setting
def test_behind_weight_0(shape: str, setting: Setting) -> None:
    """Neither read nor given a gradient, whatever is there."""
    for places in (3, 64, 100, 1030):
        x = 0.25 + normal(places, 5, dtype=torch.float32).abs()
        w = (0.5 + torch.arange(places)[:, None] % 3).float()
        w[places // 3 :: 2] = 0
        hidden = w[:, 0] == 0
        clean = agree(SHAPES[shape](x, w), setting)
        for bad in (NAN, INF, -INF):
            x[hidden] = bad
            found = measured(SHAPES[shape](x, w), setting)
            for name, one, other in zip(found._fields, found, clean, strict=True):
                if one is not None and other is not None:
                    identical(one, other, f"{name} with {bad}")


@every_shape
@every_setting
def test_zeros(shape: str, setting: Setting) -> None:
    """Alone, beside numbers, and of either sign; channels that begin or end with more than a block of them."""
    for dtype in (torch.float32, torch.float64):
        x = 0.25 + normal(2500, 6, dtype=dtype).abs()
        x[:, 0] = 0.0
        x[:, 1] = -0.0
        x[:1500, 2] = 0.0
        x[100:, 3] = 0.0
        x[::2, 4] = 0.0
        x[1:, 5] = 0.0
        agree(SHAPES[shape](x, None), setting)


@every_shape
@pytest.mark.parametrize("p", [0.01, 0.5, 1.0, 2.0, 2.5, 3.0, 60.0, 1000.0, 1e5])
def test_no_power_overflows(shape: str, p: float) -> None:
    """Against the logarithm of the same in float64; a mean of powers off by 1e-7 gives a root off by 1e-7 / p."""
    for dtype, scales in (
        (torch.float32, (1e-38, 1e-20, 1e20, 1e38)),
        (torch.float64, (1e-307, 1e-150, 1e150, 1e307)),
    ):
        for scale in scales:
            x = (scale * (0.5 + normal(300, 3).abs().clamp(max=2.0))).to(dtype)
            mean = ((x.double() / scale).log() * p).exp().mean(0)
            wanted = mean ** (1 / p) if p < 500 else x.double().amax(0) / scale * mean.new_ones(())
            if p >= 500:
                logs = (x.double() / scale).log() * p
                wanted = ((logs.logsumexp(0) - torch.tensor(300.0).double().log()) / p).exp()
            source = SHAPES[shape](x, None)
            found = measured(source, Setting(p))
            ratio = found.out.double()[1 if shape == "listed" else 0] / scale / wanted
            limit = 2e-5 if dtype is torch.float32 else 1e-10
            close(ratio, torch.ones_like(ratio), f"{dtype}, {scale}", Tolerance(0, limit * max(1, 0.01 / p)))
            assert found.values.isfinite().all()


@every_shape
@pytest.mark.parametrize("p", [1.0, 2.0, 3.0, 2.5, 0.5])
def test_numbers_of_very_different_size(shape: str, p: float) -> None:
    """Growing, shrinking and mixed, so that tops are moved; and what products cannot hold beside what they can."""
    size = 10.0 ** torch.linspace(-18, 18, 3000, dtype=torch.float64)
    mixed = size[torch.randperm(3000, generator=torch.Generator().manual_seed(0))]
    for x in (size, size.flip(0), mixed, mixed.clamp(max=1e-14), mixed.clamp(min=1e14)):
        source = SHAPES[shape](x.float()[:, None].repeat(1, 3) * torch.tensor([1.0, 0.5, -2.0]), None)
        found, wanted = measured(source, Setting(p)), defined(source, Setting(p))
        cell = 1 if shape == "listed" else 0
        close(
            found.out[cell] / wanted.out[cell],
            torch.ones(3, dtype=torch.float64),
            "power means",
            Tolerance(0, 2e-5),
        )
        close(found.values, wanted.values, "gradients", of_gradients(torch.float32))


@pytest.mark.parametrize("p", [0.7, 1.0, 1.7, 2.0, 2.5, 3.0, 60.0])
@pytest.mark.parametrize("number", [50.0, 0.1, 1e-30, 7e35, 1 / 3])
def test_equal_members(p: float, number: float) -> None:
    """The power mean of equal numbers is that number, to the bit where powers are ratios to the largest."""
    for n in (1, 49, 300, 3000):
        x = torch.full((1, n, 20), number)
        for values in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
            found = measured(Source(values), Setting(p)).out
            if 1.0 <= p <= 16.0:
                close(found / values[0, 0, 0], torch.ones_like(found), f"{n} times", Tolerance(0, 2e-6))
            else:
                identical(found, torch.full_like(found, number), f"{n} times")


def test_large_and_small_weights() -> None:
    """Power means do not depend on the scale of the weights."""
    x, w = normal(300, 20, dtype=torch.float32), 0.5 + torch.arange(300.0)[:, None] % 3
    for setting in (Setting(3.0), Setting(2.5), Setting(torch.tensor([3.0]))):
        for shape in SHAPES.values():
            plain = measured(shape(x, w), setting)
            for scale in (1e-30, 1e-12, 1e12, 1e30):
                scaled = measured(shape(x, w * scale), setting)
                close(scaled.out, plain.out, f"weights times {scale}")
                close(scaled.values, plain.values, f"gradient with weights times {scale}")


@pytest.mark.parametrize(
    "setting", [Setting(3.0, floor=1e-6), Setting(2.5), Setting(torch.tensor([3.0]))], ids=str
)
@pytest.mark.parametrize("channels", [1, 3, 70])
def test_empty_cells(channels: int, setting: Setting) -> None:
    """Zeros, and nothing to differentiate."""
    x = normal(2, 5, channels, dtype=torch.float32)
    nothing = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 5, 1)
    for source, empty in (
        (Source(x[0], torch.tensor([0, 0, 5, 5])), [0, 2]),
        (Source(x, weight=nothing), [0]),
        (Source(x.transpose(1, 2).contiguous().transpose(1, 2), weight=nothing), [0]),
    ):
        found = agree(source, setting)
        assert not found.out[empty].any()
        assert source.offsets is not None or not found.values[0].any()


def test_cells_of_nothing_at_all() -> None:
    for source in (
        Source(torch.zeros(0, 3), torch.tensor([0, 0, 0])),
        Source(torch.zeros(2, 0, 3)),
        Source(torch.zeros(0, 4, 3)),
        Source(torch.zeros(2, 3, 0).transpose(1, 2)),
        Source(torch.zeros(5, 3), torch.tensor([0])),
        Source(torch.zeros(5, 3), torch.tensor([0, 0]), torch.arange(5), torch.ones(5, 1)),
    ):
        for setting in (Setting(3.0), Setting(torch.tensor([2.5]))):
            found = measured(source, setting)
            assert not found.out.any()
            assert not found.values.any()


def test_a_floor_among_the_members() -> None:
    """What is at the floor has a gradient, what is below it has none; a NaN gets none, as torch's clamp has it."""
    x = torch.tensor([[0.5, -1.0, 2.0, 0.25, NAN]]).T[None]
    for setting in (
        Setting(3.0, floor=0.5),
        Setting(2.5, floor=0.5),
        Setting(torch.tensor([3.0]), floor=0.5),
    ):
        agree(Source(x[:, :4]), setting)
        gradient = measured(Source(x[:, :4]), setting).values[0, :, 0]
        assert (gradient != 0).tolist() == [True, False, True, False]
        assert measured(Source(x), setting).values[0, :, 0].isnan().tolist() == [
            True,
            False,
            True,
            False,
            False,
        ]
