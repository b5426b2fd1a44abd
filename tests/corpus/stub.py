"""An encoder that takes no time: vectors from a hash of the text. And what the tests of the job share."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from polypool.corpus import Adapter, Encoded, Source, Summary, embed
from polypool.corpus.adapter import Tick
from polypool.corpus.errors import CorpusError
from polypool.corpus.texts import TextAdapter

KIND = "tests.corpus.stub:Stub"


class Stub(Adapter):
    """A text with BAD in it cannot be encoded; one with NAN has a vector that is not finite.

    `DIE file` kills the process that encodes it, where there is no such file yet; `DIE always` every time.
    """

    window_rows = 3

    def __init__(
        self,
        model: str = "first",
        dimension: int = 4,
        text_column: str = "text",
        id_column: str | None = None,
        format: str | None = None,
    ) -> None:
        self._settings: dict[str, Any] = {
            "model": model,
            "dimension": dimension,
            "text_column": text_column,
            "id_column": id_column,
            "format": format,
        }

    @property
    def settings(self) -> dict[str, Any]:
        return self._settings

    def sources(self, inputs: Sequence[str]) -> list[Source]:
        names = ("text_column", "id_column", "format")
        texts = TextAdapter(model="none", **{name: self._settings[name] for name in names})
        texts.out = self.out
        found = texts.sources(inputs)
        self.id_type = texts.id_type
        return found

    def load(self, device: str) -> None:
        if self._settings["model"] == "missing":
            raise CorpusError("the model does not load: it is missing.")

    @property
    def dimension(self) -> int:
        return int(self._settings["dimension"])

    def fingerprint(self) -> dict[str, Any]:
        return {"model": {"sha256": hashlib.sha256(self._settings["model"].encode()).hexdigest()}}

    def encode(self, rows: Sequence[str], tick: Tick) -> Encoded:
        if any("BAD" in text for text in rows):
            raise ValueError("this row is bad")
        for text in rows:
            if text.startswith("DIE "):
                _die(Path(text.removeprefix("DIE ")))
        vectors = np.stack([self._vector(text) for text in rows])
        tokens = np.array([len(text.split()) for text in rows])
        tick(len(rows), int(tokens.sum()))
        return Encoded(vectors, tokens, tokens > 8)

    def _vector(self, text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        seed = hashlib.sha256((self._settings["model"] + text).encode()).digest()[: self.dimension]
        found = np.frombuffer(seed, np.uint8).astype(np.float32) / np.float32(16)
        if "NAN" in text:
            found[0] = np.nan
        return found


def _die(marker: Path) -> None:
    if not marker.exists():
        if marker.name != "always":
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def lines(folder: Path, count: int, name: str = "texts.txt") -> Path:
    """A file of numbered lines."""
    path = folder / name
    path.write_text("".join(f"text number {number}\n" for number in range(count)), encoding="utf-8")
    return path


def run(inputs: Path | str | Sequence[str | Path], out: Path, **settings: Any) -> Summary:
    """A job with the stub, in this process, with four rows in a shard."""
    return embed(inputs, out, **{"kind": KIND, "workers": 1, "shard_rows": 4, "device": "cpu", **settings})


def contents(out: Path) -> dict[str, bytes]:
    """Every file that the job is there for."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file()}
