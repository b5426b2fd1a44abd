"""Graphs of `torch.save`, PyG's data sets among them, and folders of the TU collection. No code of a file is run."""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polypool._errors import first_line
from polypool.corpus.adapter import Mark
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import open_binary
from polypool.corpus.stored_graphs import GraphSource
from polypool.corpus.stores import is_url

_CHUNK = 1 << 20
#: How the name of the file of a TU data set ends that tells the graph of each node.
INDICATOR = "_graph_indicator.txt"


@dataclass(frozen=True)
class LoadedGraphs(GraphSource):
    """Graphs that are in memory, or mapped into it, as soon as one is read; once in each worker.

    Attributes:
        name: The path or URL.
    """

    name: str
    features: str

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        self.contents(update)
        update(self.features.encode())
        for number in range(len(self.graphs())):
            yield [number]

    def found(self, mark: Mark, count: int) -> Iterator[Mapping[str, Any] | str]:
        graphs = self.graphs()
        for number in range(mark[0], min(mark[0] + count, len(graphs))):
            yield graphs[number]

    @abstractmethod
    def contents(self, update: Callable[[bytes], object]) -> None:
        """Passes on the bytes of all files."""

    @abstractmethod
    def graphs(self) -> Graphs:
        """All graphs."""


@dataclass(frozen=True)
class SavedGraphs(LoadedGraphs):
    """A file of `torch.save`: a list of dicts of tensors or of PyG's `Data`, one of them, or PyG's `data, slices`.

    It is opened with `weights_only=True` and mapped into memory.
    """

    def contents(self, update: Callable[[bytes], object]) -> None:
        with open_binary(self.name) as file:
            while chunk := file.read(_CHUNK):
                update(chunk)

    def graphs(self) -> Graphs:
        return _loaded(self.name, _stamp([self.name]))


@dataclass(frozen=True)
class TuFolder(LoadedGraphs):
    """A data set of the TU collection: `NAME_A.txt`, `NAME_graph_indicator.txt` and so on, read by PyG.

    The features of a node are its attributes, then its label as a one among zeros.

    Attributes:
        prefix: NAME.
    """

    prefix: str

    def contents(self, update: Callable[[bytes], object]) -> None:
        for path in self._files():
            update(f"{Path(path).name}\0".encode())
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    update(chunk)

    def graphs(self) -> Graphs:
        return _read_tu(self.name, self.prefix, _stamp(self._files()))

    def _files(self) -> list[str]:
        return sorted(str(path) for path in Path(self.name).glob(f"{self.prefix}_*.txt"))


class Graphs(ABC):
    """Graphs in memory, or mapped into it."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, number: int) -> Mapping[str, Any] | str: ...


@dataclass(frozen=True)
class _Listed(Graphs):
    graphs: Sequence[Any]

    def __len__(self) -> int:
        return len(self.graphs)

    def __getitem__(self, number: int) -> Mapping[str, Any] | str:
        found = self.graphs[number]
        if isinstance(found, Mapping):
            return found
        return _of_data(found)


@dataclass(frozen=True)
class _Collated(Graphs):
    """PyG's form: all graphs in one, and where each begins."""

    data: Any
    slices: Mapping[str, Tensor]

    def __len__(self) -> int:
        return min(len(starts) for starts in self.slices.values()) - 1

    def __getitem__(self, number: int) -> Mapping[str, Any] | str:
        from torch_geometric.data.separate import separate

        data = separate(type(self.data), self.data, number, self.slices, decrement=False)
        return _of_data(data)


def _of_data(data: Any) -> Mapping[str, Any] | str:
    if type(data).__name__ == "HeteroData" or not hasattr(data, "to_dict"):
        return f"no graph with one kind of nodes: a {type(data).__name__}"
    found: dict[str, Any] = data.to_dict()
    return found


@lru_cache(maxsize=1)
def _loaded(name: str, stamp: tuple[Any, ...]) -> Graphs:
    found = _safely(name)
    if isinstance(found, tuple) and len(found) in (2, 3) and isinstance(found[1], Mapping):
        data = found[0]
        if isinstance(data, Mapping):
            from torch_geometric.data import Data

            data = (found[2] if len(found) == 3 else Data).from_dict(dict(data))
        if type(data).__name__ == "HeteroData":
            raise CorpusError(
                f"{name} holds graphs with several kinds of nodes; save one kind, as dicts of tensors."
            )
        return _Collated(data, found[1])
    if isinstance(found, Mapping) or hasattr(found, "to_dict"):
        found = [found]
    if not isinstance(found, list | tuple) or not all(
        isinstance(each, Mapping) or hasattr(each, "to_dict") for each in found
    ):
        raise CorpusError(
            f"{name} must hold a list of dicts of tensors or of PyG's Data, or PyG's (data, slices); found "
            f"{type(found).__name__}."
        )
    return _Listed(found)


def _safely(name: str) -> Any:
    """What a file of `torch.save` holds; nothing that it says is run.

    Raises:
        CorpusError: It is no such file, or holds objects that only code could rebuild.
    """
    try:
        with torch.serialization.safe_globals(_plain_classes()):
            if is_url(name):
                with open_binary(name) as file:
                    return torch.load(file, map_location="cpu", weights_only=True)
            return torch.load(name, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(name))
    except pickle.UnpicklingError as error:
        held = re.search(r"GLOBAL (\S+)", str(error))
        what = f"holds {held[1]}" if held else "is a pickle"
        raise CorpusError(
            f"{name} {what}, which is not opened, since that could run any code. Save dicts of tensors: "
            "torch.save([data.to_dict() for data in dataset], path)."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CorpusError(f"{name} is no file of torch.save, or is broken: {first_line(error)}.") from error


def _plain_classes() -> list[Any]:
    """What PyG's data sets are made of: they hold tensors, and do nothing when they are rebuilt."""
    try:
        from torch_geometric.data import Data
        from torch_geometric.data.data import DataEdgeAttr, DataTensorAttr
        from torch_geometric.data.storage import GlobalStorage
    except ImportError:
        return []
    # Those that are allowed already are left out: leaving `safe_globals` would take them away from PyG itself.
    allowed = torch.serialization.get_safe_globals()
    return [each for each in (Data, DataEdgeAttr, DataTensorAttr, GlobalStorage) if each not in allowed]


@lru_cache(maxsize=1)
def _read_tu(folder: str, prefix: str, stamp: tuple[Any, ...]) -> Graphs:
    try:
        from torch_geometric.io import read_tu_data
    except ImportError as error:
        raise CorpusError(f"{folder} needs torch-geometric: pip install polypool[graph].") from error
    try:
        numbers = [int(line) for line in (Path(folder) / f"{prefix}{INDICATOR}").read_text().split()]
        if any(a > b for a, b in pairwise(numbers)):
            raise CorpusError(f"{folder}: the nodes in {prefix}{INDICATOR} must be sorted by graph.")
        data, slices, _ = read_tu_data(folder, prefix)
    except CorpusError:
        raise
    except Exception as error:
        raise CorpusError(f"{folder} cannot be read as a TU data set: {first_line(error)}.") from error
    return _Collated(data, slices)


def _stamp(paths: Sequence[str]) -> tuple[Any, ...]:
    """What changes when a file does, so that a new file is not taken for one that was read before."""
    local = [os.stat(path) for path in paths if not is_url(path)]
    return tuple((found.st_size, found.st_mtime_ns, found.st_ino) for found in local)
