"""What a model computes, one step after the other, with the tensors themselves."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from polypool.layouts import Layout, as_layout
from polypool.pooling import Pooling


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a torch function, or of a `Pooling`.

    Attributes:
        name: The name of the function; `"pooling"` for a `Pooling`.
        args: Its positional arguments.
        kwargs: Its other arguments.
        inputs: The tensors among them.
        outputs: The tensors that it gave.
        pooling: The pooling and what it pooled, if it is one.
        held: Whether a normalisation kept its scale as a constant.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    pooling: tuple[Pooling, Layout] | None = None
    held: bool = False

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that may have been given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


class Tape(TorchFunctionMode):
    """Records the steps of a forward pass.

    The tensors are kept, so a recording needs about the memory of a training step.

    Args:
        hold_scales: Whether normalisations divide by a constant: the scale that they find, without its gradient.
    """

    def __init__(self, hold_scales: bool = False) -> None:
        super().__init__()
        self.hold_scales = hold_scales
        self.steps: list[Step] = []
        self.layers: dict[int, str] = {}
        self.results: dict[str, Any] = {}
        self._made_at: dict[int, list[int]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = _name(func)
        substitute = HELD.get(name) if self.hold_scales else None
        out = func(*args, **kwargs) if substitute is None else substitute(*args, **kwargs)
        outputs = _tensors(out)
        if outputs:
            self._add(
                Step(name, args, kwargs, _tensors((args, kwargs)), outputs, held=substitute is not None)
            )
        return out

    def watch(self, model: nn.Module, hooks: ExitStack) -> None:
        """Follows the poolings inside a model, and remembers which module gave which tensor."""
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks
            handle = module.register_forward_hook(self._seen(name), with_kwargs=True)
            hooks.callback(handle.remove)

    def _seen(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            self.results[name] = out
            unseen = [t for t in _tensors(out) if self.maker(t) is None]
            if unseen:  # scripted, compiled and custom code hides its steps; then the module is one
                self._add(Step(type(module).__name__, args, kwargs, _tensors((args, kwargs)), tuple(unseen)))
            if isinstance(module, Pooling) and isinstance(out, Tensor):
                with torch._C.DisableTorchFunction():
                    layout = as_layout(*args, **kwargs)
                inputs = (layout.values, *_tensors((args, kwargs)))
                self._add(Step("pooling", args, kwargs, inputs, (out,), (module, layout)))
            if name and isinstance(out, Tensor):
                # Of modules that hand the same tensor on, the outermost comes last and names it.
                self.layers[id(out)] = name

        return hook

    def _add(self, step: Step) -> None:
        for tensor in step.outputs:
            self._made_at.setdefault(id(tensor), []).append(len(self.steps))
        self.steps.append(step)

    def maker(self, tensor: Tensor, before: int | None = None) -> int | None:
        """The last step, before a given one, that gave a tensor; None for what the model got from outside."""
        times = self._made_at.get(id(tensor), [])
        place = len(times) if before is None else bisect_left(times, before)
        return times[place - 1] if place else None

    def descendants(self, roots: Iterable[Tensor], after: int = -1) -> set[int]:
        """The ids of tensors that were computed from the roots by steps after a given one, the roots included."""
        reached = {id(root) for root in roots}
        for step in self.steps[after + 1 :]:
            if any(id(tensor) in reached for tensor in step.inputs):
                reached.update(id(tensor) for tensor in step.outputs)
        return reached


def _name(func: Any) -> str:
    # An exported program calls `linear.default`.
    name: str = getattr(func, "__name__", str(func)).partition(".")[0]
    # An attribute such as `x.mT`.
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name


def _tensors(tree: Any) -> tuple[Tensor, ...]:
    return tuple(x for x in pytree.tree_leaves(tree) if isinstance(x, Tensor))


def _layer_norm(
    x: Tensor, shape: Any, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    dims = tuple(range(-len(shape), 0))
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    centred = wide - wide.mean(dims, keepdim=True)
    scaled = centred * (centred.detach().square().mean(dims, keepdim=True) + eps).rsqrt()
    return _affine(scaled.to(x.dtype), weight, bias)


def _rms_norm(x: Tensor, shape: Any, weight: Tensor | None = None, eps: float | None = None) -> Tensor:
    dims = tuple(range(-len(shape), 0))
    wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    small = torch.finfo(x.dtype).eps if eps is None else eps
    scaled = wide * (wide.detach().square().mean(dims, keepdim=True) + small).rsqrt()
    return _affine(scaled.to(x.dtype), weight, None)


def _normalize(x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: None = None) -> Tensor:
    return x / x.detach().norm(p, dim, keepdim=True).clamp(min=eps)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


#: Normalisations that become affine once their scale is a constant, by the name of their function.
HELD: dict[str, Callable[..., Tensor]] = {
    F.layer_norm.__name__: _layer_norm,
    F.rms_norm.__name__: _rms_norm,
    F.normalize.__name__: _normalize,
}
