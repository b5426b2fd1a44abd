"""What comes after the pooling, in sentence-transformers' folder format: `Dense`, `Normalize` and their like."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional as F

from polypool.text.config import ModelFolderError, read_json
from polypool.text.files import read_weights, write_json, write_weights

#: The activations that a folder may name. Nothing else is looked up, and nothing is imported by its name.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "identity": nn.Identity,
    "leakyrelu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
}
#: The dotted names that sentence-transformers writes for them.
DOTTED = {
    dotted: name
    for name, cls in ACTIVATIONS.items()
    for dotted in (f"{cls.__module__}.{cls.__qualname__}", f"torch.nn.{cls.__qualname__}")
}
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


class Dense(AfterPooling):
    """A linear layer with an activation: `f(W x + b)`.

    Whitening, the removal of common components and truncation are such layers too, with `f` the identity.

    Args:
        weight: `(out, in)`, W.
        bias: `(out,)`, b; None leaves it out.
        activation: The name of f: one of `"identity"`, `"tanh"`, `"relu"`, `"gelu"`, `"sigmoid"`, `"silu"`, `"elu"`,
            `"leakyrelu"`, `"softplus"`.
        residual: What is added after the activation: True adds x itself, a tensor `(out, in)` adds its product with x.

    Raises:
        TypeError: `weight` or `bias` is no floating tensor.
        ValueError: A shape does not fit, or the activation is unknown.

    Example:
        >>> import torch
        >>> from polypool.text import Dense
        >>> halves = Dense(torch.eye(3)[:2] / 2, bias=torch.tensor([0.0, 1.0]))
        >>> halves(torch.tensor([[2.0, 4.0, 6.0]]))
        tensor([[1., 3.]], grad_fn=<AddmmBackward0>)
    """

    theirs = "sentence_transformers.models.Dense"

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor | None = None,
        activation: str = "identity",
        *,
        residual: bool | Tensor = False,
    ) -> None:
        super().__init__()
        _floating(weight, "weight", (None, None))
        out_features, in_features = weight.shape
        if activation not in ACTIVATIONS:
            raise ValueError(
                f"activation must be one of {', '.join(sorted(ACTIVATIONS))}; found {activation!r}."
            )
        if bias is not None:
            _floating(bias, "bias", (out_features,))
        if isinstance(residual, Tensor):
            _floating(residual, "residual", (out_features, in_features))
        elif residual and in_features != out_features:
            raise ValueError(
                f"residual must be a tensor ({out_features}, {in_features}) where the sizes differ; found True."
            )
        # Named as sentence-transformers names them, so that its weights and ours are the same file.
        self.linear = _linear(weight, bias)
        self.residual = _linear(residual, None) if isinstance(residual, Tensor) else None
        self.adds_input = residual is True
        self.activation = activation
        self._activate = ACTIVATIONS[activation]()

    @property
    def weight(self) -> Tensor:
        """W, `(out, in)`."""
        return self.linear.weight

    @property
    def bias(self) -> Tensor | None:
        """b, `(out,)`, or None."""
        return self.linear.bias

    @property
    def in_features(self) -> int:
        """The size of what it takes."""
        return self.linear.in_features

    @property
    def out_features(self) -> int:
        """The size of what it makes."""
        return self.linear.out_features

    def forward(self, vectors: Tensor) -> Tensor:
        """`(..., in)` to `(..., out)`."""
        out: Tensor = self._activate(self.linear(vectors))
        if self.residual is not None:
            return out + self.residual(vectors)
        return out + vectors if self.adds_input else out

    def out_channels(self, in_channels: int) -> int:
        if in_channels != self.in_features:
            raise ValueError(
                f"this Dense takes vectors of {self.in_features} numbers; what comes before it makes {in_channels}."
            )
        return self.out_features

    def extra_repr(self) -> str:
        return f"activation={self.activation!r}" + (", residual" if self._has_residual else "")

    @property
    def _has_residual(self) -> bool:
        return self.adds_input or self.residual is not None

    def save(self, folder: str | Path) -> None:
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        cls = ACTIVATIONS[self.activation]
        config: dict[str, Any] = {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias is not None,
            "activation_function": f"{cls.__module__}.{cls.__qualname__}",
        }
        if self._has_residual:
            config["use_residual"] = True
        write_json(place / "config.json", config)
        tensors = {"linear.weight": self.weight}
        if self.bias is not None:
            tensors["linear.bias"] = self.bias
        if self.residual is not None:
            tensors["residual.weight"] = self.residual.weight
        write_weights(place, tensors)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        place = Path(folder)
        path = place / "config.json"
        config = read_json(path)
        known = ("in_features", "out_features", "bias", "activation_function", "use_residual")
        _only_embeddings(config, path, known)
        sizes = [_positive(config, key, path) for key in ("out_features", "in_features")]
        shapes: dict[str, tuple[int, ...]] = {"linear.weight": (sizes[0], sizes[1])}
        if config.get("bias", True):
            shapes["linear.bias"] = (sizes[0],)
        skips = bool(config.get("use_residual", False))
        if skips and sizes[0] != sizes[1]:
            shapes["residual.weight"] = (sizes[0], sizes[1])
        # sentence-transformers' own default, where the file says nothing.
        named = config.get("activation_function", "torch.nn.modules.activation.Tanh")
        if named not in DOTTED:
            raise ModelFolderError(
                f"activation_function in {path} must be one of {', '.join(sorted(_short(DOTTED)))}; found {named!r}. "
                "Nothing is imported by a name that a file gives."
            )
        tensors = read_weights(place, shapes)
        return cls(
            tensors["linear.weight"],
            tensors.get("linear.bias"),
            DOTTED[named],
            residual=tensors.get("residual.weight", skips),
        )


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
        _only_embeddings(config, path, ("dimension",))
        size = _positive(config, "dimension", path)
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
            _only_embeddings(read_json(path), path, ())
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
        _only_embeddings(config, path, ("dropout",))
        try:
            return cls(**{key: value for key, value in config.items() if key == "dropout"})
        except (TypeError, ValueError) as error:
            raise ModelFolderError(f"{path}: {error}") from error


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    out_features, in_features = weight.shape
    made = nn.utils.skip_init(nn.Linear, in_features, out_features, bias=bias is not None)
    made.weight = nn.Parameter(weight.detach().clone())
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    return made


def _floating(tensor: object, what: str, shape: tuple[int | None, ...]) -> None:
    if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
        found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
        raise TypeError(f"{what} must be a floating tensor; found {found}.")
    fits = tensor.dim() == len(shape) and all(
        size in (None, found) for size, found in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        names = ("out", "in")[: len(shape)] if None in shape else shape
        raise ValueError(
            f"{what} must have shape ({', '.join(map(str, names))}); found {tuple(tensor.shape)}."
        )


def _positive(config: dict[str, Any], key: str, path: Path) -> int:
    found = config.get(key)
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise ModelFolderError(f"{key} in {path} must be an integer of at least 1; found {found!r}.")
    return found


def _only_embeddings(config: dict[str, Any], path: Path, known: tuple[str, ...]) -> None:
    """Refuses settings that would be lost, and modules that do not work on the pooled vector."""
    for key in ("module_input_name", "module_output_name"):
        found = config.get(key)
        if found not in (None, EMBEDDING):
            raise ModelFolderError(f"{key} in {path} must be {EMBEDDING!r}; found {found!r}.")
    unknown = sorted(set(config) - {*known, "module_input_name", "module_output_name"})
    if unknown:
        raise ModelFolderError(f"{path} has settings that are not known here: {', '.join(unknown)}.")


def _short(dotted: dict[str, str]) -> list[str]:
    return [name for name in dotted if not name.startswith("torch.nn.modules.")]
