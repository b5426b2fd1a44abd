"""A linear layer with an activation after the pooling, in sentence-transformers' folder format."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from polypool.text.config import ModelFolderError, read_json
from polypool.text.files import read_weights, write_json, write_weights
from polypool.text.modules import AfterPooling, only_embeddings, positive

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
        only_embeddings(config, path, known)
        sizes = [positive(config, key, path) for key in ("out_features", "in_features")]
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


def _short(dotted: dict[str, str]) -> list[str]:
    return [name for name in dotted if not name.startswith("torch.nn.modules.")]
