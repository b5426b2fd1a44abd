"""What several test files share: random numbers of their own, the one comparison, and cells to pool."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool.catalogue import Catalogue
from polypool.cells import Statistic
from polypool.testing.tolerances import TOLERANCES, Tolerance, agree, identical

__all__ = [
    "TOLERANCES",
    "Tolerance",
    "close",
    "counted_passes",
    "identical",
    "integers",
    "nested",
    "normal",
    "of_gradients",
    "shared_data",
    "uniform",
]


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Normal numbers; the global generator is never touched."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uniform(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Numbers between 0 and 1."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def integers(high: int, *shape: int, seed: int = 0) -> Tensor:
    """Integers in `[0, high)`."""
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


def nested(*rows: Tensor) -> Tensor:
    """A jagged nested tensor."""
    return torch.nested.nested_tensor(list(rows), layout=torch.jagged)


def close(
    actual: Tensor, expected: Tensor, where: str = "result", tolerance: Tolerance | None = None
) -> None:
    """The package's own comparison: the tolerance is that of the dtype of `actual` and nothing softer."""
    agree(actual, expected, where, tolerance)


def of_gradients(dtype: torch.dtype) -> Tolerance:
    """Ten times that of the values, as everywhere."""
    own = TOLERANCES[dtype]
    return Tolerance(10 * own.relative, 10 * own.absolute)


@contextmanager
def counted_passes() -> Iterator[list[set[str]]]:
    """What cells are asked to measure inside the block: the keys of the statistics, one set for each pass."""
    passes: list[set[str]] = []
    original = pp.Cells.statistics

    def counted(cells: pp.Cells, wanted: Iterable[Statistic]) -> dict[Statistic, Tensor]:
        listed = tuple(wanted)
        passes.append({statistic.key for statistic in listed})
        return original(cells, listed)

    with mock.patch.object(pp.Cells, "statistics", counted):
        yield passes


def forgets(monkeypatch: pytest.MonkeyPatch, catalogue: Catalogue[Any]) -> None:
    """What is registered from here on is gone with the test."""
    for names in ("_classes", "_aliases"):
        monkeypatch.setattr(catalogue, names, dict(getattr(catalogue, names)))


def shared_data(name: str) -> Path:
    """A file of the real data, which is no part of the repository; skips the test where it is absent.

    It is looked for in the folder that the environment variable `POLYPOOL_DATA` names, and in `../shared/data`.
    """
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("POLYPOOL_DATA") or beside)
    if not (folder / name).is_file():
        pytest.skip(f"there is no {name} in {folder}; POLYPOOL_DATA names another folder")
    return folder / name
