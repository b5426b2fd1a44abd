"""Nodes of graphs, and PyG's own objects."""

from __future__ import annotations

import pytest
import torch

import polypool as pp
from tests.support import close, identical, integers, normal


def test_position_aware_operators_follow_the_order_of_the_nodes() -> None:
    """A batch in any order: the first node of a graph is the one with the smallest index."""
    x, batch = normal(8, 2), torch.tensor([2, 0, 2, 1, 0, 0, 2, 1])
    nodes = pp.Nodes(x, batch, 4)
    zero = torch.zeros(1, 2, dtype=torch.float64)
    identical(pp.build("first")(nodes), torch.cat([x[[1, 3, 0]], zero]), "first")
    identical(pp.build("last")(nodes), torch.cat([x[[5, 7, 6]], zero]), "last")
    wanted = torch.stack(
        [(x[1] + 2 * x[4] + 3 * x[5]) / 6, (x[3] + 2 * x[7]) / 3, (x[0] + 2 * x[2] + 3 * x[6]) / 6]
    )
    close(pp.build("position_weighted")(nodes), torch.cat([wanted, zero]), "position_weighted")
    assert nodes.cells.positions.flatten().tolist() == [0, 0, 1, 0, 1, 2, 2, 1]


def test_positions_pass_over_nodes_of_weight_0() -> None:
    x, batch = normal(6, 2), torch.tensor([1, 0, 1, 0, 0, 1])
    nodes = pp.Nodes(x, batch, 2, weight=torch.tensor([0.0, 0.5, 1.0, 0.0, 3.0, 2.0]))
    close(pp.build("first")(nodes), x[[1, 2]], "first")
    close(pp.build("last")(nodes), x[[4, 5]], "last")
    wanted = torch.stack([(0.5 * x[1] + 6 * x[4]) / 6.5, (x[2] + 4 * x[5]) / 5])
    close(pp.build("position_weighted")(nodes), wanted, "position_weighted")


@pytest.mark.parametrize("name", pp.names())
def test_a_permutation_of_the_nodes_moves_with_its_batch(name: str) -> None:
    """Sorting is not needed: a stable shuffle of whole graphs changes nothing."""
    pool = pp.build(name, channels=4).double()
    x, batch = normal(40, 4), integers(5, 40)
    order = batch.argsort(stable=True)
    close(pool(pp.Nodes(x, batch, 5)), pool(pp.Nodes(x[order], batch[order], 5)), name)


def test_one_graph_without_a_batch() -> None:
    x = normal(5, 2)
    for nodes in (pp.Nodes(x), pp.Nodes(x, num_graphs=1)):
        assert nodes.num_cells == 1
        close(pp.build("mean")(nodes), x.mean(0, keepdim=True), "mean")


def test_the_number_of_graphs_is_read_from_the_batch() -> None:
    assert pp.Nodes(normal(3, 2), torch.tensor([4, 0, 4])).num_cells == 5
    assert pp.Nodes(normal(3, 2), torch.tensor([4, 0, 4])).counts.tolist() == [1, 0, 0, 0, 2]
    assert pp.Nodes(normal(0, 2), torch.zeros(0, dtype=torch.long)).num_cells == 0


class TestPyG:
    """`Nodes.from_data` on PyG's own classes."""

    def test_a_graph(self) -> None:
        from torch_geometric.data import Data

        x = normal(4, 3)
        nodes = pp.Nodes.from_data(Data(x=x, edge_index=torch.zeros(2, 0, dtype=torch.long)))
        assert nodes.num_cells == 1
        close(pp.build("sum")(nodes), x.sum(0, keepdim=True), "sum")

    def test_a_batch_with_a_graph_without_nodes_at_its_end(self) -> None:
        from torch_geometric.data import Batch, Data

        parts = [normal(n, 3, seed=n) for n in (2, 0, 5, 0)]
        nodes = pp.Nodes.from_data(Batch.from_data_list([Data(x=part) for part in parts]))
        assert nodes.counts.tolist() == [2, 0, 5, 0]
        close(pp.build("sum")(nodes), torch.stack([part.sum(0) for part in parts]), "sum")

    def test_a_graph_that_carries_a_batch(self) -> None:
        """A `Data` with a batch vector of one's own has no `num_graphs`."""
        from torch_geometric.data import Data

        x, batch = normal(4, 3), torch.tensor([0, 0, 2, 1])
        nodes = pp.Nodes.from_data(Data(x=x, batch=batch))
        assert nodes.counts.tolist() == [2, 1, 1]

    def test_weights(self) -> None:
        from torch_geometric.data import Data

        x, weight = normal(4, 3), torch.tensor([1.0, 0.0, 2.0, 1.0])
        nodes = pp.Nodes.from_data(Data(x=x), weight=weight)
        close(pp.build("sum")(nodes), (weight[:, None] * x).sum(0, keepdim=True), "sum")

    def test_without_features(self) -> None:
        from torch_geometric.data import Data

        with pytest.raises(ValueError, match=r"data must hold node features x; found none\. Pass Nodes"):
            pp.Nodes.from_data(Data(num_nodes=3))

    def test_integer_features(self) -> None:
        from torch_geometric.data import Data

        with pytest.raises(TypeError, match=r"values must be of a floating dtype; found torch.int64"):
            pp.Nodes.from_data(Data(x=torch.ones(3, 2, dtype=torch.long)))

    @pytest.mark.parametrize(
        ("ours", "theirs"), [("sum", "sum"), ("mean", "mean"), ("max", "max"), ("min", "min")]
    )
    def test_the_same_as_pyg_where_pyg_is_right(self, ours: str, theirs: str) -> None:
        from torch_geometric.nn import aggr

        x, batch = normal(30, 3, dtype=torch.float32), integers(4, 30).sort().values
        wanted = aggr.MultiAggregation([theirs])(x, batch, dim_size=4)
        close(pp.build(ours)(pp.Nodes(x, batch, 4)), wanted, ours)
