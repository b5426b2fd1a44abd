"""Texts, by `polypool.text.TextEncoder`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polypool._errors import first_line
from polypool.corpus.adapter import Adapter, Encoded, Source, Tick
from polypool.corpus.csvs import Csv
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import expand, format_of
from polypool.corpus.lines import JsonLines, Lines
from polypool.corpus.parquets import Parquet
from polypool.text.batching import by_length
from polypool.text.encoder import TextEncoder
from polypool.text.folder import ModelFolder, find_folder
from polypool.text.progress import Bar
from polypool.text.sentence_pooling import SentencePooling
from polypool.text.tokenizing import Encoded as Tokens
from polypool.text.tokenizing import Frame, cut, prompt_length, tokenize

#: Texts are tokenized so many characters at a time: what a tokenizer makes of a text is some hundred times its size.
_SLICE = 1 << 18
#: A longer text is tokenized only as far as the model can read it.
_LONG = 1 << 17
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")


class TextAdapter(Adapter):
    """Texts of txt, jsonl, csv and Parquet files through a sentence encoder.

    Args:
        model: A folder of sentence-transformers or transformers, or a name in the local Hugging Face cache.
        pool: The pooling, by name; that of the folder when None.
        text_column: The column of the texts.
        id_column: The column of the ids; the number of a row in the corpus is its id when None.
        format: Of all files: `txt`, `jsonl`, `csv`, `tsv`, `parquet`; each file's name says it when None.
        prompt: What is put in front of each text, by name or as it is; the model's default when None.
        normalize: Whether vectors have length 1; as the model says when None.
        precision: What the model computes in: `float32`, `bfloat16`, `float16`.
        batch_tokens: The padded tokens of a batch; what suits the device when None.
        max_tokens: The most tokens of a text that are read; all that the model can when None.

    Raises:
        ValueError: There is no model named, or a setting is out of range.
    """

    packages = ("transformers", "tokenizers")

    def __init__(
        self,
        model: str | Path | None = None,
        pool: str | None = None,
        text_column: str = "text",
        id_column: str | None = None,
        format: str | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        precision: str = "float32",
        batch_tokens: int | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if model is None:
            raise ValueError("model must be named: a folder, or a name in the local Hugging Face cache")
        for name, number in (("batch_tokens", batch_tokens), ("max_tokens", max_tokens)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1; found {number}")
        if precision not in ("float32", "bfloat16", "float16"):
            raise ValueError(f"precision must be float32, bfloat16 or float16; found {precision!r}")
        folder = Path(model).expanduser()
        self._settings: dict[str, Any] = {
            "model": str(folder.absolute()) if folder.is_dir() else str(model),
            "pool": pool,
            "text_column": text_column,
            "id_column": id_column,
            "format": format,
            "prompt": prompt,
            "normalize": normalize,
            "precision": precision,
            "batch_tokens": batch_tokens,
            "max_tokens": max_tokens,
        }
        self._encoder: TextEncoder | None = None
        self._fingerprint: dict[str, Any] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        return dict(self._settings)

    def sources(self, inputs: Sequence[str]) -> list[Source]:
        found = [self._source(path) for path in expand(inputs, self.out)]
        whole = all(source.id_type == "int64" for source in found)
        self.id_type = "int64" if whole else "string"
        return list(found)

    def _source(self, path: str) -> Lines | JsonLines | Csv | Parquet:
        text, own = self._settings["text_column"], self._settings["id_column"]
        match format_of(path, self._settings["format"]):
            case "txt":
                if own is not None:
                    raise CorpusError(f"{path} has lines and no columns: there is no column {own!r} for ids.")
                return Lines(path)
            case "jsonl":
                return JsonLines(path, text, own)
            case "csv":
                return Csv(path, text, own)
            case "tsv":
                return Csv(path, text, own, delimiter="\t")
            case _:
                return Parquet.find(path, text, own)

    def load(self, device: str) -> None:
        settings = self._settings
        try:
            with _quiet():
                encoder = TextEncoder.load(settings["model"], settings["pool"], settings["precision"], device)
            encoder.prompt(settings["prompt"])
            _require_trained(encoder, settings["pool"])
        except (AssertionError, ImportError, RuntimeError, TypeError, ValueError) as error:
            raise CorpusError(f"the model does not load: {first_line(error)}.") from error
        wanted, limit = settings["max_tokens"], encoder.max_tokens
        if wanted is not None:
            if limit is not None and wanted > limit:
                raise CorpusError(
                    f"max_tokens must be at most {limit}, which the model can read; found {wanted}."
                )
            try:
                encoder.max_tokens = wanted
            except ValueError as error:
                raise CorpusError(f"{first_line(error)}") from error
        self._encoder = encoder
        self._fingerprint = None

    @property
    def encoder(self) -> TextEncoder:
        """The model.

        Raises:
            RuntimeError: It is not loaded.
        """
        if self._encoder is None:
            raise RuntimeError("the model is not loaded; call load first")
        return self._encoder

    @property
    def dimension(self) -> int:
        return self.encoder.dimension

    def fingerprint(self) -> dict[str, Any]:
        if self._fingerprint is None:
            encoder = self.encoder
            folder = ModelFolder.read(find_folder(self._settings["model"]))
            known = {*_TOKENIZER_FILES, *encoder.tokenizer.vocab_files_names.values()}
            words = [path for path in sorted(folder.transformer.iterdir()) if path.name in known]
            weights = [
                path
                for path in sorted(folder.transformer.iterdir())
                if path.name == "config.json"
                or path.suffix == ".safetensors"
                or path.name.endswith(".index.json")
            ]
            around = [*([] if folder.mix is None else [folder.mix]), *(path for _, path in folder.after)]
            after = [path / name for path in around for name in _files(path)]
            pooling = {
                **encoder.pooling.config.as_json(),
                "weights": _of_tensors(encoder.pooling.state_dict()),
                "after": [kind for kind, _ in folder.after],
                "after_files": _of_files(after),
                "normalize": self._settings["normalize"],
                "prompt": encoder.prompt(self._settings["prompt"]),
                "dimension": encoder.dimension,
            }
            self._fingerprint = {
                "model": {"sha256": _of_files(weights), "max_tokens": encoder.max_tokens},
                "tokenizer": {"sha256": _of_files(words)},
                "pooling": {
                    **pooling,
                    "sha256": hashlib.sha256(json.dumps(pooling, sort_keys=True).encode()).hexdigest(),
                },
                "batch_tokens": encoder.budget(self._settings["batch_tokens"]),
            }
        return self._fingerprint

    def encode(self, rows: Sequence[str], tick: Tick) -> Encoded:
        encoder, before = self.encoder, self.encoder.prompt(self._settings["prompt"])
        read: list[Tokens] = []
        truncated = np.zeros(len(rows), dtype=np.bool_)
        frame = Frame.of(encoder.tokenizer)
        for part in _slices(rows):
            for tokens, lost in self._tokens(part, before, frame):
                truncated[len(read)] = lost
                read.append(tokens)
        lengths = [len(tokens) for tokens in read]
        shown = prompt_length(encoder.tokenizer, before) if before else 0
        budget = encoder.budget(self._settings["batch_tokens"])
        bar = _Ticks(tick, lengths, budget)
        found = encoder.vectors(read, shown, budget, self._settings["normalize"], bar)
        return Encoded(found.cpu().numpy(), np.array(lengths, dtype=np.int64), truncated)

    def _tokens(self, texts: Sequence[str], before: str, frame: Frame) -> Iterator[tuple[Tokens, bool]]:
        """What the model reads of each text, and whether that is less than all."""
        encoder = self.encoder
        tokenizer, limit, side = encoder.tokenizer, encoder.max_tokens, encoder.tokenizer.truncation_side
        parts = [text if limit is None else _enough(tokenizer, text, limit, side) for text in texts]
        whole = tokenize(tokenizer, [before + part for part in parts])
        for text, part, tokens in zip(texts, parts, whole, strict=True):
            kept = cut(tokens, limit, frame, side)
            yield kept, len(kept) < len(tokens) or len(part) < len(text)


def _enough(tokenizer: Any, text: str, limit: int, side: str) -> str:
    """A text, or as much of a very long one as has twice the tokens that the model reads, cut between words."""
    size = max(_LONG, 64 * limit)
    while len(text) > size:
        if side == "right":
            part = text[:size]
            part = part[: max(part.rfind(" "), part.rfind("\n")) + 1] or part
        else:
            part = text[-size:]
            places = [place for place in (part.find(" "), part.find("\n")) if place >= 0]
            part = part[min(places) :] if places else part
        if len(tokenize(tokenizer, [part])[0]) >= 2 * limit + 16:
            return part
        size *= 2
    return text


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Texts that follow each other, up to so many characters, and at least one."""
    begin = held = 0
    for place, text in enumerate(texts):
        if place > begin and held + len(text) > _SLICE:
            yield texts[begin:place]
            begin, held = place, 0
        held += len(text)
    if begin < len(texts):
        yield texts[begin:]


