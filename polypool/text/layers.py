"""Mixing the hidden states of several layers, as a running sum: nothing is stacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from polypool.text import files
from polypool.text.adoption import adopt_module
from polypool.text.config import FILE, ModelFolderError, read_json
from polypool.text.hub import module_folder


def mix_layers(hidden_states: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The weighted sum of hidden states, `sum_l w_l h_l`.

    Memory: the result alone, whatever the number of layers. The backward pass takes one layer more than the encoder's
    own: the gradient of a layer is made when the encoder gets to it. Half precision is summed in float32.

    Args:
        hidden_states: Tensors of one shape, one for each layer.
        weights: `(len(hidden_states),)` floating.

    Returns:
        The shape and dtype of one layer.

    Raises:
        TypeError: There is something else than tensors.
        ValueError: There are no layers, another number of weights, or shapes differ.

    Example:
        >>> import torch
        >>> from polypool.text import mix_layers
        >>> mix_layers([torch.tensor([1.0, 2.0]), torch.tensor([3.0, 4.0])], torch.tensor([0.5, 0.5]))
        tensor([2., 3.])
    """
    return _sum(hidden_states, weights).to(hidden_states[0].dtype)


def _sum(hidden_states: Sequence[Tensor], weights: Tensor) -> Tensor:
    """The same, in float32 or wider."""
    layers = _checked(hidden_states, weights)
    first = layers[0]
    wide = torch.promote_types(first.dtype, torch.float32)
    coefficients = weights.to(device=first.device, dtype=wide).unbind(0)
    total = first.to(wide) * coefficients[0]
    _after(total, first)
    for layer, coefficient in zip(layers[1:], coefficients[1:], strict=True):
        total = _add(total, layer.to(wide), coefficient)
        _after(total, layer)
    return total


