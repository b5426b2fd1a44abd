"""Encoding beside sentence-transformers: time on a mixed corpus, half precision, and the memory of the pooling.

    python benchmarks/encode.py                  # all-MiniLM-L6-v2, which comes with the extra `demo`
    python benchmarks/encode.py --model FOLDER --texts 2000 --repeats 5

The texts have log-normal lengths of 5 to 256 tokens. Runs are interleaved, so that a machine that slows down slows
everybody down, and the vectors are compared before any time is printed. Run it on a machine with nothing else to do.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling

from polypool.bench.memory import measured
from polypool.demo.corpus import SENTENCES
from polypool.demo.encoder import find_model
from polypool.text import SentencePooling, TextEncoder

BATCH_SIZES = (16, 32, 64, 128)
MODES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
Vectors = NDArray[np.float32]


def corpus(count: int, tokenizer: Any, seed: int = 0) -> list[str]:
    """Texts of words that are one token each, of log-normal lengths between 5 and 256 tokens."""
    words = sorted({word.strip(".?,").lower() for sentence in SENTENCES for word in sentence.split()})
    words = [word for word in words if len(tokenizer.tokenize(word)) == 1]
    chance = random.Random(seed)
    lengths = [min(max(round(chance.lognormvariate(3.4, 0.9)), 5), 256) for _ in range(count)]
    # [CLS] and [SEP] are two of the tokens.
    return [" ".join(chance.choices(words, k=length - 2)) for length in lengths]


def interleaved(runs: dict[str, Callable[[], Vectors]], repeats: int) -> dict[str, float]:
    """The median seconds of each run, one round after the other."""
    for run in runs.values():
        run()
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = perf_counter()
            run()
            spent[name].append(perf_counter() - start)
    return {name: median(seconds) for name, seconds in spent.items()}


def throughput(folder: Path, count: int, repeats: int, dtypes: list[str], budgets: list[int | None]) -> None:
    """Texts per second of everybody."""
    theirs = SentenceTransformer(str(folder), device="cpu")
    encoders = {dtype: TextEncoder.load(folder, dtype=dtype, device="cpu") for dtype in ("float32", *dtypes)}
    texts = corpus(count, theirs.tokenizer)
    expected = theirs.encode(texts, batch_size=32)
    ours = encoders["float32"].encode(texts, progress=False)
    apart = float(np.abs(ours - expected).max())
    print(f"{encoders['float32'].report}; largest difference to sentence-transformers {apart:.1e}")
    if apart > 1e-6:
        raise SystemExit("the vectors differ by more than 1e-6: nothing is timed")

    runs: dict[str, Callable[[], Vectors]] = {
        f"sentence-transformers, batch size {size}": partial(theirs.encode, texts, batch_size=size)
        for size in BATCH_SIZES
    }
    for dtype, encoder in encoders.items():
        for budget in budgets:
            name = f"polypool, {dtype}" + ("" if budget is None else f", {budget} tokens")
            runs[name] = partial(encoder.encode, texts, budget, progress=False)
    seconds = interleaved(runs, repeats)
    default = seconds["sentence-transformers, batch size 32"]
    best = min(spent for name, spent in seconds.items() if name.startswith("sentence"))
    print(f"{'':40} {'texts/s':>9} {'/ batch size 32':>16} {'/ their best':>13}")
    for name, spent in seconds.items():
        print(f"{name:40} {len(texts) / spent:9.0f} {default / spent:15.2f}x {best / spent:12.2f}x")
    for dtype in dtypes:
        cosine = (encoders[dtype].encode(texts, normalize=True, progress=False) * ours).sum(1).min()
        print(
            f"{dtype}: {seconds['polypool, float32'] / seconds[f'polypool, {dtype}']:.2f}x float32", end="; "
        )
        print(f"smallest cosine to float32 {cosine:.6f}")


def memory(rows: int = 64, tokens: int = 256, channels: int = 384) -> None:
    """The peak memory of each pooling beyond hidden states and result, as a share of the hidden states."""
    hidden = torch.randn(rows, tokens, channels)
    lengths = torch.randint(1, tokens + 1, (rows, 1))
    mask = (torch.arange(tokens) < lengths).long()
    size = hidden.numel() * hidden.element_size()
    print(f"\npeak extra memory of the pooling, in % of hidden states of {size / 2**20:.0f} MiB")
    print(f"{'':24} {'sentence-transformers':>22} {'polypool':>9}")
    for mode in MODES:
        shares = []
        for module in (Pooling(channels, mode), SentencePooling(channels, mode)):

            def pooled(module: torch.nn.Module = module) -> list[torch.Tensor]:
                with torch.no_grad():
                    return [
                        module({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]
                    ]

            pooled()
            extra = measured(pooled)[1]
            shares.append("not measured" if extra is None else f"{100 * extra / size:.1f}")
        print(f"{mode:24} {shares[0]:>22} {shares[1]:>9}")


def main() -> None:
    """Prints everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="a folder of sentence-transformers")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dtype", nargs="*", default=["bfloat16"], help="compared with float32 too")
    parser.add_argument(
        "--tokens", type=int, nargs="*", default=[], help="batch_tokens to try beside the default"
    )
    parser.add_argument("--no-memory", action="store_true")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    throughput(
        find_model(arguments.model),
        arguments.texts,
        arguments.repeats,
        arguments.dtype,
        [None, *arguments.tokens],
    )
    if not arguments.no_memory:
        memory()


if __name__ == "__main__":
    main()
