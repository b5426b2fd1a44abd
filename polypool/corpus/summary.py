"""What a job did, in words and numbers."""

from __future__ import annotations

from dataclasses import dataclass

from polypool.corpus.manifest import QUARANTINE


@dataclass(frozen=True)
class Summary:
    """What a job did.

    Attributes:
        out: The folder.
        rows: The rows of the input.
        embedded: Those that have a vector.
        quarantined: Those that could not be read or encoded.
        tokens: What went through the model.
        truncated: Rows that lost their end.
        nonfinite: Rows whose vector is not finite.
        shards: All of them.
        made: Those made by this run; the others were there.
        seconds: How long this run took, all in all.
        loading: Of these, until the model was loaded.
        planning: Of these, for reading and hashing the input.
        encoding: The seconds that all workers together spent in `Adapter.encode`.
    """

    out: str
    rows: int
    embedded: int
    quarantined: int
    tokens: int
    truncated: int
    nonfinite: int
    shards: int
    made: int
    seconds: float
    loading: float
    planning: float
    encoding: float

    @property
    def complete(self) -> bool:
        """Whether every row has a vector."""
        return not self.quarantined

    def __str__(self) -> str:
        said = (
            f"{self.embedded:,} of {self.rows:,} rows embedded, {self.tokens:,} tokens, {self.shards:,} shards "
            f"({self.made:,} made now) in {self.out}"
        )
        notes = [f"{self.truncated:,} truncated"] if self.truncated else []
        notes += [f"{self.nonfinite:,} not finite"] if self.nonfinite else []
        notes += [f"{self.quarantined:,} quarantined, see {QUARANTINE}"] if self.quarantined else []
        return f"{said}; {', '.join(notes)}" if notes else said
