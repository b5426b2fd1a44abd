"""A property computed once: `functools.cached_property` breaks `torch.compile(fullgraph=True)`, this does not."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import torch

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
        value = self.compute(instance)
        # A value kept while tracing would be a graph output, and the next call would recompile.
        if not torch.compiler.is_compiling():
            instance.__dict__[self.name] = value
        return value
