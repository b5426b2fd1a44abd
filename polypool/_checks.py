"""Validation of what a user passed: which argument, what it must be, what was found, what to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

RESHAPE = "Reshape it, or use the layout of its form."
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

_PROXY = torch._C._TorchDispatchModeKey.PROXY
_on_every_device: ContextVar[bool] = ContextVar("polypool_check_values", default=False)


@contextmanager
def check_values() -> Iterator[None]:
    """Inside this block, arguments on a GPU are checked by value too, at the price of a synchronisation each.

    On a CPU, values are always checked in eager mode. Nothing is checked by value while compiling or exporting.

    Example:
        >>> import torch, polypool as pp
        >>> with pp.check_values():
        ...     pp.Packed(torch.ones(3, 2), torch.tensor([0, 1, 3])).counts
        tensor([1, 2])
    """
    token = _on_every_device.set(True)
    try:
        yield
    finally:
        _on_every_device.reset(token)


def may_read(tensor: Tensor) -> bool:
    """Whether the values of a tensor may be looked at: not while tracing, and without a hidden synchronisation."""
    if torch.compiler.is_compiling() or isinstance(tensor, FakeTensor) or traced():
        return False
    return (tensor.is_cpu or _on_every_device.get()) and not batched(tensor)


def traced() -> bool:
    """Whether `torch.jit.trace` or `make_fx` writes down what happens, for other values than those that are here."""
    return torch._C._get_tracing_state() is not None or torch._C._get_dispatch_mode(_PROXY) is not None


def batched(tensor: Tensor) -> bool:
    """Whether a tensor is one of many inside vmap, under whatever other transforms."""
    if torch.compiler.is_compiling():
        return False
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        if torch._C._functorch.is_batchedtensor(tensor):
            return True
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return False


def shape(tensor: Tensor) -> str:
    """The shape as a user writes it."""
    return f"({', '.join(str(size) for size in tensor.shape)}{',' if tensor.dim() == 1 else ''})"


def values(x: object, what: str, dims: tuple[int, ...], form: str) -> Tensor:
    """A floating tensor with one of the given numbers of dimensions."""
    x = tensor(x, what)
    if x.is_nested:
        raise TypeError(
            f"{what} must be a plain tensor; found a nested one. Use as_layout, which makes it Packed."
        )
    if not x.is_floating_point():
        raise TypeError(f"{what} must be of a floating dtype; found {x.dtype}. Convert with {what}.float().")
    if x.dim() not in dims:
        raise ValueError(f"{what} must have shape {form}; found {shape(x)}. {RESHAPE}")
    return x


def tensor(x: object, what: str) -> Tensor:
    """A tensor, not something that looks like one."""
    if not isinstance(x, Tensor):
        raise TypeError(
            f"{what} must be a torch.Tensor; found {type(x).__name__}. Convert with torch.as_tensor."
        )
    return x


def same_device(x: Tensor, what: str, other: Tensor) -> None:
    """Both on one device."""
    if x.device != other.device:
        raise ValueError(
            f"{what} must be on the device of the values, {other.device}; found {x.device}. "
            f"Move it with {what}.to(values.device)."
        )


def mask(x: object, expected: torch.Size, form: str, other: Tensor, what: str = "mask") -> Tensor:
    """A bool mask of the expected shape, True at real elements, from a bool or 0/1 integer tensor."""
    x = tensor(x, what)
    if x.dtype is not torch.bool and x.dtype not in INTEGERS:
        raise TypeError(
            f"{what} must be bool or 0/1 integers; found {x.dtype}. Pass {what}.bool(), or weight= for fractions."
        )
    if x.shape != expected:
        raise ValueError(_not_of_shape(what, form, expected, x))
    same_device(x, what, other)
    if x.dtype is torch.bool:
        return x
    if may_read(x):
        smallest, largest = extent(x)
        if smallest < 0 or largest > 1:
            raise ValueError(
                f"{what} must hold 0 and 1 alone; found values from {smallest} to {largest}. "
                f"Pass {what} != 0, or weight= for multiplicities."
            )
    return x.bool()


def weight(x: object, expected: torch.Size, form: str, other: Tensor, what: str = "weight") -> Tensor:
    """Numbers >= 0 of the expected shape."""
    x = tensor(x, what)
    if not x.is_floating_point():
        raise TypeError(f"{what} must be of a floating dtype; found {x.dtype}. Pass mask= for 0/1 integers.")
    if x.shape != expected:
        raise ValueError(_not_of_shape(what, form, expected, x))
    same_device(x, what, other)
    if may_read(x):
        smallest, largest = extent(x.detach())
        if not 0 <= smallest <= largest < inf:  # nor is NaN
            wrong = x[~((x >= 0) & x.isfinite())]
            raise ValueError(
                f"{what} must be finite and >= 0; found {float(wrong.detach()[0])}. Clamp it; 0 leaves an element out."
            )
    return x


def index(x: object, what: str, expected: torch.Size | None, form: str, other: Tensor) -> Tensor:
    """An integer tensor of the expected shape, as int64."""
    x = tensor(x, what)
    if x.dtype not in INTEGERS:
        raise TypeError(f"{what} must hold integers; found {x.dtype}. Convert with {what}.long().")
    if expected is not None and x.shape != expected:
        raise ValueError(_not_of_shape(what, form, expected, x))
    same_device(x, what, other)
    return x if x.dtype is torch.int64 else x.to(torch.int64)


def _not_of_shape(what: str, form: str, expected: torch.Size, x: Tensor) -> str:
    return (
        f"{what} must have shape {form} = {tuple(expected)}; found {shape(x)}. "
        "It goes with the values, one number for each element."
    )


def flag(x: object, what: str) -> bool:
    """True or False, and nothing that merely counts as one of them."""
    if not isinstance(x, bool):
        raise TypeError(f"{what} must be a bool; found {type(x).__name__}. Pass True or False.")
    return x


def extent(x: Tensor) -> tuple[float, float]:
    """The smallest and the largest number, read once; NaN where there is one, and zeros where there is nothing."""
    if x.numel() == 0:
        return 0, 0
    smallest, largest = x.aminmax()
    return smallest.item(), largest.item()


def ordered(x: Tensor) -> bool:
    """Whether no number is smaller than the one before it."""
    return x.shape[0] < 2 or int(x.diff().min()) >= 0


def in_range(x: Tensor, what: str, low: int, high: int | None, meaning: str, way_out: str) -> int | None:
    """All values in `[low, high)`, as far as they may be read; the largest when they were."""
    if x.numel() == 0 or not may_read(x):
        return None
    smallest, largest = extent(x)
    if smallest < low or (high is not None and largest >= high):
        found = smallest if smallest < low else largest
        bound = f">= {low}" if high is None else f"in [{low}, {high})"
        raise ValueError(f"{what} must be {bound} ({meaning}); found {found}. {way_out}")
    return int(largest)


def numbered(x: Tensor, what: str, low: int, meaning: str, way_out: str) -> int:
    """How many things there are, from their numbers: one more than the largest, which is read once."""
    largest = in_range(x, what, low, None, meaning, way_out)
    if largest is None:
        largest = int(x.max()) if x.numel() else -1
    return max(largest + 1, 0)


def size(x: object, what: str, least: int = 0) -> int:
    """A count given as a Python integer."""
    if isinstance(x, bool) or not isinstance(x, int | torch.SymInt):
        raise TypeError(f"{what} must be an int; found {type(x).__name__}. Convert it with int().")
    if x < least:
        raise ValueError(f"{what} must be >= {least}; found {x}. Pass {least} or more.")
    return x  # type: ignore[return-value]


def sizes(x: object, what: str, dims: int, least: int) -> tuple[int, ...]:
    """One integer for every spatial dimension, from one integer or one per dimension."""
    listed = tuple(x) if isinstance(x, tuple | list | torch.Size) else (x,) * dims
    if len(listed) != dims:
        raise ValueError(
            f"{what} must be one int or {dims}, one per spatial dimension; found {len(listed)}. "
            "One int serves all dimensions."
        )
    return tuple(size(one, what, least) for one in listed)
