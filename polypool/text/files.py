"""The two kinds of file that a model folder may hold: JSON and safetensors. Pickles are never opened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polypool._errors import first_line
from polypool.text.config import ModelFolderError

WEIGHTS = "model.safetensors"
#: What other libraries also write weights to. A pickle runs the code that it holds when it is opened.
PICKLES = ("pytorch_model.bin", "pytorch_model.bin.index.json", "model.pt", "model.bin")


def read_list(path: Path) -> list[Any]:
    """What a JSON file holds, which must be a list.

    Raises:
        ModelFolderError: The file is no JSON, or holds something else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} cannot be read as JSON: {first_line(error)}.") from error
    if not isinstance(found, list):
        raise ModelFolderError(f"{path} must hold a list of modules; found a JSON {type(found).__name__}.")
    return found


def write_json(path: Path, content: object) -> None:
    """Writes JSON that people can read."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_weights(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """The tensors of `model.safetensors`, as float32 on the CPU: those that are expected and no others.

    Args:
        folder: Where the file lies.
        shapes: The name and the shape of each tensor.

    Raises:
        ModelFolderError: There is no such file, or it does not hold these tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    require_weights(folder)
    try:
        found = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{folder / WEIGHTS} cannot be read: {first_line(error)}.") from error
    shown = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if shown != dict(shapes):
        raise ModelFolderError(f"{folder / WEIGHTS} must hold {_listed(shapes)}; found {_listed(shown)}.")
    return {name: tensor.to(torch.float32) for name, tensor in found.items()}


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes `model.safetensors`."""
    from safetensors.torch import save_file

    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})


def require_weights(folder: Path) -> None:
    """Refuses a folder whose weights are not in safetensors.

    Raises:
        ModelFolderError: There is no `model.safetensors`, in one file or in several with an index.
    """
    if (folder / WEIGHTS).is_file() or (folder / f"{WEIGHTS}.index.json").is_file():
        return
    pickles = [name for name in PICKLES if (folder / name).is_file()]
    if pickles:
        raise ModelFolderError(
            f"{folder} has its weights in {pickles[0]}, a pickle, which can run any code when it is opened; "
            f"{WEIGHTS} is required. Convert it where you trust it: model.save_pretrained(folder)."
        )
    raise ModelFolderError(f"{folder} must hold its weights in {WEIGHTS}; there is none.")


def _listed(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())) or "nothing"
