"""A pooling as a module of sentence-transformers, in place of their own `Pooling`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from polypool.pooling import Pooling
from polypool.poolings import MeanPool, SumPool
from polypool.poolings.concat import Concat
from polypool.registry import build
from polypool.text import files
from polypool.text.adoption import adopt_pooling
from polypool.text.config import BOOLEANS, FILE, MODES, ModelFolderError, PoolingConfig
from polypool.text.hub import module_folder
from polypool.text.sequences import Sequences

_MEAN, _SUM = MeanPool(), SumPool()


class SentencePooling(nn.Module):
    """Token states to a sentence vector: any pooling, in place of `sentence_transformers`' `Pooling`.

    Features in, features out: `token_embeddings` with `attention_mask`, or flattened `(1, N, C)` with `cu_seq_lens_q`,
    give `sentence_embedding`. The results of their six modes are theirs; but padding is never read, a row without
    tokens is 0, and a mask of another width is an error. It compiles without graph breaks and exports, `include_prompt`
    or not. A plain `nn.Module`: sentence-transformers need not be installed.

    Args:
        embedding_dimension: The channels of the token states.
        pooling_mode: One of their modes (`"cls"`, `"max"`, `"mean"`, `"mean_sqrt_len_tokens"`, `"weightedmean"`,
            `"lasttoken"`), any name of `polypool.names()`, or several: `("cls", "mean")`, `"mean+max"`.
        include_prompt: Whether the tokens of a prompt, the first `features["prompt_length"]`, are pooled too.
        settings: Those of a single operator, such as `{"p": 4.0}` for `"gem"`.
        word_embedding_dimension: The older name of `embedding_dimension`.
        booleans: The older form of `pooling_mode`: `pooling_mode_mean_tokens=True` and its like.

    Attributes:
        pool: The pooling itself.

    Raises:
        TypeError: An argument has a wrong type, or the operator has no such setting.
        ValueError: The mode is unknown, or both forms are given and contradict each other.

    Example:
        >>> import torch
        >>> from polypool.text import SentencePooling
        >>> pooling = SentencePooling(2, "mean+max")
        >>> states = torch.tensor([[[1.0, 2.0], [3.0, 0.0], [9.0, 9.0]]])
        >>> features = {"token_embeddings": states, "attention_mask": torch.tensor([[1, 1, 0]])}
        >>> pooling(features)["sentence_embedding"]
        tensor([[2., 1., 3., 2.]])
    """

    POOLING_MODES: ClassVar[tuple[str, ...]] = tuple(MODES)
    config_keys: ClassVar[list[str]] = ["embedding_dimension", "pooling_mode", "include_prompt"]
    config_file_name: ClassVar[str] = FILE
    save_in_root: ClassVar[bool] = False
    forward_kwargs: ClassVar[set[str]] = set()

    def __init__(
        self,
        embedding_dimension: int | None = None,
        pooling_mode: str | Iterable[str] | None = None,
        include_prompt: bool = True,
        *,
        settings: dict[str, Any] | None = None,
        word_embedding_dimension: int | None = None,
        **booleans: bool,
    ) -> None:
        super().__init__()
        config = PoolingConfig(
            _either(embedding_dimension, word_embedding_dimension),
            _spec(pooling_mode, booleans),
            settings or {},
            include_prompt,
        )
        self.embedding_dimension = config.dimension
        self.include_prompt = config.include_prompt
        self._names = tuple(config.pool.split("+"))
        self._settings = config.settings
        self.pool = build(config.pool, channels=config.dimension, **config.settings)
        self.pooling_output_dimension = self.pool.out_channels(config.dimension)
        adopt_pooling(type(self))

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds `sentence_embedding`, `(B, pooling_output_dimension)`, to the features.

        Args:
            features: `token_embeddings` with `attention_mask` (all tokens are real without), or with `cu_seq_lens_q`;
                `prompt_length` where the prompt is left out; `token_weights_sum` and `cls_token_embeddings` where an
                earlier module gives them.
            **kwargs: What other modules take; nothing here does.

        Raises:
            TypeError: A tensor is missing or has a dtype that does not fit.
            ValueError: A shape does not fit: another number of channels, a mask of another width.
        """
        skip = None if self.include_prompt else features.get("prompt_length")
        sequences = Sequences.of(features, skip, positions="position_weighted" in self._names)
        found = sequences.layout.channels
        if found != self.embedding_dimension:
            raise ValueError(
                f"token_embeddings must have {self.embedding_dimension} channels, as SentencePooling was made for; "
                f"found {found}. Make it with embedding_dimension={found}."
            )
        special = self._special(features, sequences)
        if special:
            parts = zip(self._names, self._parts, strict=True)
            pooled = [special[name]() if name in special else part(sequences.layout) for name, part in parts]
            features["sentence_embedding"] = torch.cat(pooled, dim=-1)
        else:
            features["sentence_embedding"] = self.pool(sequences.layout)
        return features

    def _special(self, features: dict[str, Any], sequences: Sequences) -> dict[str, Callable[[], Tensor]]:
        """What a part of the pooling is where the features say more than where the tokens are."""
        found: dict[str, Callable[[], Tensor]] = {}
        given = features.get("cls_token_embeddings")
        if given is not None:
            found["first"] = lambda: given
        positioned = sequences.positioned
        if positioned is not None:
            # Without its prompt a token keeps the place that it has with it, as in sentence-transformers.
            found["position_weighted"] = lambda: _MEAN(positioned)
        mass = features.get("token_weights_sum")
        if mass is not None:
            # The states come multiplied by weights, whose sum takes the place of the number of tokens.
            found["mean"] = lambda: _over(_SUM(sequences.layout), mass)
            found["mean_sqrt_len"] = lambda: _over(_SUM(sequences.layout), mass, 0.5)
        return {name: result for name, result in found.items() if name in self._names}

    @property
    def _parts(self) -> list[Pooling]:
        return self.pool.parts if isinstance(self.pool, Concat) else [self.pool]

    @property
    def config(self) -> PoolingConfig:
        """What `save` writes about it."""
        return PoolingConfig(
            self.embedding_dimension, "+".join(self._names), self._settings, self.include_prompt
        )

    @property
    def pooling_mode(self) -> str | tuple[str, ...]:
        """The modes by the names of sentence-transformers, and by ours where it has none; one is a plain str."""
        theirs = {ours: name for name, ours in MODES.items()}
        modes = tuple(theirs.get(name, name) for name in self._names)
        return modes[0] if len(modes) == 1 else modes

    @property
    def word_embedding_dimension(self) -> int:
        """The older name of `embedding_dimension`."""
        return self.embedding_dimension

    def get_embedding_dimension(self) -> int:
        """The channels of the sentence vector."""
        return self.pooling_output_dimension

    def get_sentence_embedding_dimension(self) -> int:
        """The older name of `get_embedding_dimension`."""
        return self.pooling_output_dimension

    def get_config_dict(self) -> dict[str, Any]:
        """The arguments that make the same module again; those of `Pooling` where it can do what this one does."""
        found = {key: getattr(self, key) for key in self.config_keys}
        return found | ({"settings": self._settings} if self._settings else {})

    def on_model_ready(self, model: object) -> None:
        """Called by sentence-transformers when a model is complete; nothing here depends on it."""

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Writes `config.json`, and `model.safetensors` where the pooling has parameters.

        Args:
            output_path: An existing folder.
            *args: Taken as sentence-transformers passes them.
            safe_serialization: Weights are safetensors whatever it says: a pickle runs code when it is opened.
            **kwargs: As `*args`.
        """
        self.config.write(Path(output_path))
        tensors = self.state_dict()
        if tensors:
            files.write_weights(Path(output_path), tensors)

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Reads what `save` wrote, or what sentence-transformers did, in either of its forms.

        Args:
            model_name_or_path: A folder, or the name of a model on the Hugging Face hub.
            subfolder: Where the pooling lies in it, such as `"1_Pooling"`.
            token: For a private model on the hub.
            cache_folder: Where models of the hub are kept.
            revision: Of a model on the hub.
            local_files_only: Whether not to ask the hub.
            init_defaults: Arguments for what the file does not say: `include_prompt`.
            **kwargs: What other modules take.

        Raises:
            ModelFolderError: A file is missing, or says what cannot be.
        """
        folder = module_folder(model_name_or_path, subfolder, token, cache_folder, revision, local_files_only)
        config = PoolingConfig.read(folder, defaults=init_defaults)
        try:
            pooling = cls(config.dimension, config.pool, config.include_prompt, settings=config.settings)
        except (TypeError, ValueError) as error:  # of a setting, which the operator checks itself
            raise ModelFolderError(f"{folder / FILE}: {error}") from error
        wanted = {name: tuple(tensor.shape) for name, tensor in pooling.state_dict().items()}
        if wanted:
            pooling.load_state_dict(files.read_weights(folder, wanted))
        return pooling

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A model of sentence-transformers moves its modules when it is made: by then theirs is imported.
        adopt_pooling(type(self))
        moved: Self = super()._apply(fn, recurse)
        return moved

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.get_config_dict().items())


