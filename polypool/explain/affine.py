"""Which steps are affine in what depends on the input, and which pool a whole map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from polypool.explain.tape import Step


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Steps that move numbers without changing them.
MOVES = _names(
    "view reshape flatten unflatten squeeze unsqueeze permute transpose swapaxes swapdims movedim moveaxis contiguous "
    "clone to float double half bfloat16 type type_as expand expand_as view_as __getitem__ select narrow unbind "
    "split chunk tensor_split T mT H mH squeeze_ unsqueeze_ t"
)
#: Linear in all of their tensors together.
LINEAR = MOVES | _names(
    "cat concat concatenate stack hstack vstack flip roll repeat repeat_interleave index_select pad add __add__ "
    "__radd__ add_ __iadd__ sub __sub__ __rsub__ rsub sub_ __isub__ subtract neg negative sum mean avg_pool1d "
    "avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d interpolate pixel_shuffle "
    "pixel_unshuffle"
)
#: Linear in one of their tensors, while the others are constants.
PRODUCTS = _names(
    "mul __mul__ __rmul__ mul_ __imul__ multiply linear matmul __matmul__ __rmatmul__ mm bmm addmm baddbmm einsum "
    "tensordot conv1d conv2d conv3d"
)
QUOTIENTS = _names("div __truediv__ div_ __itruediv__ divide true_divide")
#: Nothing at all when not training.
DROPOUTS = _names("dropout dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout")
WHOLE = {f"{kind}_pool{d}d": d for kind in ("avg", "max", "adaptive_avg", "adaptive_max") for d in (1, 2, 3)}
ALONG = _names("mean sum amax amin max min")


def sources(step: Step, dependent: set[int]) -> list[Tensor] | None:
    """The inputs that depend on the model's input, if the step is affine in them together; otherwise None."""
    found = [tensor for tensor in step.inputs if id(tensor) in dependent and tensor.is_floating_point()]
    alone = len({id(tensor) for tensor in found}) == len(found) == 1
    affine = step.held or step.name in LINEAR
    if step.name in PRODUCTS:
        affine = alone
    elif step.name in QUOTIENTS:
        affine = alone and found[0] is step.argument(0, "input")
    elif step.name in DROPOUTS:
        affine = not step.argument(2, "training", True)
    elif step.name == "batch_norm":
        affine = alone and not step.argument(5, "training", False)
    return found if affine else None


@dataclass(frozen=True, eq=False)
class Reduction:
    """A map that is pooled along some dimensions to one number per channel.

    Attributes:
        step: The number of the (last) step that pools.
        before: The map, `(B, ...)`.
        dims: The dimensions of the map that are pooled, ascending.
        after: The pooled tensor.
        dropped: Whether the pooled dimensions are gone from `after`; otherwise they have size 1.
    """

    step: int
    before: Tensor
    dims: tuple[int, ...]
    after: Tensor
    dropped: bool


def reduction(step: Step, number: int) -> Reduction | None:
    """How a step pools a whole map, keeping the first dimension; None when it does not."""
    if step.name not in ALONG and step.name not in WHOLE:
        return None
    before, after = step.inputs[0], step.outputs[0]
    if step.name in WHOLE:
        count = WHOLE[step.name]
        pooled = before.dim() == count + 2 and set(after.shape[2:]) == {1}
        return Reduction(number, before, tuple(range(2, count + 2)), after, False) if pooled else None
    dims = _dims(step.argument(1, "dim", step.kwargs.get("axis")), before.dim())
    dropped = after.dim() < before.dim()
    if before.dim() < 3 or not dims or 0 in dims or len(dims) > before.dim() - 2:
        return None
    if dims == (2,) and before.dim() == 3 and not dropped:
        return None  # the channels of tokens, on the way to a normalisation
    return Reduction(number, before, dims, after, dropped)


def joined(first: Reduction, last: Reduction) -> Reduction:
    """Two reductions, the second of what the first gave, as one."""
    left = [d for d in range(first.before.dim()) if not (first.dropped and d in first.dims)]
    dims = tuple(sorted({*first.dims, *(left[d] for d in last.dims)}))
    return Reduction(last.step, first.before, dims, last.after, last.dropped)


def _dims(given: Any, total: int) -> tuple[int, ...]:
    if isinstance(given, int):
        given = (given,)
    if not isinstance(given, tuple | list) or not all(isinstance(d, int) for d in given):
        return ()
    return tuple(sorted({d % total for d in given}))
