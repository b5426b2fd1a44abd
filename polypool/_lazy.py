"""A property computed once: `functools.cached_property` breaks `torch.compile(fullgraph=True)`, this does not."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import torch
from torch._subclasses.fake_tensor import FakeTensor

T = TypeVar("T")


class lazy(Generic[T]):  # noqa: N801 - used as a decorator, like `property`
    """Computes on first use and keeps the result on the instance; while tracing it keeps nothing."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "lazy[T]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> "T | lazy[T]":
        if instance is None:
            return self
        # A value kept while tracing would be a graph output, and the next call would recompile.
        if torch.compiler.is_compiling():
            return self.compute(instance)
        value = self.evaluate(instance)
        if self.lasts(value):
            instance.__dict__[self.name] = value
        return value

    def evaluate(self, instance: object) -> T:
        """The value, for whoever asked."""
        return self.compute(instance)

    def lasts(self, value: T) -> bool:
        """Whether the value may serve the next who asks."""
        return True


class kept(lazy[T]):  # noqa: N801
    """A `lazy` property of something that outlives a call, such as the structure of a layout.

    It must serve every later use: it is made as an ordinary tensor even where inference mode is on, whose tensors
    no gradient can go through, and it is not kept when it belongs to a trace or a transform.
    """

    def evaluate(self, instance: object) -> T:
        if not torch.is_inference_mode_enabled():
            return self.compute(instance)
        with torch.inference_mode(False), torch.no_grad():
            return self.compute(instance)

    def lasts(self, value: T) -> bool:
        if value is None:
            return True
        tensors = [value, *vars(value).values()] if hasattr(value, "__dict__") else [value]
        return not any(isinstance(t, torch.Tensor) and _passing(t) for t in tensors)


def _passing(tensor: torch.Tensor) -> bool:
    return isinstance(tensor, FakeTensor) or torch._C._functorch.is_functorch_wrapped_tensor(tensor)
