"""Calling a model with the data that it takes."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from polypool.explain.quiet import leaf


def bound(model: nn.Module, data: Any) -> tuple[Callable[[], Any], Any]:
    """How the model takes the data: as it is, or by the attributes that its arguments name; floats want a gradient."""
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    wanted = [p for p in inspect.signature(model.forward).parameters.values() if p.kind in named]
    needed = [p for p in wanted if p.default is p.empty]
    # A single argument is the data itself, called `batch` or whatever, unless it is the features.
    if len(needed) == 1 and not (needed[0].name == "x" and getattr(data, "x", None) is not None):
        own = _wanting_gradients(data)
        return lambda: model(own), None
    arguments: dict[str, Any] = {}
    for one in wanted:
        value = getattr(data, one.name, None)
        if value is None and one.default is one.empty:
            raise ValueError(f"data must have {one.name}, which the model's forward takes; found none.")
        if value is not None:
            floating = isinstance(value, Tensor) and value.is_floating_point()
            arguments[one.name] = leaf(value) if floating else value
    return lambda: model(**arguments), arguments


def _wanting_gradients(data: Any) -> Any:
    """A shallow copy of a PyG object whose floating tensors want a gradient; anything else as it is."""
    if not (hasattr(data, "keys") and hasattr(data, "edge_index")):
        return data
    own = copy.copy(data)
    for key in list(data.keys()):
        value = data[key]
        if isinstance(value, Tensor) and value.is_floating_point():
            own[key] = leaf(value)
    return own
