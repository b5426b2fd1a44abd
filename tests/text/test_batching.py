"""Batches by tokens, and windows of generators."""

from collections.abc import Iterator

import pytest

from polypool.text.batching import by_length, windows
from tests.support import integers


@pytest.mark.parametrize("budget", [1, 7, 64, 1000, 10**6])
def test_every_text_is_in_one_batch_within_the_budget(budget: int) -> None:
    lengths = integers(200, 500, seed=3).tolist()
    batches = by_length(lengths, budget)
    seen = sorted(place for batch in batches for place in batch)
    assert seen == [place for place, length in enumerate(lengths) if length > 0]
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert longest * len(batch) <= budget or len(batch) == 1


def test_the_longest_come_first_and_little_is_padded() -> None:
    lengths = integers(256, 2000, seed=1).tolist()
    batches = by_length(lengths, 2048)
    firsts = [max(lengths[place] for place in batch) for batch in batches]
    assert firsts == sorted(firsts, reverse=True)
    padded = sum(first * len(batch) for first, batch in zip(firsts, batches, strict=True))
    assert padded < 1.01 * sum(lengths)


def test_texts_of_one_length_keep_together() -> None:
    """A batch that is at least half full ends where padding would begin."""
    assert by_length([5, 5, 4, 4], budget=20) == [[0, 1], [2, 3]]
    assert by_length([5, 4, 4, 4], budget=20) == [[0, 1, 2, 3]]


def test_nothing_to_do() -> None:
    assert by_length([], 10) == []
    assert by_length([0, 0], 10) == []


def test_a_generator_is_read_no_further_than_asked() -> None:
    read = []

    def texts() -> Iterator[int]:
        for number in range(10):
            read.append(number)
            yield number

    parts = windows(texts(), 4)
    assert next(parts) == [0, 1, 2, 3]
    assert read == [0, 1, 2, 3]
    assert list(parts) == [[4, 5, 6, 7], [8, 9]]
