"""Squeeze-and-Excitation blocks in a model that has none."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from polypool.blocks.registry import build
from polypool.pooling import Pooling
from polypool.vision.surgery.attach import attach
from polypool.vision.surgery.choose import fitting
from polypool.vision.surgery.edits import Edits
from polypool.vision.surgery.running import change, require_optimizer, run
from polypool.vision.surgery.trace import MISFITS, Sample, Trace, output_of


def insert_se(
    model: nn.Module,
    after: str | Iterable[str] | Callable[[str, nn.Module], bool],
    pool: str | Pooling = "mean",
    optimizer: Optimizer | None = None,
    *,
    sample: Sample | None = None,
    **settings: Any,
) -> tuple[str, ...]:
    """Puts a Squeeze-and-Excitation block behind modules of a model, in place; it begins as the identity.

    The gate is `2 sigmoid(z)` and the last map of the block begins at 0, so that the gate is 1 to the bit and what
    the model computes does not change. The slope of the gate is largest there. Each block becomes the child `se`
    of the module that it comes behind (the next child in a `nn.Sequential`), and no name of the model changes: its
    state dictionaries still fit.

    Args:
        model: Any module.
        after: A name, a pattern (`*` within a part of a name or, where that fits nothing, over dots, `**` always over
            dots), a list of these, or a function of name and module. The modules must give maps `(B, C, H, W)` or
            volumes `(B, C, D, H, W)`.
        pool: A name, or a pooling, which is copied for each block.
        optimizer: Gets the new parameters, in the groups of the modules that the blocks come behind.
        sample: What the model is run on in evaluation mode; when None, random images that fit its first convolution.
        **settings: What `polypool.blocks.SqueezeExcite` takes, such as `reduction` or `rd_channels`. Another `gate`, or
            `init_last_zero=False`, gives the identity up.

    Returns:
        The names of the blocks.

    Cost:
        Two forward passes on the sample, the first with the memory of all its activations.

    Raises:
        TypeError: An argument is of another type, or a setting is unknown.
        ValueError: `after` fits no module (those that give a map are listed), one that it fits gives no map, or no
            channel is left in the middle of a block.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from polypool.vision import insert_se
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1))
        >>> x = torch.randn(2, 3, 9, 9)
        >>> before = net(x)
        >>> insert_se(net, after="2", pool="mean+max", reduction=4)
        ('2.se',)
        >>> torch.equal(net(x), before)
        True
    """
    sample, trace = run(model, sample)
    if sample is None or trace is None:
        raise ValueError(
            "sample must be given: the model has no convolution that tells what it takes, or fails on random images. "
            "Pass sample=, a batch that it takes."
        )
    if optimizer is not None:
        require_optimizer(optimizer, model)
    picked = _picked(model, trace, after)
    before = [x.clone() for x in trace.results()]
    chosen = {"gate": "double_sigmoid", "init_last_zero": True} | settings
    if "gate_layer" in settings:
        chosen.pop("gate")
    edits, names = Edits(model), []
    try:
        for name, module, x in picked:
            own = pool if isinstance(pool, str) else copy.deepcopy(pool)
            block = build("squeeze_excite", x.shape[1], pool=own, device=x.device, dtype=x.dtype, **chosen)
            edits.stand_near(block, sorted(module.parameters(), key=lambda p: -p.dim()))
            names.append(f"{name}.{attach(edits, module, 'se', block)}")
        try:
            moved = change(before, output_of(model, sample))
        except MISFITS as error:
            raise ValueError(
                f"the model does not run with the blocks: {error}. Nothing was changed."
            ) from error
        if moved and chosen.get("gate") == "double_sigmoid" and chosen["init_last_zero"] is True:
            raise ValueError(
                f"the blocks should begin as the identity, but the output moves by {moved:.2g}: the "
                "model is random, or its maps are not finite. Nothing was changed."
            )
        if optimizer is not None:
            edits.tell(optimizer)
    except BaseException:
        edits.take_back()
        raise
    return tuple(names)


def _picked(model: nn.Module, trace: Trace, after: object) -> list[tuple[str, nn.Module, Tensor]]:
    maps, others = {}, {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        calls = trace.of(module)
        if name and calls:
            x = calls[0].output
            if isinstance(x, Tensor) and x.dim() in (4, 5) and x.is_floating_point():
                maps[name] = x
            else:
                others[name] = f"a tensor {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
    found: list[str] = []
    if callable(after):
        found = [name for name in [*maps, *others] if after(name, modules[name])]
        if not found:
            raise ValueError(f"after must be True for a module; found none. {_listed(list(maps))}")
    else:
        patterns = list(after) if isinstance(after, Iterable) and not isinstance(after, str) else [after]
        if not patterns or not all(isinstance(pattern, str) for pattern in patterns):
            raise TypeError(
                f"after must be a name, a pattern, a list of these or a function of name and module; found {after!r}."
            )
        for pattern in map(str, patterns):
            own = fitting([*maps, *others], pattern)
            if not own:
                raise ValueError(
                    f"after must fit a module that runs; found {pattern!r}. {_listed(list(maps))}"
                )
            found += [name for name in own if name not in found]
    wrong = next((name for name in found if name not in maps), None)
    if wrong is not None:
        raise ValueError(
            f"after must fit modules that give maps (B, C, H, W) or volumes; {wrong} gives {others[wrong]}. "
            f"{_listed(list(maps))}"
        )
    return [(name, modules[name], maps[name]) for name in modules if name in found]


def _listed(names: list[str], most: int = 30) -> str:
    if not names:
        return "No module gives a map."
    rest = f", and {len(names) - most} more" if len(names) > most else ""
    return f"These give maps: {', '.join(names[:most])}{rest}."
