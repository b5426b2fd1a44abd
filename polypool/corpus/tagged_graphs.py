"""Graphs in the text form of the TU sets that was published with GIN, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from torch.nn import functional as F

from polypool.corpus.adapter import Mark
from polypool.corpus.errors import CorpusError
from polypool.corpus.inputs import open_binary
from polypool.corpus.stored_graphs import GraphSource

_CHUNK = 1 << 20


@dataclass(frozen=True)
class TaggedGraphs(GraphSource):
    """The text form of the TU sets that Xu et al. (2019) published with GIN.

    The first line is the number of graphs. A graph is a line `n label`, then for each node a line `tag degree
    neighbour...`, maybe with attributes behind. The features of a node are its tag as a one among zeros, then its
    attributes. Neighbours count as written: an edge stands at both of its ends.

    Attributes:
        name: The path or URL.
        tags: How many tags there are.
    """

    name: str
    tags: int
    features: str

    def scan(self, update: Callable[[bytes], object]) -> Iterator[Mark]:
        update(f"{self.tags} {self.features}".encode())
        with open_binary(self.name) as file:
            for mark, _ in _tagged(file, self.name, update):
                yield mark

    def found(self, mark: Mark, count: int) -> Iterator[Mapping[str, Any] | str]:
        _, offset, line = mark
        with open_binary(self.name) as file:
            file.seek(offset)
            for _ in range(count):
                header = file.readline()
                if not header:
                    return
                nodes = int(header.split()[0])
                lines = [file.readline().split() for _ in range(nodes)]
                try:
                    yield self._graph(lines, line + 1)
                except ValueError as error:
                    yield str(error)
                line += nodes + 1

    def _graph(self, lines: Sequence[Sequence[bytes]], first: int) -> dict[str, Any]:
        tags, attributes = [], []
        starts: list[int] = []
        ends: list[int] = []
        for node, words in enumerate(lines):
            try:
                degree = int(words[1])
                neighbours = [int(word) for word in words[2 : 2 + degree]]
                tags.append(int(words[0]))
                attributes.append([float(word) for word in words[2 + degree :]])
                if len(neighbours) != degree or degree < 0:
                    raise ValueError
            except (ValueError, IndexError):
                raise ValueError(f"line {first + node} must be: tag, degree, its neighbours") from None
            starts += [node] * degree
            ends += neighbours
        if len({len(row) for row in attributes}) > 1:
            raise ValueError(
                f"lines {first} to {first + len(lines) - 1} have different numbers of attributes"
            )
        wide = F.one_hot(torch.tensor(tags, dtype=torch.int64), self.tags).float()
        extra = torch.tensor(attributes, dtype=torch.float32).reshape(len(lines), -1 if lines else 0)
        edges = torch.tensor([starts, ends], dtype=torch.int64)
        return {"x": torch.cat([wide, extra], dim=1), "edge_index": edges}


def _tagged(
    file: BinaryIO, name: str, update: Callable[[bytes], object]
) -> Iterator[tuple[list[int], list[bytes]]]:
    """The mark of each graph (number, offset, line), with the lines of its nodes.

    Raises:
        CorpusError: It is another format, or cut off.
    """
    first = file.readline()
    update(first)
    if not first.strip().isdigit():
        raise CorpusError(f"{name} must begin with the number of its graphs; found {first[:20]!r}.")
    offset, line = len(first), 2
    for number in range(int(first)):
        header = file.readline()
        words = header.split()
        if len(words) != 2 or not words[0].isdigit():
            found = f"{header[:40]!r}" if header else "the end of the file"
            raise CorpusError(
                f"line {line} of {name} must be the nodes and the label of graph {number}; found {found}."
            )
        lines = [file.readline() for _ in range(int(words[0]))]
        if lines and not lines[-1]:
            raise CorpusError(f"{name} ends within graph {number} of {int(first)}.")
        for each in (header, *lines):
            update(each)
        yield [number, offset, line], lines
        offset += sum(map(len, (header, *lines)))
        line += 1 + len(lines)
    if file.read(_CHUNK).strip():
        raise CorpusError(f"{name} goes on after its {int(first)} graphs, at line {line}.")


def largest_tag(path: str) -> int:
    """The largest tag of a file; what is no tag is found when its graph is read."""
    largest = 0
    with open_binary(path) as file:
        for _, lines in _tagged(file, path, lambda _: None):
            tags = (line.split(None, 1)[:1] for line in lines)
            largest = max([largest, *(int(tag[0]) for tag in tags if tag and tag[0].isdigit())])
    return largest
