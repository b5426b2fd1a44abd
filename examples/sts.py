"""How well a sentence encoder orders pairs of sentences by meaning: Spearman's rank correlation with people's scores.

    python examples/sts.py                             # a few pairs that come with this file
    python examples/sts.py --data stsb-en-dev.csv      # lines of sentence, sentence, score

It runs all-MiniLM-L6-v2, which comes with the extra `demo`, or `--model FOLDER`, and sentence-transformers beside it
where that is installed. Both print the same numbers.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import numpy as np
from numpy.typing import NDArray

from polypool.demo.encoder import find_model
from polypool.text import TextEncoder

# Scored by hand, 5 the same to 0 nothing in common, as in STS-B.
PAIRS: list[tuple[str, str, float]] = [
    ("A cat is asleep on the sofa.", "The kitten naps on the couch.", 4.4),
    ("A man plays the guitar.", "A man is playing a guitar.", 5.0),
    ("The train to Berlin leaves at noon.", "At twelve the railway departs for the German capital.", 4.5),
    ("Two dogs run through the snow.", "Dogs are running in a white field.", 3.8),
    ("She plays the violin in an orchestra.", "A woman teaches the violin to children.", 2.6),
    ("The bank raised the interest on my loan.", "My mortgage became more expensive.", 3.4),
    ("The river burst its bank after a week of rain.", "It rained for a week.", 2.5),
    ("A boy rides a bicycle.", "A boy rides a horse.", 1.8),
    ("Bread needs flour, water, salt and time.", "The shop sells bread and milk.", 1.4),
    ("The telescope found a planet.", "The doctor told him to rest his knee.", 0.0),
    ("Water boils at one hundred degrees.", "The goalkeeper saved a penalty.", 0.0),
    ("How do I reset my password?", "Bees carry pollen from flower to flower.", 0.0),
]


def pairs(path: Path | None) -> list[tuple[str, str, float]]:
    """The pairs of a file, or those of this one."""
    if path is None:
        return PAIRS
    with path.open(encoding="utf-8", newline="") as file:
        return [(row[0], row[1], float(row[2])) for row in csv.reader(file)]


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of each value among all; equal ones share the mean of their places."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    after = np.cumsum(count)
    places: NDArray[np.float64] = (after - (count - 1) / 2)[group]
    return places


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The correlation of the ranks."""
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def cosines(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each first sentence with its second: the first half of the vectors with the second half."""
    unit = vectors.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    first, second = np.split(unit, 2)
    found: NDArray[np.float64] = (first * second).sum(1)
    return found


def theirs(folder: Path, texts: list[str]) -> NDArray[np.float32] | None:
    """The vectors of sentence-transformers; None where it is not installed."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        return None
    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    found: NDArray[np.float32] = model.encode(texts, show_progress_bar=False)
    return found


def main(arguments: list[str] | None = None) -> None:
    """Prints a line for each library."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a csv file without header: sentence, sentence, score")
    parser.add_argument("--model", type=Path, help="a folder of sentence-transformers")
    given = parser.parse_args(arguments)
    listed = pairs(given.data)
    texts = [pair[0] for pair in listed] + [pair[1] for pair in listed]
    scores = np.array([pair[2] for pair in listed])
    folder = find_model(given.model)

    encoder = TextEncoder.load(folder, device="cpu")
    found = {"polypool": encoder.encode(texts)}
    rival = theirs(folder, texts)
    if rival is not None:
        found["sentence-transformers"] = rival
    print(f"{len(listed):,} pairs; {encoder.report}")
    for name, vectors in found.items():
        print(f"{name:22} Spearman {spearman(cosines(vectors), scores):.4f}")
    if rival is not None:
        print(f"{'largest difference':22} {np.abs(found['polypool'] - rival).max():.1e}")


if __name__ == "__main__":
    main()
