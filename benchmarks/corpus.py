"""The corpus job: memory that does not grow with the corpus, and what it costs beside the model.

    python benchmarks/corpus.py                        # all-MiniLM-L6-v2, which comes with the extra `demo`
    python benchmarks/corpus.py --rows 100000 1000000 --texts 4000 --model FOLDER

Memory is the peak of a fresh process for each number of rows, with an encoder that takes no time (`Quick`, vectors of
384 numbers), so that everything else is measured: reading, planning, writing, reading back and verifying.

The cost is everything that is not the adapter's `encode`: reading the input, hashing it, writing, syncing; as a share
of the time once the model is loaded, in one process.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from polypool.corpus import Adapter, Encoded, Source, embed, open_embeddings, verify
from polypool.corpus.adapter import Tick
from polypool.corpus.texts import TextAdapter
from polypool.demo.corpus import SENTENCES

DIMENSION = 384


class Quick(Adapter):
    """An encoder that takes no time: the length of the text."""

    def __init__(self, text_column: str = "text", id_column: str | None = None) -> None:
        self._settings: dict[str, Any] = {"text_column": text_column, "id_column": id_column}

    @property
    def settings(self) -> dict[str, Any]:
        return self._settings

    def sources(self, inputs: Sequence[str]) -> list[Source]:
        texts = TextAdapter(model="none", **self._settings)
        found = texts.sources(inputs)
        self.id_type = texts.id_type
        return found

    def load(self, device: str) -> None:
        pass

    @property
    def dimension(self) -> int:
        return DIMENSION

    def fingerprint(self) -> dict[str, Any]:
        return {"model": "the length of the text"}

    def encode(self, rows: Sequence[str], tick: Tick) -> Encoded:
        lengths = np.array([len(text) for text in rows])
        vectors = np.repeat(lengths[:, None], DIMENSION, 1).astype(np.float32)
        tick(len(rows), int(lengths.sum()))
        return Encoded(vectors, lengths, lengths > 100)


def write_corpus(path: Path, rows: int) -> None:
    """Texts of some sixty words, with ids."""
    words = "the quick brown fox jumps over a lazy dog and runs away from it all again " * 4
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            file.write(json.dumps({"id": f"document-{number}", "text": words[: 100 + number % 200]}) + "\n")


def measure_memory(folder: Path, rows: int) -> dict[str, float]:
    """In this process: the peak in MiB after each step. Printed as JSON for the parent."""
    import torch

    torch.ones(1)
    found = {"begin": _peak()}
    start = perf_counter()
    embed(
        folder / "corpus.jsonl",
        folder / "out",
        kind="corpus:Quick",
        id_column="id",
        workers=1,
        device="cpu",
        progress=False,
    )
    found |= {"embed": _peak(), "seconds": perf_counter() - start}
    verdict = verify(folder / "out")
    if not verdict.ok or verdict.rows != rows or verdict.not_checked:
        raise SystemExit(f"the result is wrong: {verdict}")
    found["verify"] = _peak()
    vectors = open_embeddings(folder / "out")
    best = vectors.nearest(vectors[0], 5)[1]
    if len(best) != 5:
        raise SystemExit("the search is wrong")
    return found


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory(sizes: Sequence[int], scratch: Path) -> None:
    """One fresh process for each size."""
    print(f"{'rows':>10} {'MiB at begin':>13} {'after embed':>12} {'after verify':>13} {'rows/s':>8}")
    peaks = []
    for rows in sizes:
        folder = scratch / str(rows)
        folder.mkdir()
        write_corpus(folder / "corpus.jsonl", rows)
        child = [sys.executable, __file__, "--child", str(folder), str(rows)]
        done = subprocess.run(child, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        peaks.append(found["embed"])
        print(
            f"{rows:10,} {found['begin']:13.0f} {found['embed']:12.0f} {found['verify']:13.0f} "
            f"{rows / found['seconds']:8,.0f}",
            flush=True,
        )
        shutil.rmtree(folder)
    for rows, peak in zip(sizes[1:], peaks[1:], strict=True):
        print(f"{rows:,} rows need {100 * (peak / peaks[0] - 1):+.1f} % of the memory of {sizes[0]:,}")


def cost(model: Path, texts: int, scratch: Path) -> None:
    """The share of everything that is not the model."""
    path = scratch / "texts.jsonl"
    words = sorted({word.strip(".?,").lower() for sentence in SENTENCES for word in sentence.split()})
    chance = random.Random(0)
    lengths = [min(max(round(chance.lognormvariate(3.4, 0.9)), 3), 250) for _ in range(texts)]
    rows = ({"text": " ".join(chance.choices(words, k=length))} for length in lengths)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = embed(path, scratch / "out", model, workers=1, shard_rows=1024, progress=False)
    working = done.seconds - done.loading
    print(
        f"{texts:,} texts, {done.tokens:,} tokens, {done.shards} shards: {working:.1f} s once the model is loaded "
        f"({done.loading:.1f} s), {done.encoding:.1f} s of them in the encoder; the rest is "
        f"{100 * (1 - done.encoding / working):.1f} %"
    )


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", type=int, nargs="*", default=[100_000, 1_000_000], help="memory at these sizes"
    )
    parser.add_argument("--texts", type=int, default=4000, help="texts for the cost; 0 leaves it out")
    parser.add_argument("--model", type=Path, help="a folder; all-MiniLM-L6-v2 without it")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure_memory(Path(arguments.child[0]), int(arguments.child[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        memory(arguments.rows, Path(scratch))
        if arguments.texts:
            from polypool.demo.encoder import find_model

            cost(find_model(arguments.model), arguments.texts, Path(scratch))


if __name__ == "__main__":
    main()
