"""What may go wrong where a model pools, in words."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import nn

from polypool.vision.surgery.forms import Form
from polypool.vision.surgery.windows import Counts

#: `torch.use_deterministic_algorithms` names them (those of one dimension run as the ones of two): their gradient on a
#: GPU depends on the order of additions.
UNORDERED = (
    nn.MaxPool3d,
    nn.AvgPool3d,
    nn.AdaptiveAvgPool1d,
    nn.AdaptiveAvgPool2d,
    nn.AdaptiveAvgPool3d,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveMaxPool2d,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
)


def risks_of(
    module: nn.Module, form: Form, kind: str, lengths: Sequence[int], counts: Counts
) -> tuple[str, ...]:
    """The risks of a module that pools.

    Args:
        module: The module.
        form: How it pools.
        kind: The kind of the site.
        lengths: The spatial sizes of what came in; empty when it did not run.
        counts: How much each place counts.
    """
    found = []
    if form.how == "bins" and not form.to_one and any(max(one) > min(one) for one in counts):
        low, high = prod(min(one) for one in counts), prod(max(one) for one in counts)
        found.append(f"uneven bins: places count {low:.2f} to {high:.2f} times the average")
        found.append("export: ONNX has no bins that do not divide the map")
    if lengths and counts and any(0.0 in one for one in counts):
        read = prod(sum(x > 0 for x in one) / len(one) for one in counts)
        found.append(f"unread: {1 - read:.0%} of the places are never looked at")
    if kind in ("down", "stride"):
        found += _aliasing(form)
    windows = form.windows
    if windows is not None and windows.count_include_pad and any(windows.padding):
        found.append("border: the zeros of the padding count as pixels")
    if windows is not None and kind in ("global", "squeeze"):
        size = " x ".join(map(str, windows.kernel))
        found.append(f"fixed window: a map larger than {size} gives more than one vector")
    by_mean = form.operator == "mean" and form.to_one  # which torch computes as a mean
    if isinstance(module, UNORDERED) and not by_mean:
        found.append("CUDA: its backward pass is not deterministic")
    if form.obstacle == "its windows are random":
        found.append("export: its windows are random")
    return tuple(found)


def _aliasing(form: Form) -> list[str]:
    if form.how == "other":
        return []
    if form.windows is None:
        return [] if form.operator in ("mean", "sum") else ["aliasing: parts of the map without a blur"]
    jumps = [
        step
        for kernel, step in zip(form.windows.kernel, form.windows.stride, strict=True)
        # The average of all places between two samples is a blur of its own.
        if step > 1 and not (form.operator == "mean" and kernel >= step)
    ]
    return [f"aliasing: stride {max(jumps)} without a blur"] if jumps else []