class _Ticks(Bar):
    """Tells how many rows and tokens each batch had; batches come in the order of `by_length`."""

    def __init__(self, tick: Tick, lengths: Sequence[int], budget: int) -> None:
        super().__init__(None, False)
        self._tick = tick
        ordered = [lengths[place] for batch in by_length(lengths, budget) for place in batch]
        self._sums = [0, *accumulate(ordered)]
        self._done = 0

    def update(self, texts: int) -> None:
        self._tick(texts, self._sums[self._done + texts] - self._sums[self._done])
        self._done += texts


def _require_trained(encoder: TextEncoder, pool: str | None) -> None:
    """A pooling that is named has no weights but those that every pooling of this name begins with."""
    own = encoder.pooling.state_dict()
    if pool is None or not own:
        return
    config = encoder.pooling.config
    again = SentencePooling(
        encoder.pooling.embedding_dimension, config.pool, config.include_prompt
    ).state_dict()
    if _of_tensors(own) != _of_tensors(again):
        raise CorpusError(
            f"pool {pool!r} has weights to learn, which a name does not bring. Train it, encoder.save(folder), and "
            "pass that folder as the model."
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No bar for the loading of weights: there is one for the job."""
    try:
        from transformers.utils import logging
    except ImportError:  # the encoder says what is missing
        yield
        return
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []


def _of_files(paths: Iterable[Path]) -> str:
    """One hash of the names and contents of files."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _of_tensors(tensors: dict[str, torch.Tensor]) -> str | None:
    """One hash of named tensors; None where there are none."""
    if not tensors:
        return None
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
