"""A bar for long work."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any, Self

#: Work that takes less shows no bar of its own accord.
SECONDS = 2.0


class Bar:
    """Counts texts on standard error.

    Args:
        texts: What is worked on; a generator's length is unknown, and the bar then only counts.
        progress: Whether to show it. When None, on a terminal and after two seconds.
    """

    def __init__(self, texts: object, progress: bool | None) -> None:
        if progress is not None and not isinstance(progress, bool):
            raise TypeError(f"progress must be True, False or None; found {progress!r}.")
        self._bar: Any = None
        if progress is not False:
            from tqdm import tqdm  # type: ignore[import-untyped]

            self._bar = tqdm(
                total=len(texts) if isinstance(texts, Sized) else None,
                unit=" texts",
                # None: not where standard error is a file.
                disable=None if progress is None else False,
                delay=SECONDS if progress is None else 0,
            )

    def update(self, texts: int) -> None:
        """So many more are done."""
        if self._bar is not None:
            self._bar.update(texts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