def _declares(mode: str) -> property:
    return property(
        lambda pooling: MODES[mode] in pooling._names, doc=f"Whether {mode!r} is among the modes."
    )


# The older form of `pooling_mode`, which code in the wild still asks for.
for _key, _mode in BOOLEANS.items():
    setattr(SentencePooling, _key, _declares(_mode))


def _over(total: Tensor, mass: Tensor, power: float = 1.0) -> Tensor:
    """`total / mass^power`, in the dtype of the total; 0 where there is no mass."""
    wide = mass.unsqueeze(-1).to(torch.promote_types(total.dtype, torch.float32))
    return (total / wide.clamp(min=1e-9) ** power).to(total.dtype)


def _either(dimension: int | None, older: int | None) -> int:
    if dimension is None and older is None:
        raise TypeError("SentencePooling needs embedding_dimension, the channels of the token states.")
    if dimension is not None and older is not None and dimension != older:
        raise ValueError(
            f"embedding_dimension and word_embedding_dimension are one thing; found {dimension} and {older}."
        )
    return older if dimension is None else dimension  # type: ignore[return-value]


def _spec(mode: str | Iterable[str] | None, booleans: dict[str, bool]) -> str:
    """The name of the pooling from either form."""
    unknown = sorted(set(booleans) - set(BOOLEANS))
    if unknown:
        raise TypeError(
            f"SentencePooling has no argument {', '.join(map(repr, unknown))}; what an operator takes goes in "
            "settings={...}."
        )
    switched = tuple(name for key, name in BOOLEANS.items() if booleans.get(key))
    if mode is None:
        return "+".join(switched) or "mean"
    named = (mode,) if isinstance(mode, str) else tuple(mode)
    if not named or not all(isinstance(name, str) for name in named):
        raise TypeError(f"pooling_mode must be a name or several names; found {mode!r}.")
    if switched and set(switched) != set("+".join(named).split("+")):
        raise ValueError(
            f"pooling_mode and the booleans must agree; found {'+'.join(named)} and {'+'.join(switched)}."
        )
    return "+".join(named)