class LayerMix(nn.Module):
    """Token embeddings as a weighted mean of several layers: `sum_l w_l h_l / sum_l w_l`.

    The mathematics, the files and the arguments of `sentence_transformers`' `WeightedLayerPooling`, with the memory of
    one layer instead of twice their number. It goes between the encoder, loaded with `output_hidden_states=True`, and
    the pooling: features in (`all_layer_embeddings`), features out (`token_embeddings`).

    Args:
        embedding_dimension: The channels of the hidden states.
        num_hidden_layers: The layers of the encoder; there is one hidden state more, the embeddings, which come first.
        layer_start: The first hidden state that is mixed, where `layers` is None.
        layer_weights: What the weights start from, or are; all 1 when None.
        layers: Which hidden states are mixed, negative ones counted from the end: `range(-4, 0)` are the last four,
            `(0, -1)` the embeddings and the last. None: all from `layer_start` on.
        learn: Whether the weights are parameters.
        word_embedding_dimension: The older name of `embedding_dimension`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: There is no such layer, or another number of weights.

    Example:
        >>> import torch
        >>> from polypool.text import LayerMix
        >>> mix = LayerMix(2, num_hidden_layers=2, layers=(0, -1), learn=False)
        >>> states = tuple(torch.full((1, 3, 2), float(layer)) for layer in range(3))
        >>> mix({"all_layer_embeddings": states})["token_embeddings"][0, 0]
        tensor([1., 1.])
    """

    config_keys: ClassVar[list[str]] = ["embedding_dimension", "layer_start", "num_hidden_layers"]
    config_file_name: ClassVar[str] = FILE
    save_in_root: ClassVar[bool] = False
    forward_kwargs: ClassVar[set[str]] = set()

    def __init__(
        self,
        embedding_dimension: int | None = None,
        num_hidden_layers: int = 12,
        layer_start: int = 4,
        layer_weights: Tensor | Sequence[float] | None = None,
        *,
        layers: Sequence[int] | None = None,
        learn: bool = True,
        word_embedding_dimension: int | None = None,
    ) -> None:
        super().__init__()
        dimension = word_embedding_dimension if embedding_dimension is None else embedding_dimension
        if not isinstance(dimension, int) or dimension < 1:
            raise TypeError(f"embedding_dimension must be an int of 1 or more; found {dimension!r}.")
        self.embedding_dimension = dimension
        self.num_hidden_layers, self.layer_start, self.learn = num_hidden_layers, layer_start, learn
        self.layers = None if layers is None else list(layers)
        self._chosen = _chosen(self.layers, layer_start, num_hidden_layers)
        start = torch.ones(len(self._chosen)) if layer_weights is None else _start(layer_weights)
        if start.shape != (len(self._chosen),):
            raise ValueError(
                f"layer_weights must hold one number for each of the {len(self._chosen)} layers; found "
                f"{tuple(start.shape)}."
            )
        if learn:
            self.layer_weights: Tensor = nn.Parameter(start)
        else:
            self.register_buffer("layer_weights", start)
        adopt_module(type(self))

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Puts the mix in place of `features["token_embeddings"]`.

        Raises:
            ValueError: There is no `all_layer_embeddings`, or another number of them.
        """
        states = features.get("all_layer_embeddings")
        if states is None:
            raise ValueError(
                "features must hold all_layer_embeddings; found none. Load the encoder with "
                'config_kwargs={"output_hidden_states": True}.'
            )
        features["token_embeddings"] = self.wide(states).to(states[self._chosen[0]].dtype)
        return features

    def wide(self, states: Sequence[Tensor]) -> Tensor:
        """The mix `(B, T, C)` of all hidden states of the encoder, float32 or wider: half precision is not rounded.

        Raises:
            ValueError: There is another number of them.
        """
        if len(states) != self.num_hidden_layers + 1:
            raise ValueError(
                f"all_layer_embeddings must be the embeddings and {self.num_hidden_layers} layers; found {len(states)} "
                f"in all. Make LayerMix with num_hidden_layers={len(states) - 1}."
            )
        weights = self.layer_weights.to(torch.promote_types(self.layer_weights.dtype, torch.float32))
        return _sum([states[i] for i in self._chosen], weights / weights.sum())

    def get_embedding_dimension(self) -> int:
        """The channels of the token embeddings."""
        return self.embedding_dimension

    def get_word_embedding_dimension(self) -> int:
        """The older name of `get_embedding_dimension`."""
        return self.embedding_dimension

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments that make the same module again, those of `WeightedLayerPooling` where they suffice."""
        found = {key: getattr(self, key) for key in self.config_keys}
        if self.layers is not None:
            found["layers"] = self.layers
        return found if self.learn else found | {"learn": False}

    def on_model_ready(self, model: object) -> None:
        """Called by sentence-transformers when a model is complete; nothing here depends on it."""

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Writes `config.json` and `model.safetensors` into an existing folder, never a pickle."""
        files.write_json(Path(output_path, FILE), self.get_config_dict())
        files.write_weights(Path(output_path), self.state_dict())

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **kwargs: Any) -> Self:
        """Reads what `save` wrote, or what `WeightedLayerPooling` did.

        Args:
            model_name_or_path: A folder, or the name of a model on the Hugging Face hub.
            subfolder: Where the module lies in it.
            **kwargs: `token`, `cache_folder`, `revision`, `local_files_only` for the hub, and what other modules take.

        Raises:
            ModelFolderError: A file is missing or says what cannot be.
        """
        folder = module_folder(model_name_or_path, subfolder, **kwargs)
        try:
            mix = cls(**read_json(folder / FILE))
        except (TypeError, ValueError) as error:
            if isinstance(error, ModelFolderError):
                raise
            raise ModelFolderError(f"{folder / FILE}: {error}") from error
        mix.load_state_dict(files.read_weights(folder, {"layer_weights": tuple(mix.layer_weights.shape)}))
        return mix

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A model of sentence-transformers moves its modules when it is made: by then theirs is imported.
        adopt_module(type(self))
        moved: Self = super()._apply(fn, recurse)
        return moved

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.get_config_dict().items())


class _Step(torch.autograd.Function):
    """`total + coefficient * layer` in the memory of the total; backward makes one tensor at a time."""

    @staticmethod
    def forward(ctx: Any, total: Tensor, layer: Tensor, coefficient: Tensor) -> Tensor:
        ctx.mark_dirty(total)
        ctx.save_for_backward(layer, coefficient)
        return total.addcmul_(layer, coefficient)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        layer, coefficient = ctx.saved_tensors
        of_coefficient = (gradient * layer).sum() if ctx.needs_input_grad[2] else None
        of_layer = gradient * coefficient if ctx.needs_input_grad[1] else None
        return gradient, of_layer, of_coefficient


def _add(total: Tensor, layer: Tensor, coefficient: Tensor) -> Tensor:
    if (
        torch.compiler.is_compiling()
        or torch._C._functorch.peek_interpreter_stack() is not None
        or forward_ad._current_level >= 0
    ):
        return torch.addcmul(
            total, layer, coefficient
        )  # a compiler plans memory, transforms have rules for it
    added: Tensor = _Step.apply(total, layer, coefficient)
    return added


def _after(total: Tensor, layer: Tensor) -> None:
    """Tells autograd not to hurry with a layer's gradient.

    Of what is ready it runs first what was recorded last. The sum is recorded after all layers of the encoder, so it
    would make the gradients of all of them before the encoder takes any. Numbered right after the layer that it adds, a
    step waits until the layers above are done. This orders what is ready, nothing else: results are the same.
    """
    if torch.compiler.is_compiling() or total.grad_fn is None or layer.grad_fn is None:
        return
    number = getattr(total.grad_fn, "_set_sequence_nr", None)
    if number is not None:
        number(layer.grad_fn._sequence_nr() + 1)


def _checked(hidden_states: Sequence[Tensor], weights: Tensor) -> list[Tensor]:
    layers = list(hidden_states)
    if not layers or not all(isinstance(layer, Tensor) for layer in [*layers, weights]):
        raise TypeError(
            f"hidden_states must be at least one tensor, and weights a tensor; found {len(layers)} hidden states."
        )
    if weights.shape != (len(layers),):
        raise ValueError(
            f"weights must have shape ({len(layers)},), one for each layer; found {tuple(weights.shape)}."
        )
    for layer in layers[1:]:
        if layer.shape != layers[0].shape:
            raise ValueError(
                f"hidden_states must have one shape; found {tuple(layers[0].shape)} and {tuple(layer.shape)}."
            )
    return layers


def _chosen(layers: Sequence[int] | None, start: int, hidden: int) -> tuple[int, ...]:
    """The places of the hidden states that are mixed, from 0."""
    wanted: list[object] = list(range(start, hidden + 1) if layers is None else layers)
    wrong = [i for i in wanted if not isinstance(i, int) or not -hidden - 1 <= i <= hidden]
    places = [i % (hidden + 1) for i in wanted if isinstance(i, int)]
    if wrong or not wanted or start < 0:
        raise ValueError(
            f"layers must name hidden states from 0 to {hidden}, the embeddings and {hidden} layers; found "
            f"{layers if layers is not None else f'layer_start={start}'}."
        )
    return tuple(places)


def _start(weights: Tensor | Sequence[float]) -> Tensor:
    given = weights.detach() if isinstance(weights, Tensor) else torch.tensor(list(weights))
    return given.to(torch.float32).clone()
