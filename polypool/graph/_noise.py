"""Random numbers that belong to a node or an edge: the same whatever else is in the batch, from a seed."""

import torch
from torch import Tensor

from polypool import _checks

# The multipliers and shifts of splitmix64 (Steele, Lea, Flood 2014), as signed 64-bit integers.
_STEP = -0x61C8864680B583EB
_FIRST = -0x40A7B892E31B1A47
_SECOND = -0x6B2FB644ECCEEE15


def _shifted(x: Tensor, by: int) -> Tensor:
    """A right shift that brings in zeros, which torch has for unsigned integers alone."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def mixed(*numbers: Tensor | int) -> Tensor:
    """Integers stirred into one well-spread int64 each; the order of the arguments matters."""
    state = torch.zeros((), dtype=torch.int64)
    for number in numbers:
        state = state.to(number.device) if isinstance(number, Tensor) else state
        state = (state + number) + _STEP
        state = (state ^ _shifted(state, 30)) * _FIRST
        state = (state ^ _shifted(state, 27)) * _SECOND
        state = state ^ _shifted(state, 31)
    return state


def stirred(one: Tensor, other: Tensor, seed: int) -> Tensor:
    """int64 whose low bits look random, from two numbers: cheaper than `mixed`, to decide between equals."""
    state = (one * _FIRST + (other + seed)) * _SECOND
    return state ^ (state >> 40)


def uniform(state: Tensor) -> Tensor:
    """Numbers in `(0, 1)`, float64, from well-spread int64."""
    return (_shifted(state, 11).double() + 0.5) * 2.0**-53


def drawn(seed: int | None) -> int:
    """The seed, or a new one from torch's global generator where there is none."""
    return int(torch.randint(2**62, ())) if seed is None else seed


def checked(seed: object) -> int | None:
    """A seed given as an int, or None for a new one at every call."""
    return None if seed is None else _checks.size(seed, "seed")
