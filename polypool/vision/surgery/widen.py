"""What reads a pooled vector, and how it is made to read a longer one without a change of what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from polypool.vision.surgery.edits import Edits, Grow
from polypool.vision.surgery.trace import CONVOLUTIONS, Step, Trace


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CONVOLVE = {"conv1d", "conv2d", "conv3d"}
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
#: Steps that move numbers, or work on each by itself.
PASSED = _names(
    "view reshape flatten Flatten unflatten Unflatten squeeze unsqueeze contiguous clone to type type_as float half "
    "bfloat16 double Identity Sequential "
    "Dropout Dropout1d Dropout2d Dropout3d dropout dropout2d relu relu_ ReLU gelu GELU silu "
    "SiLU tanh Tanh sigmoid Sigmoid hardswish Hardswish LeakyReLU ELU Mish permute transpose movedim mean __getitem__ "
    "alpha_dropout ReLU6 Hardsigmoid"
)


class WideningError(ValueError):
    """What reads the pooled vector cannot read a longer one; the message says what it is."""


@dataclass(frozen=True, eq=False)
class Reader:
    """A layer that has one input for each pooled channel.

    Attributes:
        name: Its name.
        module: The layer.
        each: How many of its inputs there are for each channel.
    """

    name: str
    module: nn.Module
    each: int = 1


def readers(model: nn.Module, trace: Trace, pooled: Tensor, stop: int, channels: int) -> list[Reader]:
    """The layers that read a pooled tensor, and the normalisations between.

    Args:
        model: The model.
        trace: What it did.
        pooled: The tensor.
        stop: The steps from here on come after it.
        channels: Its channels.

    Raises:
        WideningError: Something else reads it.
    """
    reached, found = {id(pooled): pooled}, dict[int, Reader]()
    shown = {id(tensor) for tensor in trace.results()}
    for step in trace.steps[stop:]:
        if not any(id(tensor) in reached for tensor in step.inputs):
            continue
        reader = _reader(model, step, channels, reached)
        if reader is not None:
            found[id(reader.module)] = reader
        if reader is None or isinstance(reader.module, (nn.LayerNorm, *BATCH_NORMS)):
            if reader is None and step.operator not in PASSED:
                where = f" in {step.inside}" if step.inside else ""
                raise WideningError(
                    f"{step.operator}{where} reads it, which is neither a linear layer, a convolution nor a "
                    "normalisation of these channels"
                )
            reached.update({id(tensor): tensor for tensor in step.outputs})
    if any(id_ in shown for id_ in reached):
        raise WideningError("it is an output of the model")
    if not found:
        raise WideningError("nothing reads it")
    return list(found.values())


def _reader(model: nn.Module, step: Step, channels: int, reached: dict[int, Tensor]) -> Reader | None:
    module = step.module if step.module is not None else model.get_submodule(step.inside)
    x = next(tensor for tensor in step.inputs if id(tensor) in reached)
    if isinstance(module, nn.Linear) and step.operator in ("linear", type(module).__name__):
        each, rest = divmod(module.in_features, channels)
        flattened = x.dim() == 2 and each in {prod(tensor.shape[2:]) for tensor in reached.values()}
        return Reader(step.inside, module, each) if not rest and (each == 1 or flattened) else None
    if isinstance(module, CONVOLUTIONS) and step.operator in (CONVOLVE | {type(module).__name__}):
        fits = module.in_channels == channels and module.groups == 1
        return Reader(step.inside, module) if fits else None
    if isinstance(module, BATCH_NORMS):
        return Reader(step.inside, module) if module.num_features == channels else None
    if type(module) is nn.LayerNorm:
        return Reader(step.inside, module) if module.normalized_shape == (channels,) else None
    return None


def widen(edits: Edits, reader: Reader, channels: int, width: int, place: int) -> None:
    """Lets a layer read `width` channels, those from `place` on as it read its own, the others not yet.

    Raises:
        WideningError: Its weight is not its own.
    """
    module = reader.module
    for key, parameter in module._parameters.items():
        if parameter is not None:
            _require_own(edits.model, reader.name, key, parameter)
    if isinstance(module, nn.LayerNorm):
        edits.replace(reader.name, new := PartNorm(module, _parts(channels, width, place)))
        for key in ("weight", "bias"):
            edits.grow(new, key, _grown(0, channels, width, place, 1.0 if key == "weight" else 0.0))
        return
    if "weight" not in module._parameters:
        raise WideningError(
            f"{reader.name} computes its weight from others; remove the parametrization first"
        )
    if isinstance(module, BATCH_NORMS):
        for key, fill in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
            edits.grow(module, key, _grown(0, channels, width, place, fill))
        edits.set(module, "num_features", width)
        return
    each = reader.each
    edits.grow(module, "weight", _grown(1, channels * each, width * each, place * each, 0.0))
    edits.set(module, "in_features" if isinstance(module, nn.Linear) else "in_channels", width * each)


def _require_own(model: nn.Module, name: str, key: str, parameter: nn.Parameter) -> None:
    owners = {
        (other, own)
        for other, module in model.named_modules()
        for own, one in module._parameters.items()
        if one is parameter
    }
    if len(owners) > 1:
        names = " and ".join(sorted(f"{other}.{own}" for other, own in owners))
        raise WideningError(f"the {key} of {name} is shared: {names} are one")


def _grown(dim: int, channels: int, width: int, place: int, fill: float) -> Grow:
    def grow(old: Tensor) -> Tensor:
        shape = list(old.shape)
        shape[dim] = width
        new = torch.full(shape, fill, dtype=old.dtype, device=old.device)
        new.narrow(dim, place, channels).copy_(old)
        return new

    return grow


def _parts(channels: int, width: int, place: int) -> list[int]:
    """Widths: the old channels by themselves, the others in parts as long where that goes up."""
    parts: list[int] = []
    for length in (place, channels, width - place - channels):
        whole, rest = divmod(length, channels)
        parts += [length] if rest else [channels] * whole
    return [part for part in parts if part]


class PartNorm(nn.LayerNorm):
    """Layer normalisation of each part of the features by itself, so that new features leave the old ones alone.

    Its parameters have the names of those of the layer that it comes from.

    Args:
        kept: The layer that it begins as; its parameters become those of this one, to be made longer.
        parts: The widths of the parts.
    """

    def __init__(self, kept: nn.LayerNorm, parts: list[int]) -> None:
        super().__init__(sum(parts), eps=kept.eps, elementwise_affine=False)
        self.elementwise_affine = kept.elementwise_affine
        self._parameters["weight"] = kept.weight
        self._parameters["bias"] = kept.bias
        self.parts = parts

    def forward(self, input: Tensor) -> Tensor:
        weights, biases = (
            _split(self._parameters["weight"], self.parts),
            _split(self._parameters["bias"], self.parts),
        )
        rows = zip(input.split(self.parts, -1), weights, biases, strict=True)
        return torch.cat([F.layer_norm(x, x.shape[-1:], w, b, self.eps) for x, w, b in rows], dim=-1)

    def extra_repr(self) -> str:
        return f"parts={self.parts}, eps={self.eps}"


def _split(x: Tensor | None, parts: list[int]) -> Sequence[Tensor | None]:
    return [None] * len(parts) if x is None else x.split(parts)
