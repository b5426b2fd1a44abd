"""What `polypool explain` reads: models, images, and the settings of sentence models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn


def load_model(text: str, weights: Path | None) -> tuple[nn.Module, Any]:
    """The model that `module:callable` makes, and its preprocessing or None."""
    from torch import nn

    from polypool.cli._imports import import_home

    module, name = import_home(text, "--model is written module:callable")
    make = getattr(module, name, None)
    if not callable(make):
        raise UserError(f"{module.__name__} has nothing to call that is named {name!r}.")
    try:
        made = make()
    except Exception as error:  # the callable is the user's, and may raise anything
        raise UserError(f"{text} failed: {type(error).__name__}: {error}") from error
    model, preprocess = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(model, nn.Module):
        raise UserError(f"{text} must give a torch.nn.Module; found {type(model).__name__}.")
    if weights is not None:
        _load(model, weights)
    return model, preprocess


def _load(model: nn.Module, weights: Path) -> None:
    try:
        from safetensors.torch import load_file

        model.load_state_dict(load_file(weights))
    except ModuleNotFoundError as error:
        raise UserError("--weights needs safetensors; install polypool[text].") from error
    except Exception as error:  # safetensors and torch have several of their own
        raise UserError(f"{weights} does not load into the model: {error}") from error


def load_pixels(file: Path, model: nn.Module, preprocess: Any, size: str | None) -> Tensor:
    """`(1, C, H, W)`: in [0, 1] with the channels of the first convolution, or what the preprocessing makes."""
    import torch

    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise UserError("images need pillow, which is not installed; install polypool[vision].") from error
    try:
        with Image.open(file) as opened:
            picture = opened.convert(_mode(model))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is no image that can be read: {error}") from error
    if size is not None:
        height, _, width = size.lower().partition("x")
        if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
            raise UserError(f"--size is written HxW, such as 224x224; found {size!r}.")
        picture = picture.resize((int(width), int(height)))
    if preprocess is not None:
        try:
            made = torch.as_tensor(preprocess(picture))
        except Exception as error:  # the user's
            raise UserError(f"the preprocessing failed: {type(error).__name__}: {error}") from error
        return made.unsqueeze(0) if made.dim() == 3 else made
    import numpy as np

    pixels = torch.from_numpy(np.array(picture, dtype=np.float32)) / 255
    return pixels.reshape(1, picture.height, picture.width, -1).movedim(-1, 1).contiguous()


def _mode(model: nn.Module) -> str:
    """Grey, colour, or colour with opacity."""
    from torch import nn

    first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
    return {1: "L", 4: "RGBA"}.get(3 if first is None else first.in_channels, "RGB")


def pool_of(folder: Path) -> str:
    """The pooling that a sentence-transformers folder asks for; mean where it says nothing."""
    settings = folder / "1_Pooling" / "config.json"
    named = setting(settings, "pooling_mode")
    flags = {
        "cls": "pooling_mode_cls_token",
        "mean": "pooling_mode_mean_tokens",
        "max": "pooling_mode_max_tokens",
        "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
        "weightedmean": "pooling_mode_weightedmean_tokens",
        "lasttoken": "pooling_mode_lasttoken",
    }
    chosen = (
        [named] if isinstance(named, str) else [n for n, flag in flags.items() if setting(settings, flag)]
    )
    return "+".join(chosen) or "mean"


def setting(file: Path, key: str) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError):
        return None
