"""Functions of single numbers that stay right where the textbook form does not."""

import torch
from torch import Tensor


def safe(divisor: Tensor) -> Tensor:
    """The divisor with 1 in place of 0, so that an empty cell divides 0 by 1.

    Never `clamp(min=1)`: a mass below 1 is a mass.
    """
    return torch.where(divisor == 0, torch.ones_like(divisor), divisor)


def raised(x: Tensor, p: float | Tensor) -> Tensor:
    """`x ** p` for x > 0, bitwise the same for any number of threads.

    torch computes a general power with vectors, but the odd elements at the end of each thread's share one by one,
    which rounds differently; its `exp` and `log` do not. Squares and cubes are products.
    """
    if isinstance(p, float) and p in (1.0, 2.0, 3.0):
        return x if p == 1.0 else x * x if p == 2.0 else x * x * x
    return (x.log() * p).exp()


def root(x: Tensor, p: float | Tensor = 2.0) -> Tensor:
    """`x ** (1 / p)` whose value and gradient at 0 are 0; NaN stays NaN."""
    zero = x == 0
    filled = torch.where(zero, torch.ones_like(x), x)
    taken = filled.sqrt() if isinstance(p, float) and p == 2.0 else raised(filled, 1.0 / p)
    return torch.where(zero, torch.zeros_like(x), taken)
