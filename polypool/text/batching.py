"""Which texts go through the model together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

T = TypeVar("T")

#: How many texts are looked at together to sort them by length. It bounds what a generator, or a very long list, holds
#: in memory; more would hardly save padding.
WINDOW = 4096


def windows(items: Iterable[T], size: int = WINDOW) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items, so that no more of a generator is ever held.

    Example:
        >>> from polypool.text.batching import windows
        >>> list(windows(iter("abcde"), size=2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    rest = iter(items)
    while held := list(islice(rest, size)):
        yield held


def by_length(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Batches of texts of similar length whose padded size, rows times the longest, is at most `budget`.

    The longest come first, so that what does not fit into memory fails at once. A text that is longer than the budget
    is a batch of its own. A batch that is at least half full ends where the length changes, because texts of one length
    need no padding and models run faster without it. Texts of length 0 are in no batch.

    Args:
        lengths: The tokens of each text.
        budget: The largest padded size of a batch, in tokens.

    Returns:
        The places of the texts of each batch.

    Example:
        >>> from polypool.text.batching import by_length
        >>> by_length([3, 9, 4, 0, 4, 3], budget=12)
        [[1], [2, 4], [0, 5]]
    """
    batches: list[list[int]] = []
    longest = 0
    for place in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = lengths[place]
        if length == 0:
            break
        rows = len(batches[-1]) if batches else 0
        full = (rows + 1) * longest > budget
        changes = batches and length < lengths[batches[-1][-1]] and 2 * rows * longest >= budget
        if not batches or full or changes:
            batches.append([])
            longest = length
        batches[-1].append(place)
    return batches
