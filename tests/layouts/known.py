"""Layouts whose cells are written out by hand: which element, counted how often."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import torch
from torch import Tensor

import polypool as pp
from tests.support import normal, uniform

Members = list[tuple[int, float]]


@dataclass(frozen=True)
class Known:
    """A layout and its cells.

    Elements are numbered in row-major order over the places of the values (all dimensions but that of the channels).

    Attributes:
        name: The id of the test.
        layout: The layout.
        cells: The members of each cell in order: element and weight. Those of weight 0 are listed too.
        disjoint: Whether `elements` works, and `lift` copies instead of adding up.
        channel_dim: Where the values keep their channels.
    """

    name: str
    layout: pp.Layout
    cells: list[Members]
    disjoint: bool = True
    channel_dim: int = -1

    @property
    def values(self) -> Tensor:
        return self.layout.values

    def rows(self, x: Tensor) -> Tensor:
        """What has the shape of the values as `(N, c)`."""
        last = x.movedim(self.channel_dim, -1)
        return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])

    def matrix(self, pooled: Tensor) -> Tensor:
        """What a pooling gives as `(num_cells, c)`."""
        if pooled.dim() == 2:
            return pooled
        last = pooled.movedim(self.channel_dim, -1)
        return last.reshape(math.prod(last.shape[:-1]), last.shape[-1])

    def real(self) -> Tensor:
        """`(N,)` bool, the elements that are in some cell with a weight above 0."""
        real = torch.zeros(self.rows(self.values).shape[0], dtype=torch.bool)
        for cell in self.cells:
            for element, weight in cell:
                real[element] |= weight > 0
        return real

    def spoilt(self, fill: float) -> Tensor:
        """The values with a number where nothing may be read."""
        hidden = (
            self.real().logical_not().view(self.values.movedim(self.channel_dim, -1).shape[:-1]).unsqueeze(-1)
        )
        return self.values.masked_fill(hidden.movedim(-1, self.channel_dim), fill)

    def integral(self, x: Tensor, mean: bool = False) -> Tensor:
        """`sum w x` over each cell, or divided by `sum w`, by loops."""
        rows = self.rows(x)
        out = rows.new_zeros(len(self.cells), rows.shape[1])
        for k, cell in enumerate(self.cells):
            mass = sum(w for _, w in cell)
            for element, w in cell:
                if w > 0:
                    out[k] += w * rows[element] / (mass if mean else 1.0)
        return out

    def largest(self, x: Tensor) -> Tensor:
        rows = self.rows(x)
        out = rows.new_zeros(len(self.cells), rows.shape[1])
        for k, cell in enumerate(self.cells):
            inside = [element for element, w in cell if w > 0]
            if inside:
                out[k] = rows[inside].amax(0)
        return out

    def lifted(self, y: Tensor) -> Tensor:
        """What `lift` has to give, as rows: each element's cell, or the weighted sum of its cells."""
        out = y.new_zeros(self.rows(self.values).shape[0], y.shape[1])
        for k, cell in enumerate(self.cells):
            for element, w in cell:
                if w > 0:
                    out[element] += y[k] if self.disjoint else w * y[k]
        return out


def ones(cells: list[list[int]]) -> list[Members]:
    return [[(element, 1.0) for element in cell] for cell in cells]


def weighed(cells: list[list[int]], weight: Tensor) -> list[Members]:
    numbers = weight.flatten().tolist()
    return [[(element, numbers[element]) for element in cell] for cell in cells]


def without(cells: list[list[int]], mask: Tensor) -> list[list[int]]:
    real = mask.flatten().tolist()
    return [[element for element in cell if real[element]] for cell in cells]


def some_zero(*shape: int, seed: int = 9) -> Tensor:
    """Weights between 0 and 2, about a quarter of them 0."""
    return 2 * uniform(*shape, seed=seed) * (uniform(*shape, seed=seed + 1) > 0.25)


