"""Embedding a corpus: a job that can be killed at any moment, runs on one machine or on Ray, and can be verified.

`embed` is the command `polypool embed` as a function, `verify` is `polypool verify`. The rooms:

- `adapter`: the small interface of a kind of data (`Adapter`, `Source`, `Row`, `Unreadable`, `Encoded`). Text is the
  first, in `texts`; `kinds` finds them by name or as `module:Class`.
- `inputs`: txt, jsonl, csv and Parquet as sources.
- `plan`: which rows make shard i, a pure function of the input and of the number of rows in a shard.
- `work`: a shard, a pure function of the plan and i; batches never cross shards.
- `shards`: the Parquet file of a shard, laid out so that its vectors can be mapped into memory.
- `stores`: the output folder, local or behind fsspec: whole files appear at once, or not at all.
- `lock`, `manifest`, `job`: one job per folder, what it is made of, and how it goes on after a stop.
- `engines`: who runs the shards: this process, several, or Ray.
- `reading`: the vectors as arrays; `verifying`: what has happened to them since.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polypool.corpus.adapter import Adapter, Encoded, Row, Source, Unreadable
    from polypool.corpus.errors import CorpusError, StoppedError
    from polypool.corpus.job import embed
    from polypool.corpus.reading import Embeddings, open_embeddings
    from polypool.corpus.summary import Summary
    from polypool.corpus.verdict import Problem, Verdict
    from polypool.corpus.verifying import verify

# Where each name lives; pyarrow is imported by who needs it.
_HOMES = {
    "Adapter": "adapter",
    "CorpusError": "errors",
    "Embeddings": "reading",
    "Encoded": "adapter",
    "Problem": "verdict",
    "Row": "adapter",
    "Source": "adapter",
    "StoppedError": "errors",
    "Summary": "summary",
    "Unreadable": "adapter",
    "Verdict": "verdict",
    "embed": "job",
    "open_embeddings": "reading",
    "verify": "verifying",
}

__all__ = [
    "Adapter",
    "CorpusError",
    "Embeddings",
    "Encoded",
    "Problem",
    "Row",
    "Source",
    "StoppedError",
    "Summary",
    "Unreadable",
    "Verdict",
    "embed",
    "open_embeddings",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"polypool.corpus.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'polypool.corpus' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
