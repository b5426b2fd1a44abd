"""What happened to the texts of one call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What `TextEncoder.encode` did with its texts.

    Attributes:
        texts: How many there were.
        tokens: The tokens that went through the model, special tokens and prompts with them.
        truncated: How many texts were longer than the model takes, and lost their end.
        empty: How many were empty, or held nothing but whitespace.
        longest: The tokens of the longest text, before anything was cut.

    Example:
        >>> from polypool.text import Report
        >>> print(Report(texts=3, tokens=270, truncated=1, longest=301) + Report(texts=1, tokens=2, empty=1))
        4 texts, 272 tokens, the longest 301; 1 truncated, 1 empty
    """

    texts: int = 0
    tokens: int = 0
    truncated: int = 0
    empty: int = 0
    longest: int = 0

    def __add__(self, other: Report) -> Report:
        """Both together."""
        return Report(
            self.texts + other.texts,
            self.tokens + other.tokens,
            self.truncated + other.truncated,
            self.empty + other.empty,
            max(self.longest, other.longest),
        )

    def __str__(self) -> str:
        return (
            f"{self.texts:,} texts, {self.tokens:,} tokens, the longest {self.longest:,}; "
            f"{self.truncated:,} truncated, {self.empty:,} empty"
        )
