"""The choice of the first largest member as one opaque operation.

Inductor (torch 2.13, CPU) has been seen to read the result of a `scatter_reduce` before it was written. An operation
that it does not look into is safe, and since it returns integers it needs no gradient: values are gathered after it.
"""

import torch
from torch import Tensor

from polypool.ops.library import library
from polypool.ops.segments import reference

library.define("segment_argbest(Tensor v, Tensor cell, SymInt bins) -> Tensor")
library.impl("segment_argbest", reference.argbest, "CompositeExplicitAutograd")


@torch.library.register_fake("polypool::segment_argbest", lib=library)
def _(v: Tensor, cell: Tensor, bins: int) -> Tensor:
    return torch.empty((bins, v.shape[1]), dtype=torch.int64, device=v.device)


def argbest(v: Tensor, cell: Tensor, bins: int) -> Tensor:
    """`reference.argbest`; one operation where a compiler would otherwise fuse it."""
    if torch.compiler.is_compiling() and not torch.compiler.is_exporting():
        return torch.ops.polypool.segment_argbest(v, cell, bins)
    return reference.argbest(v, cell, bins)
