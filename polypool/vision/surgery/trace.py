"""What a model does with a sample: every call of a torch function, and which module gave which tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from polypool.pooling import Pooling

#: One tensor, a tuple of positional arguments, or a mapping of named ones.
Sample: TypeAlias = Tensor | tuple[Any, ...] | Mapping[str, Any]

CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
#: What forwards raise when they are given something that does not fit.
MISFITS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
    AssertionError,
)


@dataclass(frozen=True, eq=False)
class Step:
    """One call of a torch function, or of a module that is taken as one.

    Attributes:
        operator: The name of the function, or of the module's class.
        module: The module, when it is taken as one.
        inside: The name of the module in whose forward the call is written; that of the module itself if it is one.
        args: The positional arguments.
        kwargs: The other arguments.
        inputs: The tensors among them.
        outputs: The tensors that it gave.
    """

    operator: str
    module: nn.Module | None
    inside: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that may have been given by place or by name."""
        return self.args[place] if len(self.args) > place else self.kwargs.get(name, default)


@dataclass(frozen=True, eq=False)
class Call:
    """One call of a module.

    Attributes:
        name: The first name of the module.
        args: The positional arguments.
        kwargs: The other arguments.
        output: What it gave.
        start, stop: The steps `[start, stop)` were its own.
    """

    name: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    output: Any
    start: int
    stop: int


@dataclass(eq=False)
class Trace:
    """A recording. It keeps the tensors, so that their ids stay theirs."""

    steps: list[Step] = field(default_factory=list)
    calls: dict[int, list[Call]] = field(default_factory=dict)
    output: Any = None
    _live: list[bool] | None = None

    def of(self, module: nn.Module) -> list[Call]:
        """The calls of a module, in order."""
        return self.calls.get(id(module), [])

    def results(self) -> list[Tensor]:
        """The tensors that the model gave."""
        return tensors(self.output)

    def live(self) -> list[bool]:
        """For each step whether the model's output depends on it."""
        if self._live is not None:
            return self._live
        wanted = {id(tensor) for tensor in self.results()}
        alive = [False] * len(self.steps)
        for number in reversed(range(len(self.steps))):
            step = self.steps[number]
            if any(id(tensor) in wanted for tensor in step.outputs):
                alive[number] = True
                wanted.update(id(tensor) for tensor in step.inputs)
        self._live = alive
        return alive


class _Recorder(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.trace = Trace()
        self.stack: list[tuple[str, int]] = [("", 0)]
        self.quiet = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        outputs = tensors(out)
        if outputs and not self.quiet:
            inside = self.stack[-1][0]
            given = tensors((args, kwargs))
            self.trace.steps.append(
                Step(_name(func), None, inside, args, kwargs or {}, tuple(given), tuple(outputs))
            )
        return out

    def watch(self, model: nn.Module, hooks: ExitStack) -> None:
        for name, module in model.named_modules():
            if isinstance(module, torch.jit.ScriptModule):
                continue  # takes no hooks
            before = module.register_forward_pre_hook(self._entered(name), with_kwargs=True)
            after = module.register_forward_hook(self._left(name), with_kwargs=True)
            hooks.callback(before.remove)
            hooks.callback(after.remove)

    def _entered(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self.stack.append((name, len(self.trace.steps)))
            self.quiet += is_one_step(module)

        return hook

    def _left(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
            _, start = self.stack.pop()
            if is_one_step(module):
                self.quiet -= 1
                if not self.quiet:
                    given, gave = tensors((args, kwargs)), tensors(out)
                    self.trace.steps.append(
                        Step(type(module).__name__, module, name, args, kwargs, tuple(given), tuple(gave))
                    )
            called = Call(name, args, kwargs, out, start, len(self.trace.steps))
            self.trace.calls.setdefault(id(module), []).append(called)

        return hook


def is_one_step(module: nn.Module) -> bool:
    """Whether a module is taken as one step: layers of torch, poolings, and what this package makes of them."""
    if isinstance(module, Pooling | nn.MultiheadAttention):
        return True
    if type(module).__module__.startswith("polypool.vision."):
        return not getattr(module, "is_open", False)
    return type(module).__module__.startswith("torch.nn.modules.") and not any(
        True for _ in module.children()
    )


def traced(model: nn.Module, sample: Sample) -> Trace:
    """Runs a model once in evaluation mode, without gradients; its modes and hooks are as before afterwards."""
    recorder = _Recorder()
    with evaluating(model) as hooks:
        recorder.watch(model, hooks)
        with recorder:
            recorder.trace.output = called(model, sample)
    return recorder.trace


def output_of(model: nn.Module, sample: Sample) -> list[Tensor]:
    """The tensors that a model gives for a sample, in evaluation mode."""
    with evaluating(model):
        return tensors(called(model, sample))


def called(model: nn.Module, sample: Sample) -> Any:
    """Calls a model with a sample."""
    if isinstance(sample, Mapping):
        return model(**sample)
    return model(*sample) if isinstance(sample, tuple) else model(sample)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[ExitStack]:
    """Evaluation mode without gradients; the global generator starts at the same place and is put back."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with ExitStack() as stack, torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            for module, _ in modes:
                module.training = False  # not eval(), which a model may have made do more
            yield stack
    finally:
        for module, training in modes:
            module.training = training


def made_up(model: nn.Module) -> tuple[Sample, Trace] | None:
    """Random images that the model takes, of the size that its configuration names or 64, 32 or 224 pixels.

    None where the first convolution does not tell what the model takes, or nothing fits.
    """
    first = next((module for module in model.modules() if isinstance(module, CONVOLUTIONS)), None)
    if first is None:
        return None
    dims = len(first.kernel_size)
    for size in dict.fromkeys([*_configured(model), 64, 32, 224]):
        shape = (2, first.in_channels, *[size] * dims)
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        image = image.to(first.weight.device, first.weight.dtype)
        named = getattr(model, "main_input_name", None)
        sample: Sample = {named: image} if isinstance(named, str) and "pixel" in named else image
        try:
            return sample, traced(model, sample)
        except MISFITS:
            continue
    return None


def _configured(model: nn.Module) -> Iterable[int]:
    config = getattr(model, "config", None)
    for place in (config, getattr(config, "vision_config", None)):
        size = getattr(place, "image_size", None)
        if isinstance(size, int):
            yield size


def tensors(tree: Any) -> list[Tensor]:
    """The tensors in what a function takes or gives."""
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def _name(func: Any) -> str:
    name: str = getattr(func, "__name__", str(func)).partition(".")[0]
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name
