"""What an operation reads: a tensor, and which of its rows belong to which cell."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Source(NamedTuple):
    """The tensors that an operation takes, in the order in which it takes them.

    Either dense, cells of the same length, `offsets` and `rows` None; or listed cell by cell.

    Args:
        values: `(B, N, C)` with any strides, or `(R, C)`; in the user's dtype.
        offsets: `(K + 1,)` int64, where each cell begins in the list and the last ends.
        rows: `(M,)` int64, the row of each place in the list; None when place i is row i.
        weight: One number >= 0 for each place, 0 for what is not read: `(M, H)` of a list, `(B, N, 1)` dense. With H
            heads, column h weighs channels `[h C / H, (h + 1) C / H)`.
    """

    values: Tensor
    offsets: Tensor | None = None
    rows: Tensor | None = None
    weight: Tensor | None = None
