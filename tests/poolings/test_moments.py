"""Moments: what each block is, and what a cell without spread gives."""

from __future__ import annotations

import torch

import polypool as pp
from tests.support import close, normal, uniform


def test_blocks_of_channels() -> None:
    """Mean, deviation, skewness m3 / m2^1.5 and kurtosis m4 / m2^2, not the excess."""
    x, w = normal(40, 2), uniform(40, seed=1)
    for weight in (None, w):
        share = torch.full((40, 1), 1 / 40, dtype=torch.float64) if weight is None else (w / w.sum())[:, None]
        mean = (share * x).sum(0)
        m2, m3, m4 = ((share * (x - mean) ** p).sum(0) for p in (2, 3, 4))
        wanted = torch.cat([mean, m2.sqrt(), m3 / m2**1.5, m4 / m2**2])[None]
        close(pp.build("moments")(pp.Nodes(x, weight=weight)), wanted, "moments")
    assert pp.build("moments").out_channels(2) == 8


def test_the_normal_distribution_has_kurtosis_3() -> None:
    mean, deviation, skewness, kurtosis = (
        pp.build("moments")(pp.Nodes(2 + 3 * normal(200_000, 1))).flatten().tolist()
    )
    assert abs(mean - 2) < 0.03
    assert abs(deviation - 3) < 0.03
    assert abs(skewness) < 0.03
    assert abs(kurtosis - 3) < 0.06


def test_without_spread_all_but_the_mean_are_0_with_gradient_0() -> None:
    for rows in (torch.full((5, 1), 2.0), torch.tensor([[-1e6]]), torch.zeros(3, 1)):
        x = rows.requires_grad_()
        out = pp.build("moments")(pp.Nodes(x))
        close(out, torch.tensor([[float(rows[0].detach()), 0.0, 0.0, 0.0]]), "constant")
        (gradient,) = torch.autograd.grad(out[:, 1:].sum(), x, retain_graph=True)
        assert not gradient.any()
        (gradient,) = torch.autograd.grad(out[:, :1].sum(), x)
        close(gradient, torch.full_like(x, 1 / len(rows)), "gradient of the mean")


def test_skewness_and_kurtosis_do_not_change_with_scale_and_offset() -> None:
    x = normal(100, 2)
    wanted = pp.build("moments")(pp.Nodes(x))[:, 4:]
    for scale, offset in ((1e-6, 0.0), (1e6, -3e6), (7.0, 1e3)):
        found = pp.build("moments")(pp.Nodes(scale * x + offset))[:, 4:]
        close(found, wanted, f"scale {scale}, offset {offset}")


def test_mirrored_cells_have_opposite_skewness() -> None:
    x = normal(30, 2).exp()
    plain, mirrored = (pp.build("moments")(pp.Nodes(sign * x)) for sign in (1, -1))
    close(mirrored[:, 4:6], -plain[:, 4:6], "skewness")
    close(mirrored[:, 6:], plain[:, 6:], "kurtosis")
