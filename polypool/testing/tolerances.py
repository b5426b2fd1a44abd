"""The one table of tolerances, and the comparison that uses it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Tolerance:
    """How far two results may be apart: `|a - b| <= relative * |b| + absolute * max(1, largest |b|)`."""

    relative: float
    absolute: float


TOLERANCES: dict[torch.dtype, Tolerance] = {
    torch.float64: Tolerance(1e-10, 1e-11),
    torch.float32: Tolerance(2e-5, 2e-6),
    torch.float16: Tolerance(2e-3, 2e-3),
    torch.bfloat16: Tolerance(1.6e-2, 1.6e-2),
}

# Sizes and offsets must not cost accuracy: what is left is the rounding of inputs around 1e4, and of one sum.
LARGE_OFFSET = Tolerance(1e-4, 1e-4)
LARGE_CELL = Tolerance(1e-5, 3e-6)
# Networks that run in half precision around float32 rows.
HALF_NETWORK = Tolerance(5e-2, 5e-2)


class CheckFailure(AssertionError):
    """A clause of the contract that an operator breaks, in one sentence."""


class Skip(Exception):
    """A clause that has nothing to say about an operator, and why."""


def agree(actual: Tensor, expected: Tensor, where: str, tolerance: Tolerance | None = None) -> None:
    """Compares two tensors; NaN equals NaN and an infinity equals itself.

    Args:
        actual: What the operator gave.
        expected: What it should give, in any floating dtype.
        where: What was compared, for the message.
        tolerance: That of `actual`'s dtype if left out.

    Raises:
        CheckFailure: If shapes differ or some number is too far off; says which, and by how much.
    """
    if actual.shape != expected.shape:
        raise CheckFailure(f"{where}: shape {list(actual.shape)} instead of {list(expected.shape)}")
    if actual.numel() == 0:
        return
    tolerance = tolerance or TOLERANCES[actual.dtype]
    a, b = actual.detach().double(), expected.detach().double()
    same = (a == b) | (a.isnan() & b.isnan())
    gap = torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=torch.inf, posinf=torch.inf)
    finite = b.abs().nan_to_num(nan=0.0, posinf=0.0)
    allowed = tolerance.relative * finite + tolerance.absolute * finite.amax().clamp(min=1.0)
    excess = gap - allowed
    if bool((excess > 0).any()):
        worst = int(excess.argmax())
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), a.shape))
        found, wanted, limit = (float(t.flatten()[worst]) for t in (a, b, allowed))
        raise CheckFailure(
            f"{where}: {found:.7g} instead of {wanted:.7g} at {list(place)} of {list(a.shape)}, "
            f"largest difference {float(gap.amax()):.2g}, allowed {limit:.2g}"
        )


def identical(actual: Tensor, expected: Tensor, where: str) -> None:
    """Compares two tensors bit by bit, NaN equal to NaN.

    Raises:
        CheckFailure: If anything differs.
    """
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        found, wanted = (f"{list(t.shape)} {t.dtype}" for t in (actual, expected))
        raise CheckFailure(f"{where}: {found} instead of {wanted}")
    different = ~((actual == expected) | (actual.isnan() & expected.isnan()))
    if bool(different.any()):
        gap = (
            (actual.detach().double() - expected.detach().double())
            .abs()
            .nan_to_num(nan=torch.inf, posinf=torch.inf)
            .amax()
        )
        count = int(different.sum())
        raise CheckFailure(
            f"{where}: {count} of {different.numel()} numbers differ, by up to {float(gap):.2g}"
        )


def require(condition: bool, message: str) -> None:
    """Fails the check with a message unless the condition holds."""
    if not condition:
        raise CheckFailure(message)
