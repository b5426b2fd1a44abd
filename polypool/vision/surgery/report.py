"""What `swap` did."""

from __future__ import annotations

from dataclasses import dataclass

from polypool.vision.surgery.site import Site


@dataclass(frozen=True)
class Swapped:
    """One place with its new pooling.

    Attributes:
        name: The name of the site.
        kind: Its kind.
        old: The pooling that was there.
        new: The one that is there now.
        keeps: Whether it begins as the old one, so that the model computes what it did, to rounding.
        widened: The layers that read more channels than before.
        note: What else there is to say.
    """

    name: str
    kind: str
    old: str
    new: str
    keeps: bool
    widened: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        said = [f"{self.name}: {self.old} -> {self.new}"]
        said.append("begins as it was" if self.keeps else "another function from the first step on")
        if self.widened:
            said.append(f"widened {', '.join(self.widened)}")
        return ", ".join([*said, *([self.note] if self.note else [])])


@dataclass(frozen=True)
class Report:
    """What `swap` did.

    Attributes:
        swapped: The places that have another pooling now.
        skipped: The places that `where` fits too, and that nothing can be put to; `obstacle` says why.
        change: The largest change of a number of the model's output on the sample; None when it was not run.
    """

    swapped: tuple[Swapped, ...]
    skipped: tuple[Site, ...] = ()
    change: float | None = None

    @property
    def keeps(self) -> bool:
        """Whether the model computes what it did, to rounding."""
        return all(one.keeps for one in self.swapped)

    def __str__(self) -> str:
        lines = [str(one) for one in self.swapped]
        lines += [f"{site.name}: left alone, {site.obstacle}" for site in self.skipped]
        if self.change is not None:
            lines.append(f"largest change of the output: {self.change:.1e}")
        return "\n".join(lines)
