"""Maps of a decision: what each place of an image adds to a logit."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from polypool import _checks
from polypool.explain.contributions import Contributions
from polypool.explain.decision import Decision, Method, NotExplained, decide
from polypool.explain.maps import Parts, by_gradient, exactly
from polypool.explain.quiet import leaf, ordinary
from polypool.explain.shares import per_row


@dataclass(frozen=True)
class ActivationMap(Contributions):
    """What each place of an image adds to a logit.

    Attributes:
        values: `(B, h, w)`, signed, in the unit of the logits, at the resolution of the pooled map.
        score: `(B,)`, the logit minus its bias.
        error: `(B,)`, the score minus the sum of the map and `outside`.
        logit: `(B,)`.
        bias: `(B,)`, what the logit would be for features of 0.
        target: `(B,)` int64, the explained class.
        outside: `(B,)`, what comes from no place: prefix tokens, and what the head reads beside the pooled map.
        layer: Where the features come from.
        method: `"exact"`, `"frozen"` or `"gradient"`.
    """

    logit: Tensor
    bias: Tensor
    target: Tensor
    outside: Tensor
    layer: str
    method: str


def class_activation_map(
    model: nn.Module,
    image: Tensor,
    target: int | Tensor | None = None,
    layer: str | None = None,
    *,
    method: Method = "exact",
    grid: tuple[int, ...] | None = None,
) -> ActivationMap:
    """Splits a logit of a whole model over the places of an image.

    Follows what the model computes back from the logit: while every step is affine, to where a map is pooled. That
    may be a `Pooling`, a torch pooling layer, or a mean, a sum or a maximum over the dimensions of a map or over
    tokens; Squeeze-and-Excitation further back is no part of it. Then `logit = bias + sum of the map`, exactly for
    every pooling that `is_exact`.

    The model is run once, in evaluation mode. Its modes and hooks are as before afterwards, after an exception too;
    parameters and their `.grad` are never written.

    Args:
        model: Any module that takes images and gives logits `(B, K)`, or an output that has `logits`.
        image: `(C, H, W)` or `(B, C, H, W)`, as the model wants it; volumes `(B, C, D, H, W)`.
        target: The class to explain, one for all or one per image; the predicted one when None.
        layer: The name of the module whose output is explained (`model.named_modules()` lists them); when None the
            map that is pooled, or the last module's before it with `"gradient"`.
        method: `"exact"` refuses what is no sum over places. `"frozen"` holds the scale that layer, RMS and L2
            normalisations divide by fixed, as attention weights are, so that a normalisation before the head may be
            passed. `"gradient"` takes gradient times activation at any layer of any model, and its error says how
            much of the logit that leaves out.
        grid: The rows and columns of patches, for tokens whose places cannot be found.

    Returns:
        The map with its score and completeness error.

    Raises:
        NotExplained: A ValueError with the reason: the head is not linear, flattens, or reads one token alone.
        TypeError: An argument has a type that does not fit.
        ValueError: An argument has a value that does not fit.

    Cost:
        One forward pass with the memory of a training step, and the backward pass of the head.

    Source:
        Zhou et al. 2016, Learning Deep Features for Discriminative Localization, eq. 2; signed, and without the
        rectification and the scaling to [0, 1] that are often added and that lose the sum.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from polypool.explain import class_activation_map
        >>> model = nn.Sequential(
        ...     nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
        ... )
        >>> found = class_activation_map(model, torch.randn(1, 3, 12, 16), target=2)
        >>> found.values.shape
        torch.Size([1, 10, 14])
        >>> torch.allclose(found.values.sum(), found.logit - model[4].bias[2], atol=1e-6)
        True
    """
    pixels = _image(model, image)
    decision = decide(model, lambda: model(pixels), pixels, target, method)
    features = None if layer is None else _output(decision, model, layer)
    with ordinary():
        split = by_gradient if method == "gradient" else exactly
        parts = split(decision, pixels, features, layer, grid)
    return _result(decision, parts, method)


def _image(model: nn.Module, image: Tensor) -> Tensor:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module; found {type(model).__name__}.")
    given = _checks.values(image, "image", (3, 4, 5), "(C, H, W) or (B, C, H, W)")
    return leaf(given.unsqueeze(0) if given.dim() == 3 else given)


def _output(decision: Decision, model: nn.Module, layer: str) -> Tensor:
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        close = get_close_matches(layer, names, n=3)
        hint = f" Did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise ValueError(f"layer must name a module of the model; found {layer!r}.{hint}")
    found = [
        x
        for x in pytree.tree_leaves(decision.tape.results.get(layer))
        if isinstance(x, Tensor) and x.is_floating_point()
    ]
    if not found:
        raise NotExplained(f"the layer {layer!r} gave no tensor while the model ran.")
    return found[0]


def _result(decision: Decision, parts: Parts, method: str) -> ActivationMap:
    narrow = torch.promote_types(decision.chosen.dtype, torch.float32)
    logit = decision.chosen.detach()
    return ActivationMap(
        values=parts.maps.to(narrow),
        score=parts.score.to(narrow),
        error=(parts.score - per_row(parts.maps) - parts.outside).to(narrow),
        logit=logit.to(narrow),
        bias=(logit.double() - parts.score).to(narrow),
        target=decision.target,
        outside=parts.outside.to(narrow),
        layer=parts.layer,
        method=method,
    )
