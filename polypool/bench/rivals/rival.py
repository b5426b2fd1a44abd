"""One rival."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from torch import Tensor

import polypool as pp

#: From the inputs (values, and scores where there are any) to `(cells, C_out)`.
Call = Callable[..., Tensor]


@dataclass(frozen=True)
class Rival:
    """Somebody else's way to compute a subject.

    Attributes:
        name: What the table calls it.
        make: The callable; imports what it needs.
        package: What has to be installed.
        definition: What it computes where that is another thing than ours: the lower of two medians, say.
        compiles: Whether its first call compiles something.
    """

    name: str
    make: Callable[[], Call]
    package: str = "torch"
    definition: Callable[[pp.Layout, Sequence[Tensor]], Tensor] | None = None
    compiles: bool = False

    @property
    def missing(self) -> str:
        """Why it cannot run, or an empty string."""
        return "" if find_spec(self.package) is not None else f"{self.package} is not installed"