def whole(batch: int, *space: int) -> list[list[int]]:
    """One cell per picture."""
    size = math.prod(space)
    return [list(range(b * size, (b + 1) * size)) for b in range(batch)]


def products(batch: int, space: tuple[int, ...], along: list[list[list[int]]]) -> list[list[int]]:
    """Cells that are products of one list of places per dimension."""
    place = torch.arange(batch * math.prod(space)).view(batch, *space)
    cells = []
    for b in range(batch):
        for choice in product(*along):
            inside = place[b]
            for dim, places in enumerate(choice):
                inside = inside.index_select(dim, torch.tensor(places, dtype=torch.long))
            cells.append(inside.flatten().tolist())
    return cells


def sliding(length: int, kernel: int, stride: int, padding: int) -> list[list[int]]:
    """The places of each window along one dimension."""
    starts = range(-padding, length + padding - kernel + 1, stride)
    return [[i for i in range(start, start + kernel) if 0 <= i < length] for start in starts]


def windows(
    name: str, grid: pp.Grid, kernel: tuple[int, ...], stride: tuple[int, ...], padding: tuple[int, ...]
) -> Known:
    space = grid.spatial
    cuts = zip(space, kernel, stride, padding, strict=True)
    cells = products(grid.num_cells, space, [sliding(*cut) for cut in cuts])
    disjoint = all(s >= k for s, k in zip(stride, kernel, strict=True))
    members = of_grid(cells, grid)
    return Known(
        name, grid.windows(kernel, stride, padding), members, disjoint, -1 if grid.channels_last else 1
    )


def of_grid(cells: list[list[int]], grid: pp.Grid | pp.Tokens) -> list[Members]:
    if grid.mask is not None:
        cells = without(cells, grid.mask)
    return ones(cells) if grid.weight is None else weighed(cells, grid.weight)


def areas(length: int, count: int) -> list[list[tuple[int, Fraction]]]:
    """The places of each of `count` equal intervals and the part of each place that lies in it."""
    bins = []
    for o in range(count):
        low, high = Fraction(o * length, count), Fraction((o + 1) * length, count)
        parts = ((i, min(high, Fraction(i + 1)) - max(low, Fraction(i))) for i in range(length))
        bins.append([(i, part) for i, part in parts if part > 0])
    return bins


def bins(name: str, grid: pp.Grid, output_size: tuple[int, ...]) -> Known:
    space = grid.spatial
    even = all(s % o == 0 for s, o in zip(space, output_size, strict=True))
    place = torch.arange(grid.num_cells * math.prod(space)).view(grid.num_cells, *space)
    cells: list[Members] = []
    for b in range(grid.num_cells):
        for choice in product(*(areas(s, o) for s, o in zip(space, output_size, strict=True))):
            cell = []
            for corner in product(*choice):
                element = int(place[(b, *(i for i, _ in corner))])
                own = 1.0 if grid.weight is None else float(grid.weight.flatten()[element])
                if grid.mask is None or bool(grid.mask.flatten()[element]):
                    cell.append((element, own * float(math.prod(part for _, part in corner))))
            cells.append(cell)
    return Known(name, grid.bins(output_size), cells, even, -1 if grid.channels_last else 1)


def spans(name: str, parent: pp.Tokens | pp.Packed, listed: list[tuple[int, int, int]]) -> Known:
    if isinstance(parent, pp.Tokens):
        begins = [row * parent.values.shape[1] for row in range(parent.num_cells)]
    else:
        begins = parent.offsets.tolist()
    cells = [list(range(begins[row] + start, begins[row] + end)) for row, start, end in listed]
    seen = [element for cell in cells for element in cell]
    if isinstance(parent, pp.Tokens):
        members = of_grid(cells, parent)
    else:
        members = ones(cells) if parent.weight is None else weighed(cells, parent.weight)
    layout = parent.spans(torch.tensor(listed, dtype=torch.long).view(-1, 3))
    return Known(name, layout, members, len(seen) == len(set(seen)))


