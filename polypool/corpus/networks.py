"""A user's own network, named `module:callable`, and the pooling behind it."""

from __future__ import annotations

import hashlib
import inspect
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from polypool._errors import first_line
from polypool._named import NotThere, from_here, split
from polypool.corpus.errors import CorpusError
from polypool.pooling import Pooling
from polypool.registry import build


def load_network(name: str, device: str) -> nn.Module:
    """The module that a callable without arguments returns, on a device, in evaluation mode, without gradients.

    The callable runs with torch's generator at a fixed seed: weights that are random on purpose are the same in every
    worker and in every run.

    Args:
        name: `module:callable`; the current folder is searched first. A module that is there already will do as well.
        device: Such as `"cpu"`.

    Raises:
        CorpusError: It does not import, raises, returns something else, or there is no such device.
    """
    made = _called(name, "model")
    if not isinstance(made, nn.Module):
        raise CorpusError(f"model {name} must give a torch.nn.Module; found {type(made).__name__}.")
    try:
        return made.to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise CorpusError(f"model {name} cannot be put on {device}: {first_line(error)}.") from error


def load_pooling(pool: str, channels: int, kind: str, device: str) -> Pooling:
    """A pooling by name, or the trained one that `module:callable` gives.

    Args:
        pool: A name for `polypool.build`, or `module:callable`.
        channels: Of what is pooled.
        kind: Of the layout that is pooled, such as `"grid"`.
        device: Such as `"cpu"`.

    Raises:
        CorpusError: There is no such pooling, it cannot pool this, or its weights would be random.

    Example:
        >>> from polypool.corpus.networks import load_pooling
        >>> load_pooling("mean+max", 8, "grid", "cpu").out_channels(8)
        16
        >>> load_pooling("attention", 8, "grid", "cpu")
        Traceback (most recent call last):
        polypool.corpus.errors.CorpusError: pool 'attention' has weights, and here they would be random; \
pass pool=module:callable that loads the trained ones.
    """
    if ":" in pool:
        made = _called(pool, "pool")
        if not isinstance(made, Pooling):
            raise CorpusError(f"pool {pool} must give a polypool.Pooling; found {type(made).__name__}.")
    else:
        made = _by_name(pool, channels)
    if made.channels not in (None, channels):
        raise CorpusError(f"pool {pool} is for {made.channels} channels; the features have {channels}.")
    refusal = made.card.refusal(kind, False)
    if refusal is not None:
        raise CorpusError(refusal)
    return made.to(device).eval().requires_grad_(False)


def identity(name: str | None, module: nn.Module | None) -> dict[str, Any]:
    """What a module computes, as far as files and weights tell: hashes, and no paths.

    The code is that of the callable and of every class in the module, less what torch itself brings.
    """
    if module is None:
        return {"class": None}
    weights = hashlib.sha256()
    for key, tensor in (*module.named_parameters(), *module.named_buffers()):
        weights.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        weights.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    code = hashlib.sha256()
    owners = {type(part).__module__ for part in module.modules()}
    if name is not None and ":" in name:
        owners.add(name.partition(":")[0])
    for owner in sorted(owners - {"builtins"}):
        if owner.partition(".")[0] not in ("torch", "polypool"):
            code.update(f"{owner}\n".encode() + _source(owner))
    kind = type(module)
    return {
        "class": f"{kind.__module__}.{kind.__qualname__}",
        "structure_sha256": hashlib.sha256(repr(module).encode()).hexdigest(),
        "weights_sha256": weights.hexdigest(),
        "code_sha256": code.hexdigest(),
    }


def _by_name(pool: str, channels: int) -> Pooling:
    made = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            try:
                made.append(build(pool, channels=channels))
            except (TypeError, ValueError) as error:
                raise CorpusError(f"pool: {first_line(error)}.") from error
    one, other = (list(each.state_dict().values()) for each in made)
    if not all(torch.equal(a, b) for a, b in zip(one, other, strict=True)):
        raise CorpusError(
            f"pool {pool!r} has weights, and here they would be random; pass pool=module:callable that loads the "
            "trained ones."
        )
    return made[0]


def _called(name: str, setting: str) -> object:
    try:
        module, attribute = split(name, "it is written module:callable")
        found = getattr(from_here(module), attribute, None)
    except NotThere as error:
        raise CorpusError(f"{setting}: {error}.") from error
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise CorpusError(f"{setting}: {module} has no callable {attribute!r}.")
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        try:
            return found()
        except Exception as error:
            raise CorpusError(
                f"{setting}: {name}() raised {type(error).__name__}: {first_line(error)}."
            ) from error


def _source(module_name: str) -> bytes:
    """The text of a module's file; nothing where there is none, as in a notebook."""
    module = sys.modules.get(module_name)
    try:
        file = None if module is None else inspect.getsourcefile(module)
    except TypeError:
        return b""
    return Path(file).read_bytes() if file is not None and Path(file).is_file() else b""
