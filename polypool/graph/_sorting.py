"""Sorting of integers with the places they come from."""

import torch
from torch import Tensor

#: Bits for the place of a number in one packed with it.
PLACES = 20


def ordered(key: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """The numbers sorted, and where each stood; equal ones keep their order.

    On a CPU the place is packed below the number and numpy sorts both as one: its sort of plain int64 uses vector
    instructions and is some thirty times faster than torch's sort of pairs.

    Args:
        key: `(M,)` int64 >= 0.
        bits: How many bits a number may have.
    """
    count = key.shape[0]
    if not key.is_cpu or count > 1 << PLACES or bits + PLACES > 63:
        return key.sort(stable=True)
    packed = ((key << PLACES) | torch.arange(count)).numpy()
    packed.sort()
    both = torch.from_numpy(packed)
    return both >> PLACES, both & ((1 << PLACES) - 1)
