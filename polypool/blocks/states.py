"""Weights of other people's blocks: which names they have, and how they fit ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from polypool.blocks.block import Block

OWN = "polypool"

B = TypeVar("B", bound=Block)


def load_state(block: B, state: Mapping[str, Tensor], *, prefix: str = "") -> B:
    """Puts tensors into a block, ours or those of a library whose names are known; all of them or none.

    Names are recognised, and 1 x 1 convolutions are linear maps. What another library does not have, the parameters
    of a pooling in place of its mean, stays as it is. Tensors are read and nothing else: no pickles.

    Args:
        block: The block; it is returned.
        state: Names and tensors: `module.state_dict()`, or what `safetensors.torch.load_file` gives.
        prefix: What the names begin with, for one layer in the state of a whole model.

    Raises:
        TypeError: The state is no mapping of names to tensors.
        ValueError: The names are not known for this block, or a tensor is missing, too much, or of another shape.

    Example:
        >>> import torch, polypool as pp
        >>> theirs = {
        ...     "fc1.weight": torch.randn(2, 8, 1, 1),
        ...     "fc1.bias": torch.zeros(2),
        ...     "fc2.weight": torch.randn(8, 2, 1, 1),
        ...     "fc2.bias": torch.zeros(8),
        ... }
        >>> block = pp.blocks.load_state(pp.blocks.SqueezeExcite(8, 4, pool="gem"), theirs)
        >>> torch.equal(block.squeeze.weight, theirs["fc1.weight"][:, :, 0, 0])
        True
    """
    if not isinstance(block, Block):
        raise TypeError(f"block must be a block of polypool.blocks; found {type(block).__name__}.")
    named, source = recognised(type(block), state, prefix)
    _load(block, named, source)
    return block


def from_state_dict(cls: type[B], state: Mapping[str, Tensor], *, prefix: str = "", **settings: Any) -> B:
    """A block of the class whose sizes are those of the tensors, with these tensors, on their device."""
    named, source = recognised(cls, state, prefix)
    some = next(iter(named.values()))
    try:
        told = cls.sizes_of(named, source)
    except (KeyError, IndexError) as error:
        raise ValueError(
            f"state must hold all tensors of {cls.__name__} as {source} has them; found {_listed(state)}."
        ) from error
    merged: dict[str, Any] = {"device": some.device, "dtype": some.dtype} | told | settings
    if "channels" not in merged:
        raise ValueError(
            f"channels must be given: the tensors of {cls.__name__} do not tell. Pass channels=."
        )
    block = cls(**merged)
    _load(block, named, source)
    return block


def recognised(
    cls: type[Block], state: Mapping[str, Tensor], prefix: str = ""
) -> tuple[dict[str, Tensor], str]:
    """The tensors under our names, and whose names they had.

    Raises:
        TypeError: The state is no mapping of names to tensors.
        ValueError: No known source has these names.
    """
    given: object = state
    if not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given):
        raise TypeError(
            f"state must map names to tensors; found {type(state).__name__}. Read a file with "
            "safetensors.torch.load_file, or torch.load(path, weights_only=True)."
        )
    own = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    for key, value in own.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"state must map names to tensors; found {type(value).__name__} under {key!r}.")
    if not own and prefix:
        raise ValueError(f"state must hold names that begin with {prefix!r}; found {_listed(state)}.")
    for source, names in sources(cls).items():
        renamed = _renamed(own, names)
        if renamed or not own:  # a block without parameters has an empty state
            return renamed, source
    known = "; ".join(f"{', '.join(names)} ({source})" for source, names in sources(cls).items())
    raise ValueError(
        f"state must hold what {cls.__name__} knows, names that begin with {known}; found {_listed(own)}."
    )


def sources(cls: type[Block]) -> dict[str, Mapping[str, str | None]]:
    """Who has which names for the parts of a block: the beginnings of theirs, and ours."""
    return {OWN: {part: part for part in cls.parts}, **cls.flavours}


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str | None]) -> dict[str, Tensor]:
    """The tensors under our names; empty when some name is not among those of this source."""
    renamed = {}
    for key, value in state.items():
        part = next((part for part in names if key == part or key.startswith(f"{part}.")), None)
        if part is None:
            return {}
        ours = names[part]
        if ours is not None:
            renamed[ours + key.removeprefix(part)] = value
    return renamed


def _load(block: Block, named: Mapping[str, Tensor], source: str) -> None:
    """Checks everything first: nothing is half loaded."""
    wanted: dict[str, Tensor] = block.state_dict()
    name = type(block).__name__
    foreign = source != OWN and not any(key.startswith("pool.") for key in named)
    missing = [key for key in wanted if key not in named and not (foreign and "pool." in key)]
    extra = [key for key in named if key not in wanted]
    if missing or extra:
        lacks = f"lacks {', '.join(missing)}" if missing else ""
        has = f"has {', '.join(extra)}, which the block has not" if extra else ""
        raise ValueError(
            f"state must fit the {name}, by our names; it {' and '.join(filter(None, (lacks, has)))}. Build the block "
            f"with other settings, or use {name}.from_state_dict."
        )
    shaped = {}
    for key, value in named.items():
        shape = wanted[key].shape
        ones = value.shape[len(shape) :]
        if value.shape[: len(shape)] != shape or any(size != 1 for size in ones):
            raise ValueError(
                f"{key} must have shape {tuple(shape)}; found {tuple(value.shape)}. Build the {name} for these sizes, "
                f"or use {name}.from_state_dict."
            )
        shaped[key] = value.reshape(shape)
    block.load_state_dict({key: shaped.get(key, value) for key, value in wanted.items()})


def _listed(state: Mapping[str, Tensor], most: int = 4) -> str:
    listed = list(state)
    return ", ".join(map(repr, listed[:most])) + (", ..." if len(listed) > most else "") or "nothing"
