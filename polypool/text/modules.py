"""What comes after the pooling, in sentence-transformers' folder format: `Normalize` and its like; see also `dense`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F

from polypool.text.config import ModelFolderError, read_json
from polypool.text.files import read_weights, write_json, write_weights

EMBEDDING = "sentence_embedding"


class AfterPooling(nn.Module):
    """A map of pooled vectors, `(..., d)` to `(..., e)`, that sentence-transformers knows as well."""

    #: The class of sentence-transformers that reads what `save` writes.
    theirs = ""

    def out_channels(self, in_channels: int) -> int:
        """The size of what it makes of vectors of a size.

        Raises:
            ValueError: It was made for vectors of another size.
        """
        return in_channels

    def save(self, folder: str | Path) -> None:
        """Writes its folder: `config.json` and, where it has weights, `model.safetensors`."""
        raise NotImplementedError

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads its folder.

        Raises:
            ModelFolderError: Something is missing, unknown, or does not fit.
        """
        raise NotImplementedError


class LayerNorm(AfterPooling):
    """Layer normalisation of the pooled vectors.

    Args:
        dimension: The size of the vectors.

    Example:
        >>> import torch
        >>> from polypool.text import LayerNorm
        >>> LayerNorm(2)(torch.tensor([[1.0, 3.0]])).round(decimals=3).tolist()
        [[-1.0, 1.0]]
    """

    theirs = "sentence_transformers.models.LayerNorm"

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dimension)

    @property
    def dimension(self) -> int:
        """The size of the vectors."""
        return self.norm.normalized_shape[0]

    def forward(self, vectors: Tensor) -> Tensor:
        """`(..., d)` to the same shape."""
        normed: Tensor = self.norm(vectors)
        return normed

    def out_channels(self, in_channels: int) -> int:
        if in_channels != self.dimension:
            raise ValueError(
                f"this LayerNorm takes vectors of {self.dimension} numbers; what comes before it makes {in_channels}."
            )
        return in_channels

    def save(self, folder: str | Path) -> None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "config.json", {"dimension": self.dimension})
        write_weights(place, self.state_dict())

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        place = Path(folder)
        path = place / "config.json"
        config = read_json(path)
        only_embeddings(config, path, ("dimension",))
        size = positive(config, "dimension", path)
        made = cls(size)
        made.load_state_dict(read_weights(place, {"norm.weight": (size,), "norm.bias": (size,)}))
        return made


class Normalize(AfterPooling):
    """Vectors of length 1: `x / max(|x|, 1e-12)`. Zeros stay zeros.

    Example:
        >>> import torch
        >>> from polypool.text import Normalize
        >>> Normalize()(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """

    theirs = "sentence_transformers.models.Normalize"

    def forward(self, vectors: Tensor) -> Tensor:
        """`(..., d)` to the same shape."""
        return F.normalize(vectors, dim=-1)

    def save(self, folder: str | Path) -> None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        # Older releases read no file here; newer ones take these for granted.
        write_json(place / "config.json", {"module_input_name": EMBEDDING, "module_output_name": EMBEDDING})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        path = Path(folder) / "config.json"
        # The folders of older releases are empty, and a copy of a model may have lost an empty folder.
        if path.is_file():
            only_embeddings(read_json(path), path, ())
        return cls()


class Dropout(AfterPooling):
    """Zeros in place of numbers drawn at random, while it trains; `encode` and evaluation leave vectors as they are.

    Args:
        dropout: The share of the numbers, from 0 to 1.

    Raises:
        TypeError: It is no number.
        ValueError: It is out of range.

    Example:
        >>> import torch
        >>> from polypool.text import Dropout
        >>> Dropout(0.5).eval()(torch.tensor([[3.0, 4.0]]))
        tensor([[3., 4.]])
    """

    theirs = "sentence_transformers.models.Dropout"

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        message = f"dropout must be a number from 0 to 1; found {dropout!r}."
        if isinstance(dropout, bool) or not isinstance(dropout, int | float):
            raise TypeError(message)
        if not 0 <= dropout <= 1:
            raise ValueError(message)
        self.dropout = float(dropout)

    def forward(self, vectors: Tensor) -> Tensor:
        """`(..., d)` to the same shape."""
        return F.dropout(vectors, self.dropout, self.training)

    def extra_repr(self) -> str:
        return str(self.dropout)

    def save(self, folder: str | Path) -> None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        write_json(place / "config.json", {"dropout": self.dropout})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        path = Path(folder) / "config.json"
        config = read_json(path)
        only_embeddings(config, path, ("dropout",))
        try:
            return cls(**{key: value for key, value in config.items() if key == "dropout"})
        except (TypeError, ValueError) as error:
            raise ModelFolderError(f"{path}: {error}") from error


def positive(config: dict[str, Any], key: str, path: Path) -> int:
    """A size that a `config.json` gives."""
    found = config.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise ModelFolderError(f"{key} in {path} must be an integer of at least 1; found {found!r}.")
    return found


def only_embeddings(config: dict[str, Any], path: Path, known: tuple[str, ...]) -> None:
    """Refuses settings that would be lost, and modules that do not work on the pooled vector."""
    for key in ("module_input_name", "module_output_name"):
        found = config.get(key)
        if found not in (None, EMBEDDING):
            raise ModelFolderError(f"{key} in {path} must be {EMBEDDING!r}; found {found!r}.")
    unknown = sorted(set(config) - {*known, "module_input_name", "module_output_name"})
    if unknown:
        raise ModelFolderError(f"{path} has settings that are not known here: {', '.join(unknown)}.")
