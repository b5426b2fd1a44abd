"""The pooling objects that serve all three modalities, and the count of who used them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import nn

import polypool as pp
from polypool.demo.report import Table

MODALITIES = {
    "grid": "images",
    "tokens": "sentences",
    "nodes": "graphs",
    "clusters": "neighbourhoods in graphs",
}


def shared_pools() -> dict[str, pp.Pooling]:
    """Build, once, every pooling of the demo that has no parameters to learn."""
    names = ("sum", "mean", "max", "std", "mean+max+std")
    return {**{name: pp.build(name) for name in names}, "gem": pp.build("gem", p=3.0, learn=False)}


class Ledger:
    """Counts the calls that each pooling object gets from each kind of layout.

    The proof that one object serves all: the hooks sit on the objects themselves.
    """

    def __init__(self, pools: Mapping[str, nn.Module]) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self._hooks = [pool.register_forward_hook(self._counter(name)) for name, pool in pools.items()]
        self._names = list(pools)

    def _counter(self, name: str) -> Any:
        def count(module: nn.Module, inputs: tuple[Any, ...], output: object) -> None:
            self.calls[name, inputs[0].kind] += 1

        return count

    def close(self) -> None:
        """Take the hooks off again."""
        for hook in self._hooks:
            hook.remove()

    def table(self) -> Table:
        """One row per object, one column per modality."""
        rows = [
            (name, *(f"{self.calls[name, kind]:,}" if self.calls[name, kind] else "-" for kind in MODALITIES))
            for name in self._names
        ]
        return Table(
            title="One object, three modalities",
            columns=("pooling object", *MODALITIES.values()),
            rows=rows,
            note="Calls that each object received during this demo. Every row is a single Python object, built once.",
        )