def groups(ids: list[int], count: int) -> list[list[int]]:
    return [[i for i, own in enumerate(ids) if own == k] for k in range(count)]


def all_known() -> Iterator[Known]:
    yield from grids()
    yield from regions()
    yield from sequences()
    yield from sets()


def grids() -> Iterator[Known]:
    picture, last = normal(2, 3, 4, 5), normal(2, 4, 5, 3, seed=1)
    mask, weight = uniform(2, 4, 5) > 0.4, some_zero(2, 4, 5)
    yield Known("grid", pp.Grid(picture), ones(whole(2, 4, 5)), channel_dim=1)
    yield Known("grid-1d", pp.Grid(normal(3, 2, 6)), ones(whole(3, 6)), channel_dim=1)
    yield Known("grid-3d", pp.Grid(normal(2, 2, 2, 3, 4)), ones(whole(2, 2, 3, 4)), channel_dim=1)
    yield Known("grid-nhwc", pp.Grid(last, channels_last=True), ones(whole(2, 4, 5)))
    stored = picture.contiguous(memory_format=torch.channels_last)
    yield Known("grid-channels_last-memory", pp.Grid(stored), ones(whole(2, 4, 5)), channel_dim=1)
    masked = pp.Grid(picture, mask)
    yield Known("grid-mask", masked, of_grid(whole(2, 4, 5), masked), channel_dim=1)
    both = pp.Grid(last, mask, channels_last=True, weight=weight)
    yield Known("grid-nhwc-mask-weight", both, of_grid(whole(2, 4, 5), both))
    yield Known("grid-crop", pp.Grid(normal(2, 3, 6, 7)[:, :, 1:5, 2:7]), ones(whole(2, 4, 5)), channel_dim=1)


def regions() -> Iterator[Known]:
    picture, last = normal(2, 3, 4, 5), normal(2, 4, 5, 3, seed=1)
    mask, weight = uniform(2, 4, 5) > 0.4, some_zero(2, 4, 5)
    yield windows("windows-tiles", pp.Grid(normal(2, 3, 4, 6)), (2, 3), (2, 3), (0, 0))
    yield windows("windows-tiles-with-rest", pp.Grid(picture), (2, 2), (2, 2), (0, 0))
    yield windows("windows-gaps", pp.Grid(picture), (1, 2), (3, 3), (0, 0))
    yield windows("windows-gaps-padded", pp.Grid(picture), (2, 2), (3, 2), (1, 1))
    yield windows("windows-overlap", pp.Grid(picture), (3, 2), (1, 1), (1, 0))
    yield windows("windows-mask", pp.Grid(picture, mask), (3, 3), (2, 2), (1, 1))
    yield windows("windows-tiles-mask", pp.Grid(picture, mask), (2, 2), (2, 2), (0, 0))
    yield windows("windows-weight", pp.Grid(picture, weight=weight), (3, 3), (2, 1), (1, 1))
    yield windows("windows-nhwc", pp.Grid(last, channels_last=True), (3, 3), (2, 2), (1, 1))
    yield windows("windows-1d", pp.Grid(normal(2, 3, 7)), (3,), (2,), (1,))
    yield windows("windows-3d", pp.Grid(normal(1, 2, 3, 4, 3)), (2, 3, 2), (1, 2, 1), (1, 0, 1))
    yield bins("bins-even", pp.Grid(normal(2, 3, 4, 6)), (2, 3))
    yield bins("bins-one", pp.Grid(picture), (1, 1))
    yield bins("bins-uneven", pp.Grid(picture), (3, 2))
    yield bins("bins-more-than-pixels", pp.Grid(normal(1, 2, 2, 3)), (5, 3))
    yield bins("bins-mask-weight", pp.Grid(last, mask, channels_last=True, weight=weight), (3, 2))
    yield bins("bins-even-mask", pp.Grid(normal(2, 3, 4, 6), uniform(2, 4, 6) > 0.4), (2, 2))
    yield bins("bins-1d", pp.Grid(normal(2, 3, 7)), (3,))
    yield bins("bins-3d", pp.Grid(normal(1, 2, 3, 4, 3)), (2, 2, 2))


