"""Texts to vectors: a transformer, a pooling, and what comes after it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from difflib import get_close_matches
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal, Self, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from polypool import _checks
from polypool.text.batching import by_length, windows
from polypool.text.config import ModelFolderError
from polypool.text.folder import AFTER, ModelFolder, find_folder
from polypool.text.layers import LayerMix
from polypool.text.loading import (
    device_of,
    dtype_of,
    mix_of,
    pooling_of,
    require_mix,
    require_pool,
    require_pooling,
)
from polypool.text.modules import AfterPooling, Normalize
from polypool.text.progress import Bar
from polypool.text.report import Report
from polypool.text.saving import save_encoder
from polypool.text.sentence_pooling import SentencePooling
from polypool.text.tokenizing import (
    Encoded,
    Frame,
    cut,
    padded,
    prompt_length,
    room_for_text,
    strings,
    tokenize,
)
from polypool.text.transformer import inputs, load_transformer, positions, require_limit

logger = logging.getLogger("polypool.text")

#: The padded tokens of a batch: on a CPU, where larger ones leave its caches and are slower, and on other devices,
#: which larger ones keep busy.
BATCH_TOKENS = 1024
BATCH_TOKENS_ELSEWHERE = 65_536


class TextEncoder(nn.Module):
    """A sentence encoder: tokenizer, transformer, pooling, and what comes after the pooling.

    `load` reads the folders of sentence-transformers and, with `pool=`, those of transformers. `encode` gives the
    vectors that sentence-transformers gives, to rounding, in less time: texts of similar length go through the model
    together, and a batch is a number of tokens and not a number of texts.

    Args:
        model: A transformer of the library transformers.
        tokenizer: Its tokenizer.
        pooling: What makes one vector of the token states.
        after: What comes after the pooling: `Dense`, `LayerNorm`, `Normalize`, `Dropout`.
        mix: What makes the token states of all layers; those of the last layer are taken when None.
        max_tokens: The most tokens of a text that are read, special tokens with them; as many as the model can take
            when None.
        prompts: Texts to put in front of what is encoded, by name.
        default_prompt: The name of the prompt that is used when none is asked for.
        truncate: How many numbers of each vector are kept; None keeps all.
        similarity: How the vectors are meant to be compared; only kept for `save`.
        dtype: What the transformer computes in. On a CPU its weights stay float32, and it runs under autocast.

    Attributes:
        model: The transformer.
        tokenizer: Its tokenizer.
        pooling: The `SentencePooling`.
        mix: The `LayerMix`, or None.
        after: What comes after the pooling, an `nn.ModuleList`.
        prompts: Prompts by name.
        report: What the last call of `encode` did: texts, tokens, how many were truncated or empty.

    Raises:
        TypeError: A module is of another type.
        ValueError: The modules do not fit together, or `max_tokens` is out of range.

    Example:
        >>> from polypool.demo.encoder import find_model
        >>> from polypool.text import TextEncoder
        >>> encoder = TextEncoder.load(find_model(None), device="cpu")
        >>> vectors = encoder.encode(["A cat sleeps.", "The kitten naps.", "Stocks fell."], progress=False)
        >>> vectors.shape
        (3, 384)
        >>> bool(vectors[0] @ vectors[1] > vectors[0] @ vectors[2])
        True
        >>> print(encoder.report)
        3 texts, 18 tokens, the longest 7; 0 truncated, 0 empty
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        pooling: SentencePooling,
        after: Iterable[AfterPooling] = (),
        *,
        mix: LayerMix | None = None,
        max_tokens: int | None = None,
        prompts: dict[str, str] | None = None,
        default_prompt: str | None = None,
        truncate: int | None = None,
        similarity: str | None = None,
        dtype: torch.dtype | str = torch.float32,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self._inputs = inputs(model)
        self.pooling = pooling
        self.after = nn.ModuleList()
        if mix is not None:
            require_mix(mix, model)
        self.mix = mix
        self.max_tokens = max_tokens
        self.prompts = dict(prompts or {})
        self.default_prompt = default_prompt
        self.truncate = truncate
        self.similarity = similarity
        self.dtype = dtype_of(dtype)
        self.report = Report()
        for module in after:
            self.append(module)

    @classmethod
    def load(
        cls,
        folder_or_name: str | Path,
        pool: str | SentencePooling | None = None,
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> Self:
        """An encoder from a folder. Nothing is downloaded, no code of the folder is run, and no pickle is opened.

        Args:
            folder_or_name: A folder of sentence-transformers or of transformers, or the name of a model that is in the
                local Hugging Face cache.
            pool: The pooling, by name or as a module. A plain transformers folder needs it, since it says nothing about
                pooling; in a folder that declares one it takes its place.
            dtype: What the transformer computes in: `"float32"` (as None), `"bfloat16"` or `"float16"`. Pooling and
                vectors are float32 in any case.
            device: Where to; an accelerator where there is one, when None.

        Raises:
            ImportError: transformers is not installed.
            ModelFolderError: There is no such model; a file is missing or broken; weights are not in safetensors, or
                not those of the model that `config.json` describes; a module is unknown, does not fit, or lies outside
                the folder.
            TypeError: `pool` is neither a name nor a `SentencePooling`.
            ValueError: The folder declares no pooling and none is given, or it is unknown.

        Example:
            >>> from polypool.demo.encoder import find_model
            >>> from polypool.text import TextEncoder
            >>> TextEncoder.load(find_model(None), pool="mean+max", device="cpu").dimension
            768
        """
        require_pool(pool)
        computed, place = dtype_of(dtype), device_of(device)
        folder = ModelFolder.read(find_folder(folder_or_name))
        require_pooling(folder, pool)
        model, tokenizer, limit = load_transformer(
            folder.transformer, torch.float32 if place.type == "cpu" else computed
        )
        encoder = cls(
            model,
            tokenizer,
            pooling_of(folder, pool, model.config.hidden_size),
            mix=mix_of(folder, model),
            max_tokens=limit,
            prompts=folder.prompts,
            default_prompt=folder.default_prompt,
            truncate=folder.truncate,
            similarity=folder.similarity,
            dtype=computed,
        )
        for kind, path in folder.after:
            module = AFTER[kind].load(path)
            try:
                encoder.append(module)
            except ValueError as error:
                raise ModelFolderError(f"{path} does not fit: {error}") from error
        return encoder.to(place).eval()

    def append(self, module: AfterPooling) -> Self:
        """Puts a module behind all others: `Dense`, `LayerNorm`, `Normalize` or `Dropout`.

        Raises:
            TypeError: It is something else.
            ValueError: It was made for vectors of another size.
        """
        if not isinstance(module, AfterPooling):
            raise TypeError(
                f"what comes after pooling must be {', '.join(AFTER)}; found {type(module).__name__}."
            )
        module.out_channels(self._width)
        self.after.append(module.to(self.device))
        return self

    @property
    def _width(self) -> int:
        """The size of the vectors before any is cut off."""
        size = self.pooling.pooling_output_dimension
        for module in self.after:
            size = module.out_channels(size)  # type: ignore[operator]
        return size

    @property
    def dimension(self) -> int:
        """The size of the vectors."""
        return self._width if self.truncate is None else min(self._width, self.truncate)

    @property
    def device(self) -> torch.device:
        """Where the transformer is."""
        return next(self.model.parameters()).device

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of a text that are read, special tokens with them; None where the model takes any number.

        Set to None it is as many as the model can take.

        Raises:
            TypeError: It is set to something else than an int.
            ValueError: It is more than the model has places for, or leaves no token of a text beside special ones.
        """
        return self._max_tokens

    @max_tokens.setter
    def max_tokens(self, value: int | None) -> None:
        most = positions(self.model)
        if value is not None:
            require_limit(_checks.size(value, "max_tokens"), self.tokenizer)
            if most is not None and value > most:
                raise ValueError(
                    f"max_tokens must be <= {most}, the places for tokens that the model has; found {value}. "
                    "encode_long reads longer texts in pieces."
                )
        self._max_tokens = most if value is None else value

    def states(self, features: dict[str, Any]) -> Tensor:
        """The token states `(B, T, C)` of a batch, float32: the transformer in its own precision, and `mix`.

        Args:
            features: What the tokenizer gives: `input_ids`, `attention_mask` and what else the model takes.
        """
        taken = {key: features[key] for key in self._inputs if key in features}
        wanted = {} if self.mix is None else {"output_hidden_states": True}
        with self._precision():
            out = self.model(**taken, **wanted)
        with self.exact():
            states: Tensor = out.last_hidden_state if self.mix is None else self.mix.wide(out.hidden_states)
        return states if states.dtype is torch.float64 else states.float()

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """The features with `token_embeddings` and `sentence_embedding`; gradients go through.

        Args:
            features: As for `states`; `prompt_length` where a prompt is left out of the pooling.
        """
        return self._embed(features, None)

    def _embed(self, features: dict[str, Any], normalize: bool | None) -> dict[str, Any]:
        found = dict(features, token_embeddings=self.states(features))
        with self.exact():
            vectors = self.pooling(found)["sentence_embedding"]
            found["sentence_embedding"] = self.finish(vectors, normalize)
        return found

    def finish(self, vectors: Tensor, normalize: bool | None = None) -> Tensor:
        """Pooled vectors `(B, D)` through what comes after the pooling.

        Args:
            vectors: As the pooling makes them.
            normalize: As for `encode`.
        """
        if normalize is not None:
            _checks.flag(normalize, "normalize")
        after = list(self.after)
        if normalize is False and after and isinstance(after[-1], Normalize):
            after.pop()
        for module in after:
            vectors = module(vectors)
        if self.truncate is not None:
            vectors = vectors[..., : self.truncate]
        return F.normalize(vectors, dim=-1) if normalize else vectors

    @overload
    def encode(
        self,
        texts: str | Iterable[str],
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        progress: bool | None = None,
        as_tensor: Literal[False] = False,
    ) -> NDArray[np.float32]: ...
    @overload
    def encode(
        self,
        texts: str | Iterable[str],
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        progress: bool | None = None,
        *,
        as_tensor: Literal[True],
    ) -> Tensor: ...
    def encode(
        self,
        texts: str | Iterable[str],
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        progress: bool | None = None,
        as_tensor: bool = False,
    ) -> NDArray[np.float32] | Tensor:
        """The vectors of texts, in their order.

        Texts that are longer than `max_tokens` are cut, which is logged, and counted in `report`; `encode_long` reads
        them whole. Empty texts and whitespace are encoded as the model does: most see their special tokens alone.
        A text without any token is zeros.

        Args:
            texts: Strings, of which a generator is read window by window; or one string, which gives one vector.
            batch_tokens: The padded tokens of a batch, at most. Fitting to the device when None.
            normalize: Whether vectors have length 1. As the model says, when None; False leaves out a `Normalize` that
                comes last.
            prompt: What is put in front of each text: the name of one of `prompts`, or a text. The model's default when
                None; `""` puts nothing.
            progress: Whether to show a bar; when None, on a terminal and after two seconds.
            as_tensor: Whether to return a tensor on the model's device.

        Returns:
            `(n, dimension)` float32, or `(dimension,)` for a single string.

        Raises:
            TypeError: A text is no string, or a setting has a wrong type.
            ValueError: A setting is out of range, a name is close to a prompt's and no prompt, or the prompt leaves no
                room for any token of a text.
        """
        _checks.flag(as_tensor, "as_tensor")
        single = isinstance(texts, str)
        listed: Iterable[str] = [texts] if isinstance(texts, str) else texts
        shape = (len(listed) if isinstance(listed, Sized) else 0, self.dimension)
        found = torch.empty(shape, device=self.device if as_tensor else "cpu")
        late = []
        read = 0
        for part in self._stream(listed, batch_tokens, normalize, prompt, progress):
            # What a list holds goes where it belongs; of a generator nobody knows the length.
            if read + len(part) <= len(found):
                found[read : read + len(part)] = part
            else:
                late.append(part.to(found.device))
            read += len(part)
        vectors = torch.cat([found[: read - sum(map(len, late))], *late]) if late else found[:read]
        result = vectors[0] if single else vectors
        return result if as_tensor else result.numpy()

    def stream(
        self,
        texts: Iterable[str],
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        progress: bool | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """`encode`, but each window's vectors as they come, `(m, dimension)`: for collections larger than memory.

        Raises:
            TypeError: `texts` is one string, whose characters nobody wants one by one. For the rest see `encode`.

        Example:
            >>> from polypool.demo.encoder import find_model
            >>> from polypool.text import TextEncoder
            >>> encoder = TextEncoder.load(find_model(None), device="cpu")
            >>> texts = (f"text number {i}" for i in range(5))
            >>> [part.shape for part in encoder.stream(texts, progress=False)]
            [(5, 384)]
        """
        if isinstance(texts, str):
            raise TypeError("texts must be several strings; found one str. Use encode, or pass [text].")
        parts = self._stream(texts, batch_tokens, normalize, prompt, progress)
        return (part.cpu().numpy() for part in parts)

    def encode_long(
        self,
        texts: str | Iterable[str],
        overlap: int | None = None,
        batch_tokens: int | None = None,
        normalize: bool | None = None,
        prompt: str | None = None,
        progress: bool | None = None,
    ) -> NDArray[np.float32]:
        """The vectors of texts of any length: read in overlapping pieces, every token counted once.

        A text that fits is encoded as `encode` does. A longer one goes through the model in pieces that share `overlap`
        tokens; each token is counted in the piece in which it has more of the text around it, and the pooling is
        that of all counted tokens together. Poolings with `state / merge / finalize` hold one batch at a time; the
        others hold the states of the texts of a window.

        Args:
            texts: As for `encode`.
            overlap: The tokens that neighbouring pieces share. When None an eighth of `max_tokens`, or half of what a
                long prompt leaves of it, whichever is less.
            batch_tokens: As for `encode`.
            normalize: As for `encode`.
            prompt: As for `encode`; it is put in front of every piece, and counted once.
            progress: As for `encode`.

        Returns:
            As `encode`.

        Raises:
            TypeError: A text is no string.
            ValueError: As for `encode`, or `overlap` leaves no room for new tokens.
        """
        from polypool.text.long import encode_long

        return encode_long(self, texts, overlap, batch_tokens, normalize, prompt, progress)

    def save(self, folder: str | Path) -> None:
        """Writes a folder that `load` reads, and sentence-transformers too where the pooling is one of its own.

        Args:
            folder: A new one, one without a model in it, or one that holds a model with a `modules.json`. The files of
                that model are replaced or removed, once all of the new one is written; what is no part of it (a
                README, an export, notes) stays.

        Raises:
            ValueError: The folder is a file, or holds a model or parts of one without a `modules.json`, such as a
                plain transformers folder.
        """
        save_encoder(self, Path(folder))

    def _stream(
        self,
        texts: Iterable[str],
        batch_tokens: int | None,
        normalize: bool | None,
        prompt: str | None,
        progress: bool | None,
    ) -> Iterator[Tensor]:
        """The vectors of each window, on the model's device."""
        if normalize is not None:
            _checks.flag(normalize, "normalize")
        budget, before = self.budget(batch_tokens), self.prompt(prompt)
        shown = prompt_length(self.tokenizer, before) if before else 0
        report = Report()
        with Bar(texts, progress) as bar:
            for window in windows(strings(texts)):
                part, own = self._window(window, before, shown, budget, normalize, bar)
                report += own
                yield part
        self.report = report
        if report.truncated:
            logger.warning(
                "%d of %d texts are longer than %s tokens and lost their end; encode_long reads them whole.",
                report.truncated,
                report.texts,
                self.max_tokens,
            )

    def _window(
        self, texts: list[str], before: str, shown: int, budget: int, normalize: bool | None, bar: Bar
    ) -> tuple[Tensor, Report]:
        whole = tokenize(self.tokenizer, [before + text for text in texts])
        frame = Frame.of(self.tokenizer)
        read = [cut(text, self.max_tokens, frame, self.tokenizer.truncation_side) for text in whole]
        vectors = self.vectors(read, shown, budget, normalize, bar)
        return vectors, Report(
            texts=len(texts),
            tokens=sum(map(len, read)),
            truncated=sum(len(part) < len(text) for part, text in zip(read, whole, strict=True)),
            empty=sum(not text.strip() for text in texts),
            longest=max(map(len, whole), default=0),
        )

    def vectors(
        self,
        texts: list[Encoded],
        prompt_tokens: int,
        budget: int,
        normalize: bool | None,
        bar: Bar | None = None,
    ) -> Tensor:
        """The vectors `(n, dimension)` of tokenized texts that fit the model, on its device."""
        found = torch.zeros(len(texts), self.dimension, device=self.device)
        with self.inference():
            for batch in by_length([len(text) for text in texts], budget):
                features = self.batch([texts[place] for place in batch], prompt_tokens)
                found[batch] = self._embed(features, normalize)["sentence_embedding"].to(found.dtype)
                if bar is not None:
                    bar.update(len(batch))
        return found

    def batch(self, texts: list[Encoded], prompt_tokens: int = 0) -> dict[str, Any]:
        """The features of some tokenized texts, padded, on the model's device."""
        features: dict[str, Any] = {
            key: value.to(self.device) for key, value in padded(texts, self.tokenizer).items()
        }
        if prompt_tokens:
            features["prompt_length"] = prompt_tokens
        return features

    def budget(self, batch_tokens: int | None) -> int:
        """The padded tokens of a batch: those asked for, or those that fit the device."""
        if batch_tokens is None:
            return BATCH_TOKENS if self.device.type == "cpu" else BATCH_TOKENS_ELSEWHERE
        return _checks.size(batch_tokens, "batch_tokens", 1)

    def prompt(self, prompt: str | None) -> str:
        """The text of a prompt: by name, as it is, or the default.

        Raises:
            TypeError: It is no string.
            ValueError: It is close to a name and none, or leaves no room for any token of a text.
        """
        found = self._named(prompt)
        if found and self.max_tokens is not None:
            shown = prompt_length(self.tokenizer, found)
            room = room_for_text(self.tokenizer, self.max_tokens, shown)
            if room < 1:
                shown_prompt = shorten(found, 40, placeholder=" ...")
                raise ValueError(
                    f"the prompt must leave room for the text: of the {self.max_tokens} tokens that the model reads, "
                    f"the prompt {shown_prompt!r} and special tokens take {self.max_tokens - room}. Shorten "
                    "it, or raise max_tokens."
                )
        return found

    def _named(self, prompt: str | None) -> str:
        if prompt is None:
            return "" if self.default_prompt is None else self.prompts[self.default_prompt]
        if not isinstance(prompt, str):
            raise TypeError(f"prompt must be a str; found {type(prompt).__name__}.")
        if prompt in self.prompts:
            return self.prompts[prompt]
        # A misspelt name must not become the beginning of every text.
        close = get_close_matches(prompt, self.prompts, n=1, cutoff=0.7) if prompt.isidentifier() else []
        if close:
            raise ValueError(
                f"no prompt is named {prompt!r}; did you mean {close[0]!r}? For a text to put in front, end it with a "
                "space or a colon."
            )
        return prompt

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Evaluation mode, no gradients, and one autocast around all batches, so that weights are cast once."""
        training = [module for module in self.modules() if module.training]
        self.eval()
        try:
            with torch.inference_mode(), self._precision():
                yield
        finally:
            for module in training:
                module.training = True

    def _precision(self) -> AbstractContextManager[Any]:
        if self.device.type == "cpu" and self.dtype is not torch.float32:
            return torch.autocast("cpu", dtype=self.dtype)
        return nullcontext()

    def exact(self) -> AbstractContextManager[Any]:
        """Outside any autocast, for what is computed in float32 whatever the transformer does."""
        # Entered only where there is one to leave: an exported program would hold it.
        if torch.is_autocast_enabled(self.device.type):
            return torch.autocast(self.device.type, enabled=False)
        return nullcontext()

    def __repr__(self) -> str:
        after = "".join(f", {type(module).__name__}" for module in self.after)
        mix = "" if self.mix is None else f", {type(self.mix).__name__}"
        return (
            f"TextEncoder({type(self.model).__name__}{mix}, pool={self.pooling.config.pool!r}{after}, "
            f"dimension={self.dimension}, max_tokens={self.max_tokens}, {str(self.dtype)[6:]} on {self.device})"
        )
