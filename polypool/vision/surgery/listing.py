"""The places where a model pools, for people."""

from __future__ import annotations

from torch import nn

from polypool.vision.surgery.find import find
from polypool.vision.surgery.running import run
from polypool.vision.surgery.site import Site
from polypool.vision.surgery.trace import Sample


def sites(model: nn.Module, sample: Sample | None = None) -> list[Site]:
    """The places where a model pools or samples, in the order in which they run.

    Modules are found by their class; functions such as `x.mean((2, 3))` or `x[:, 0]`, the gates of
    Squeeze-and-Excitation blocks and all shapes by running the model once on a sample, in evaluation mode. The model
    is left as it was.

    Args:
        model: Any module.
        sample: What it is run on: a tensor, a tuple of arguments or a mapping of named ones. When None, random images
            that fit its first convolution; if these fail, modules alone are found, without shapes.

    Returns:
        One `Site` for each place.

    Cost:
        One forward pass, with the memory of all its activations.

    Raises:
        TypeError: The model is no module.
        ValueError: It is compiled, or wrapped for several processes.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from polypool.vision import sites
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(3), nn.Flatten())
        >>> for site in sites(net, torch.randn(1, 3, 12, 12)):
        ...     print(site.name, site.kind, site.operator, site.output, site.risks[0])
        1 down max (1, 8, 5, 5) aliasing: stride 2 without a blur
        2 down mean (1, 8, 3, 3) uneven bins: places count 0.31 to 1.93 times the average
    """
    _, trace = run(model, sample)
    return [one.site for one in find(model, trace)]