def sequences() -> Iterator[Known]:
    states = normal(3, 5, 2)
    mask, weight = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]]).bool(), some_zero(3, 5)
    yield Known("tokens", pp.Tokens(states), ones(whole(3, 5)))
    masked, both = pp.Tokens(states, mask), pp.Tokens(states, mask, weight=weight)
    yield Known("tokens-mask", masked, of_grid(whole(3, 5), masked))
    yield Known("tokens-weight", pp.Tokens(states, weight=weight), weighed(whole(3, 5), weight))
    yield Known("tokens-mask-weight", both, of_grid(whole(3, 5), both))
    lengths = torch.tensor([2, 5, 0])
    yield Known(
        "tokens-lengths", pp.Tokens.from_lengths(states, lengths), ones([[0, 1], [*range(5, 10)], []])
    )
    listed = [(0, 0, 4), (2, 1, 3), (0, 2, 5), (1, 0, 5), (1, 3, 3), (0, 0, 4)]
    yield spans("tokens-spans", pp.Tokens(states), listed)
    yield spans("tokens-spans-mask", masked, listed)
    yield spans("tokens-spans-weight", both, listed)
    yield spans("tokens-spans-disjoint", masked, [(0, 0, 2), (1, 0, 4), (0, 3, 5), (2, 2, 2)])
    yield spans("tokens-no-spans", pp.Tokens(states), [])
    rows, ends, weight = normal(7, 2), torch.tensor([0, 3, 3, 7]), some_zero(7)
    cells = [[0, 1, 2], [], [3, 4, 5, 6]]
    yield Known("packed", pp.Packed(rows, ends), ones(cells))
    yield Known("packed-weight", pp.Packed(rows, ends.int(), weight=weight), weighed(cells, weight))
    listed = [(2, 1, 4), (0, 0, 3), (2, 0, 2), (1, 0, 0)]
    yield spans("packed-spans", pp.Packed(rows, ends), listed)
    yield spans("packed-spans-weight", pp.Packed(rows, ends, weight=weight), listed)
    yield spans("packed-spans-disjoint", pp.Packed(rows, ends), [(0, 1, 3), (2, 2, 4)])


def sets() -> Iterator[Known]:
    rows, weight = normal(8, 2), some_zero(8)
    graph = [2, 0, 0, 2, 3, 0, 2, 2]
    batch, cells = torch.tensor(graph), groups(graph, 5)
    yield Known("nodes", pp.Nodes(rows), ones([[*range(8)]]))
    yield Known("nodes-one-weight", pp.Nodes(rows, weight=weight), weighed([[*range(8)]], weight))
    yield Known("nodes-unsorted", pp.Nodes(rows, batch, 5), ones(cells))
    yield Known("nodes-read", pp.Nodes(rows, batch), ones(cells[:4]))
    yield Known("nodes-sorted", pp.Nodes(rows, batch.sort().values, 5), ones(groups(sorted(graph), 5)))
    yield Known("nodes-weight", pp.Nodes(rows, batch.int(), 5, weight=weight), weighed(cells, weight))
    own = [1, -1, 0, 1, 3, -1, 0, 1]
    ids = torch.tensor(own)
    yield Known("clusters", pp.Clusters(rows, ids, 5), ones(groups(own, 5)))
    yield Known("clusters-read", pp.Clusters(rows, ids), ones(groups(own, 4)))
    yield Known("clusters-weight", pp.Clusters(rows, ids, 5, weight), weighed(groups(own, 5), weight))
    per_graph = groups([-1 if k < 0 else 4 * g + k for g, k in zip(graph, own, strict=True)], 20)
    yield Known("clusters-batch", pp.Clusters(rows, ids, batch=batch, num_graphs=5), ones(per_graph))
    yield Known("clusters-nodes", pp.Nodes(rows, batch, 5).clusters(ids), ones(per_graph))
    of_weights = pp.Nodes(rows, batch, 5, weight=weight).clusters(ids, 4)
    yield Known("clusters-nodes-weight", of_weights, weighed(per_graph, weight))
    yield from shared_clusters(rows, batch, graph)
    yield Known("clusters-none", pp.Clusters(rows, torch.full((8,), -1)), [])
    yield Known("clusters-empty", pp.Clusters(rows[:0], ids[:0], 2), [[], []])


