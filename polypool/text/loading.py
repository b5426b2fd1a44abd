"""What `TextEncoder.load` was asked for, and what the folder says where it was asked for nothing."""

from __future__ import annotations

import torch

from polypool.registry import names
from polypool.text.config import MODES, PoolingConfig
from polypool.text.folder import ModelFolder
from polypool.text.sentence_pooling import SentencePooling


def require_pooling(folder: ModelFolder, pool: object) -> None:
    """Refuses to guess what nobody says.

    Raises:
        ValueError: No pooling is asked for, and the folder declares none.
    """
    if pool is None and folder.pooling is None:
        raise ValueError(
            f"{folder.root} is a plain transformers folder, which does not say how its tokens are pooled. Pass "
            f"pool=: {', '.join(repr(MODES[mode]) for mode in ('mean', 'cls', 'lasttoken'))} are the most common; "
            f"there are {', '.join(names('tokens'))}."
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
    if folder.pooling is None:
        return SentencePooling(width, pool)
    declared = PoolingConfig.read(folder.pooling, dimension=width)
    if pool is not None:
        return SentencePooling(width, pool, declared.include_prompt)
    return SentencePooling.load(str(folder.pooling))


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
