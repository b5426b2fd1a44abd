"""What `TextEncoder.load` was asked for, and what the folder says where it was asked for nothing."""

from __future__ import annotations

import logging
from typing import Any

import torch

from polypool.text.config import MODES, ModelFolderError, PoolingConfig
from polypool.text.folder import MODULES, ModelFolder
from polypool.text.layers import LayerMix
from polypool.text.sentence_pooling import SentencePooling

logger = logging.getLogger("polypool.text")


def require_pool(pool: object) -> None:
    """Refuses what is no pooling, before anything is looked for.

    Raises:
        TypeError: It is neither a name nor a `SentencePooling`.
    """
    if pool is not None and not isinstance(pool, str | SentencePooling):
        raise TypeError(f"pool must be a str, a SentencePooling or None; found {type(pool).__name__}.")


def require_pooling(folder: ModelFolder, pool: object) -> None:
    """Refuses to guess what nobody says.

    Raises:
        ValueError: No pooling is asked for, and the folder declares none.
    """
    if pool is None and folder.pooling is None:
        common = ("mean", "cls", "lasttoken")
        raise ValueError(
            f"{folder.root} is a plain transformers folder, which does not say how its tokens are pooled. Pass "
            f"pool=: {common[0]!r}, {common[1]!r} and {common[2]!r} are the most common; "
            f"{', '.join(mode for mode in MODES if mode not in common)} and every name of polypool.names('tokens') "
            "do as well. The model's card says which one it was trained with."
        )


def pooling_of(folder: ModelFolder, pool: str | SentencePooling | None, width: int) -> SentencePooling:
    """The pooling that was asked for, or the one that the folder declares, for states of `width` channels.

    Raises:
        ModelFolderError: What the folder declares is broken, or does not fit.
        ValueError: What was asked for is unknown, or does not fit.
    """
    if isinstance(pool, SentencePooling):
        if pool.embedding_dimension != width:
            raise ValueError(
                f"pool must be made for the {width} channels of the model; found {pool.embedding_dimension}."
            )
        return pool
    if pool is None and folder.pooling is not None:
        PoolingConfig.read(folder.pooling, dimension=width)
        return SentencePooling.load(str(folder.pooling))
    declared = None if folder.pooling is None else PoolingConfig.read(folder.pooling, dimension=width)
    made = SentencePooling(width, pool, True if declared is None else declared.include_prompt)
    if _random(made):
        logger.warning(
            "pool=%r has weights to learn, and they are random: train it before its vectors are used.", pool
        )
    return made


def _random(pooling: SentencePooling) -> bool:
    """Whether another one of the kind begins with other weights; some, such as the power of gem, begin alike."""
    own = pooling.state_dict()
    if not own:
        return False
    with torch.random.fork_rng(devices=[]):
        other = SentencePooling(pooling.embedding_dimension, pooling.config.pool).state_dict()
    return any(not torch.equal(tensor, other[name]) for name, tensor in own.items())


def mix_of(folder: ModelFolder, model: Any) -> LayerMix | None:
    """The mixture of layers that the folder declares, if any.

    Raises:
        ModelFolderError: It is broken, or does not fit the model.
    """
    if folder.mix is None:
        return None
    mix = LayerMix.load(str(folder.mix))
    try:
        require_mix(mix, model)
    except ValueError as error:
        raise ModelFolderError(f"{folder.mix} does not fit: {error}") from error
    if not getattr(model.config, "output_hidden_states", False):
        logger.warning(
            "layers are mixed here, as %s says; sentence-transformers would take the last one, because "
            "output_hidden_states is not true in %s.",
            folder.root / MODULES,
            folder.transformer / "config.json",
        )
    return mix


def require_mix(mix: object, model: Any) -> None:
    """Refuses a mixture of another model's layers.

    Raises:
        TypeError: It is no `LayerMix`.
        ValueError: The model has another number of layers or channels.
    """
    if not isinstance(mix, LayerMix):
        raise TypeError(f"mix must be a LayerMix or None; found {type(mix).__name__}.")
    for what, found, wanted in (
        ("layers", mix.num_hidden_layers, model.config.num_hidden_layers),
        ("channels", mix.embedding_dimension, model.config.hidden_size),
    ):
        if found != wanted:
            raise ValueError(f"mix must be made for the {wanted} {what} of the model; found {found}.")


def device_of(device: torch.device | str | None) -> torch.device:
    """A device; an accelerator where there is one, when None."""
    if device is not None:
        return torch.device(device)
    found = torch.accelerator.current_accelerator(check_available=True)
    return torch.device("cpu") if found is None else found


def dtype_of(dtype: torch.dtype | str | None) -> torch.dtype:
    """A dtype by name; float32 when None.

    Raises:
        ValueError: It is another one than float32, bfloat16 and float16.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    found = known.get(dtype, dtype) if isinstance(dtype, str) else dtype
    if found is None:
        return torch.float32
    if not isinstance(found, torch.dtype) or found not in known.values():
        raise ValueError(f"dtype must be one of {', '.join(known)}; found {dtype!r}.")
    return found