def shared_clusters(rows: Tensor, batch: Tensor, graph: list[int]) -> Iterator[Known]:
    """Pairs and soft assignments."""
    element, cluster = [0, 3, 3, 7, 1, 0, 6, 5], [1, 0, 1, 1, 2, 0, 1, 0]
    pairs, weight = torch.tensor([element, cluster]), some_zero(8, seed=3)
    listed = [[(e, 1.0) for e, k in zip(element, cluster, strict=True) if k == want] for want in range(4)]
    yield Known("pairs", pp.Clusters(rows, pairs, 4), listed, disjoint=False)
    counted = list(zip(element, cluster, weight.tolist(), strict=True))
    heavy = [[(e, w) for e, k, w in counted if k == want] for want in range(3)]
    yield Known("pairs-weight", pp.Clusters(rows, pairs, weight=weight), heavy, disjoint=False)
    cell = [3 * graph[e] + k for e, k in zip(element, cluster, strict=True)]
    in_graphs = [
        [(e, w) for (e, _, w), k in zip(counted, cell, strict=True) if k == want] for want in range(15)
    ]
    in_batch = pp.Clusters(rows, pairs, 3, weight, batch=batch, num_graphs=5)
    yield Known("pairs-batch-weight", in_batch, in_graphs, disjoint=False)
    node_weight = some_zero(8, seed=5)
    own = node_weight.tolist()
    of_nodes = pp.Nodes(rows, batch, 5, weight=node_weight).clusters(pairs, 3)
    by_node = [[(e, own[e]) for e, k in zip(element, cell, strict=True) if k == want] for want in range(15)]
    yield Known("pairs-nodes-weight", of_nodes, by_node, disjoint=False)
    share = some_zero(8, 3, seed=7)
    soft = [[(i, float(share[i, k])) for i in range(8)] for k in range(3)]
    yield Known("soft", pp.Clusters(rows, share), soft, disjoint=False)
    per_graph = [
        [(i, float(share[i, k])) for i in range(8) if graph[i] == g] for g in range(5) for k in range(3)
    ]
    yield Known(
        "soft-batch", pp.Clusters(rows, share, 3, batch=batch, num_graphs=5), per_graph, disjoint=False
    )
    both = [
        [(i, float(share[i, k]) * own[i]) for i in range(8) if graph[i] == g]
        for g in range(5)
        for k in range(3)
    ]
    soft_nodes = pp.Nodes(rows, batch, 5, weight=node_weight).clusters(share)
    yield Known("soft-nodes-weight", soft_nodes, both, disjoint=False)
    yield Known("soft-no-clusters", pp.Clusters(rows, share[:, :0]), [], disjoint=False)


KNOWN: dict[str, Known] = {known.name: known for known in all_known()}
ONE_OF_EACH = (
    "grid-nhwc-mask-weight",
    "windows-mask",
    "bins-uneven",
    "tokens-mask",
    "tokens-spans-mask",
    "packed-weight",
    "packed-spans",
    "nodes-unsorted",
    "clusters-batch",
    "pairs-weight",
    "soft-batch",
)
