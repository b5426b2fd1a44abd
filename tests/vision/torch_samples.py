"""The poolings of torch's own operator database, and the module of ours that each of its samples stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from polypool.vision import BinPool, LocalPool

# fractional_max_pool draws its windows at random, and unpooling is no pooling.
WINDOWS = ("avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d")
BINS = tuple(f"adaptive_{each}" for each in WINDOWS)


@cache
def database() -> list[Any]:
    """`op_db`, which torch ships for its own tests."""
    from torch.testing._internal.common_methods_invocations import op_db

    return list(op_db)


def entry(name: str) -> Any:
    """The one entry of `torch.nn.functional.<name>`."""
    (found,) = [op for op in database() if op.name == f"nn.functional.{name}"]
    return found


def module_for(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """Our module with the same settings, on a batch; every setting of torch's either maps or is an error here."""
    dims = int(name[-2])
    return _windows(name, dims, args, kwargs) if name in WINDOWS else _bins(name, args, kwargs)


AVERAGE = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
LARGEST = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")


def _windows(
    name: str, dims: int, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[[Tensor], Tensor]:
    settings = dict(zip(AVERAGE if name.startswith("avg") else LARGEST, args, strict=False)) | kwargs
    settings.pop("return_indices", None)  # the values are the same
    divisor = settings.pop("divisor_override", None)
    kernel, stride = settings.pop("kernel_size"), settings.pop("stride", None)
    given: dict[str, Any] = {"kernel": kernel, "stride": None if stride in ((), None) else stride}
    given["padding"] = settings.pop("padding", 0)
    if "dilation" in settings:
        given["dilation"] = settings.pop("dilation")
    given["ceil_mode"] = settings.pop("ceil_mode", False)
    if name.startswith("avg"):
        given["count_include_pad"] = settings.pop("count_include_pad", True)
    assert not settings, settings
    given = {key: _each(value, dims) for key, value in given.items()}
    # torch's mean with another divisor is a sum.
    pool: nn.Module = LocalPool(
        ("mean" if divisor is None else "sum") if name.startswith("avg") else "max", **given
    )
    return pool if divisor is None else lambda x: pool(x) / divisor


def _each(value: Any, dims: int) -> Any:
    """One number per dimension, so that the number of dimensions is that of torch's function and not the input's."""
    if isinstance(value, bool) or value is None:
        return value
    listed = tuple(value) if isinstance(value, tuple | list) else (value,)
    return listed * dims if len(listed) == 1 else listed


def _bins(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    settings = dict(zip(("output_size", "return_indices"), args, strict=False)) | kwargs
    settings.pop("return_indices", None)
    size = settings.pop("output_size")
    assert not settings, settings
    listed = tuple(size) if isinstance(size, tuple | list) else (size,) * int(name[-2])
    return BinPool("mean" if "avg" in name else "max", listed, shared="whole")


@dataclass
class Case:
    """One sample: the input of torch's function, with gradients, and what goes with it."""

    name: str
    x: Tensor
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    op: Any = field(repr=False)

    def torchs(self, x: Tensor) -> Tensor:
        found = self.op(x, *self.args, **self.kwargs)
        return found[0] if isinstance(found, tuple) else found

    def ours(self, x: Tensor) -> Tensor:
        """The same by our module, which always has a batch."""
        module = module_for(self.name, self.args, self.kwargs)
        batched = x.dim() == int(self.name[-2]) + 2
        return module(x) if batched else module(x.unsqueeze(0)).squeeze(0)


def cases(name: str, dtype: torch.dtype, every: int = 1) -> Iterator[Case]:
    """The samples of one function; every seventh, say."""
    op = entry(name)
    for i, sample in enumerate(op.sample_inputs("cpu", dtype, requires_grad=True)):
        if i % every == 0:
            yield Case(name, sample.input, tuple(sample.args), dict(sample.kwargs), op.op)
