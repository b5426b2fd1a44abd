"""The property card: what an operator promises, as data."""

import inspect
from dataclasses import dataclass

from polypool.layouts import KINDS


@dataclass(frozen=True)
class PropertyCard:
    """What holds for an operator. `polypool.testing.check_pooling` measures every field.

    Attributes:
        name: The name in the registry.
        summary: One sentence.
        layouts: The kinds of layout that it can pool.
        decomposable: It has `state`, `merge` and `finalize`: parts of a cell can be pooled apart and merged exactly.
        permutation_invariant: The order of the elements in a cell does not matter.
        homogeneity: The degree k of `pool(a x) = a^k pool(x)` for a > 0; None when there is none.
        has_weights: It has `weights(layout)`: the result is a weighted sum of the elements.
        learnable: It has parameters.
        constant_preserving: A cell whose elements are all equal gives that element.
        takes_weights: It can pool layouts whose elements have weights.
        source: Authors, year and equation.
    """

    name: str
    summary: str = ""
    layouts: tuple[str, ...] = KINDS
    decomposable: bool = False
    permutation_invariant: bool = True
    homogeneity: int | None = None
    has_weights: bool = False
    learnable: bool = False
    constant_preserving: bool = False
    takes_weights: bool = True
    source: str = ""

    def refusal(self, kind: str, weighted: bool) -> str | None:
        """Why the operator cannot pool such a layout; None when it can."""
        if kind not in self.layouts:
            return f"{self.name} cannot pool the layout {kind}; it can pool: {', '.join(self.layouts)}."
        if weighted and not self.takes_weights:
            return (
                f"{self.name} cannot pool a layout with weights (a soft assignment and bins that do not divide the "
                f"grid have them too); it can pool without weights: {', '.join(self.layouts)}."
            )
        return None


def summary(cls: type) -> str:
    """The first paragraph of a class's own docstring, on one line."""
    doc = "" if cls.__doc__ is None else inspect.getdoc(cls) or ""
    return doc.strip().split("\n\n")[0].replace("\n", " ")
