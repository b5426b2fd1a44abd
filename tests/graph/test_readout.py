"""Readouts over several layers, over edges, and over several types of nodes."""

import copy
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.nn import GINConv, JumpingKnowledge, SAGEConv, global_mean_pool, to_hetero

import polypool as pp
from polypool.graph import HeteroReadout, JoinLayers, Readout, global_pool, graph_of_edges
from tests.support import close, identical, integers, normal


def layers(count: int = 3) -> tuple[list[Tensor], Tensor]:
    return [normal(12, 4, seed=k) for k in range(count)], integers(3, 12)


# Jumping knowledge.


@pytest.mark.parametrize("mode", ["cat", "max"])
@pytest.mark.parametrize("pool", ["sum", "mean", "max", "mean+std"])
def test_as_pygs_jumping_knowledge(mode: str, pool: str) -> None:
    xs, batch = layers()
    wanted = global_pool(JumpingKnowledge(mode)(xs), batch, pool=pool)
    close(Readout(pool, layers=mode)(xs, batch), wanted, mode)


def test_last_and_sum() -> None:
    xs, batch = layers()
    close(Readout("mean", layers="last")(xs, batch), global_mean_pool(xs[-1], batch), "last")
    close(Readout("mean", layers="sum")(xs, batch), global_mean_pool(xs[0] + xs[1] + xs[2], batch), "sum")
    identical(Readout("mean")(xs[-1], batch), Readout("mean")(xs, batch), "one tensor is the last layer")


def test_attention_over_layers() -> None:
    xs, batch = layers()
    readout = Readout("mean", layers="attention", channels=4, num_layers=3).double()
    with torch.no_grad():
        readout.join.place.copy_(torch.tensor([0.0, 50.0, 0.0]))
        readout.join.score.weight.zero_()
    close(readout(xs, batch), global_mean_pool(xs[1], batch), "one layer takes all")
    with torch.no_grad():
        readout.join.place.zero_()
    close(readout(xs, batch), global_mean_pool(sum(xs) / 3, batch), "equal shares")
    with torch.no_grad():
        readout.join.score.weight.copy_(normal(1, 4))
    scores = torch.stack([x @ normal(1, 4)[0] for x in xs], 1).softmax(1)
    wanted = sum(scores[:, k, None] * xs[k] for k in range(3))
    close(readout(xs, batch), global_mean_pool(wanted, batch), "by their content")
    readout(xs, batch).sum().backward()
    assert all(parameter.grad is not None for parameter in readout.join.parameters())


def test_layers_of_different_width() -> None:
    xs, batch = [normal(12, 2), normal(12, 5)], integers(3, 12)
    readout = Readout("mean+max", layers="cat")
    assert readout(xs, batch).shape == (3, 14)
    assert readout.out_channels([2, 5]) == 14
    with pytest.raises(
        ValueError, match=r"layers must have one shape for 'sum'; found \(12, 2\) and \(12, 5\)"
    ):
        Readout(layers="sum")(xs, batch)


def test_out_channels() -> None:
    for mode in ("last", "cat", "sum", "max", "attention"):
        readout = Readout("mean+std", layers=mode, channels=4, num_layers=3).double()
        xs, batch = layers()
        assert readout(xs, batch).shape[1] == readout.out_channels(4)
        assert repr(readout) == f"Readout(mean+std, layers={mode})"
    with pytest.raises(ValueError, match="in_channels must be a list"):
        Readout(layers="cat").out_channels(4)


def test_learned_poolings_get_their_channels() -> None:
    xs, batch = layers()
    for mode, width in (("last", 4), ("cat", 12), ("attention", 4)):
        readout = Readout("gated_attention", layers=mode, channels=4, num_layers=3).double()
        assert readout.pool.channels == width
        assert readout(xs, batch).shape == (3, width)


def test_wrong_arguments() -> None:
    xs, batch = layers()
    with pytest.raises(
        ValueError, match="layers must be one of last, cat, sum, max, attention; found 'lstm'"
    ):
        Readout(layers="lstm")
    with pytest.raises(TypeError, match='layers="attention" needs channels and num_layers'):
        Readout(layers="attention", channels=4)
    with pytest.raises(ValueError, match="layers must hold 2 outputs, as num_layers says; found 3"):
        Readout(layers="sum", num_layers=2)(xs, batch)
    with pytest.raises(ValueError, match="at least one layer; found none"):
        Readout()([], batch)
    with pytest.raises(ValueError, match="a layout already says"):
        Readout()(pp.Nodes(xs[0], batch), batch)
    with pytest.raises(TypeError, match="attention needs channels"):
        Readout("attention")


def test_the_rest_of_the_contract() -> None:
    xs, batch = layers()
    order = batch.argsort(stable=True)
    ptr = torch.tensor([0, *torch.bincount(batch, minlength=3).cumsum(0).tolist()])
    readout = Readout("mean+max", layers="cat")
    wanted = readout(xs, batch)
    close(readout([x[order] for x in xs], ptr=ptr), wanted, "ptr")
    close(readout(xs, batch, dim_size=5)[:3], wanted, "size")
    close(readout(xs, pp.Nodes(xs[0], batch)), wanted, "a layout for the structure")
    close(
        Readout("max")(pp.Nodes(xs[0], batch)),
        global_pool(xs[0], batch, pool="max"),
        "a layout with its values",
    )
    close(readout(xs), global_pool(torch.cat(xs, 1), None, pool="mean+max"), "one graph")
    close(readout([x[None] for x in xs], batch)[0], wanted, "a batch of its own in front")


def test_as_a_module() -> None:
    xs, batch = layers()
    readout = Readout("attention", layers="attention", channels=4, num_layers=3).double()
    for other in (copy.deepcopy(readout), pickle.loads(pickle.dumps(readout))):
        identical(other(xs, batch), readout(xs, batch), "a copy")
    before = readout(xs, batch)
    readout.reset_parameters()
    assert not torch.equal(readout(xs, batch), before)
    assert "join.place" in readout.state_dict()


def test_compiled() -> None:
    xs, batch = layers()
    readout = Readout("mean+std", layers="attention", channels=4, num_layers=3).double()
    compiled = torch.compile(readout, backend="aot_eager", fullgraph=True)
    close(compiled(xs, batch, dim_size=4).detach(), readout(xs, batch, dim_size=4).detach(), "compiled")


def test_as_the_aggregation_of_a_layer() -> None:
    conv = SAGEConv(4, 2, aggr=Readout("mean")).double()
    torch.manual_seed(0)
    own = SAGEConv(4, 2, aggr="mean").double()
    own.load_state_dict(conv.state_dict())
    x, edge_index = normal(6, 4), integers(6, 2, 12)
    close(conv(x, edge_index), own(x, edge_index), "aggr=")


# Edges.


def batch_of(count: int = 3) -> Any:
    graphs = [
        Data(
            x=normal(4, 3, seed=k),
            edge_index=integers(4, 2, 5 * k, seed=k),
            edge_attr=normal(5 * k, 2, seed=9 + k),
        )
        for k in range(count)
    ]
    return Batch.from_data_list(graphs)


def test_edges_of_each_graph() -> None:
    data = batch_of()
    readout = Readout("sum")
    found = readout(data.edge_attr, data.batch, edge_index=data.edge_index)
    assert found.shape == (3, 2)
    assert not found[0].any()  # a graph without edges
    for k in (1, 2):
        close(found[k], data[k].edge_attr.sum(0), f"graph {k}")
    close(readout(data.edge_attr, data.batch, dim_size=4, edge_index=data.edge_index)[:3], found, "size")
    close(
        readout(data.edge_attr, None, edge_index=data.edge_index),
        data.edge_attr.sum(0, keepdim=True),
        "one graph",
    )
    torch.testing.assert_close(graph_of_edges(data.edge_index, data.batch), data.batch[data.edge_index[0]])


def test_the_last_graphs_without_edges_count() -> None:
    edge_index, batch = torch.tensor([[0], [1]]), torch.tensor([0, 0, 1, 2])
    found = Readout("mean")(torch.tensor([[5.0]]), batch, edge_index=edge_index)
    assert found.tolist() == [[5.0], [0.0], [0.0]]


def test_edges_that_are_wrong() -> None:
    batch = torch.tensor([0, 0, 1])
    with pytest.raises(ValueError, match=r"edge_index must have shape \(2, E\); found \(3, 2\)"):
        graph_of_edges(torch.zeros(3, 2, dtype=torch.int64), batch)
    with pytest.raises(ValueError, match="edge 1 joins nodes 1 and 2 of graphs 0 and 1"):
        graph_of_edges(torch.tensor([[0, 1], [1, 2]]), batch)
    with pytest.raises(ValueError, match=r"edge_index must be in \[0, 3\)"):
        graph_of_edges(torch.tensor([[0], [3]]), batch)
    with pytest.raises(ValueError, match="edge_index goes with index"):
        Readout()(torch.ones(1, 1), ptr=torch.tensor([0, 1]), edge_index=torch.tensor([[0], [1]]))


# Several types of nodes.

TYPES = ["paper", "author"]
RELATIONS = [("author", "writes", "paper"), ("paper", "cites", "paper"), ("paper", "written_by", "author")]


def hetero() -> Any:
    data = HeteroData()
    data["paper"].x, data["author"].x = (
        normal(6, 4, dtype=torch.float32),
        normal(5, 4, seed=1, dtype=torch.float32),
    )
    data["paper"].batch, data["author"].batch = (
        torch.tensor([0, 0, 0, 1, 1, 2]),
        torch.tensor([0, 0, 1, 1, 1]),
    )
    sizes = {"paper": 6, "author": 5}
    for k, (a, relation, b) in enumerate(RELATIONS):
        data[a, relation, b].edge_index = torch.stack(
            [integers(sizes[a], 9, seed=k), integers(sizes[b], 9, seed=k + 5)]
        )
    return data


class Net(nn.Module):
    """Written for one type of nodes."""

    def __init__(self, readout: nn.Module) -> None:
        super().__init__()
        self.first = SAGEConv(4, 4)
        self.second = SAGEConv(4, 4)
        self.readout = readout

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        h1 = self.first(x, edge_index).relu()
        h2 = self.second(h1, edge_index).relu()
        pooled: Tensor = self.readout([h1, h2], batch, dim_size=3)
        # PyG cannot trace a model with typed results that ends with an aggregation, not even with its own.
        return pooled * 1


@pytest.mark.parametrize("mode", ["last", "cat", "sum", "attention"])
@pytest.mark.parametrize("aggr", ["sum", "mean"])
def test_to_hetero(mode: str, aggr: str) -> None:
    data = hetero()
    net = to_hetero(Net(Readout("gem", layers=mode, channels=4, num_layers=2)), (TYPES, RELATIONS), aggr=aggr)
    found = net(data.x_dict, data.edge_index_dict, data.batch_dict)
    assert found.shape == (3, 8 if mode == "cat" else 4)
    states: dict[str, list[Tensor]] = {}

    def note(who: str) -> Any:
        return lambda _, args: states.__setitem__(who, args[0])

    hooks = [net.readout[one].register_forward_pre_hook(note(one)) for one in TYPES]
    identical(net(data.x_dict, data.edge_index_dict, data.batch_dict), found, "again")
    for hook in hooks:
        hook.remove()
    each = [net.readout[one](states[one], data[one].batch, dim_size=3) for one in TYPES]
    wanted = each[0] + each[1] if aggr == "sum" else (each[0] + each[1]) / 2
    close(found, wanted, aggr)
    found.sum().backward()
    assert net.readout["paper"].pool.p is not net.readout["author"].pool.p
    assert all(net.readout[one].pool.p.grad is not None for one in TYPES)


def test_to_hetero_of_one_tensor() -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = SAGEConv(4, 4, aggr=pp.graph.aggregation("mean+max"))
            self.readout = pp.graph.aggregation("mean")

        def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
            return self.readout(self.conv(x, edge_index), batch, dim_size=3) * 1

    data = hetero()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = to_hetero(Plain(), (TYPES, RELATIONS))
    assert net(data.x_dict, data.edge_index_dict, data.batch_dict).shape == (3, 4)


def test_hetero_readout() -> None:
    data = hetero()
    readout = HeteroReadout(TYPES, "mean+max")
    found = readout(data.x_dict, data.batch_dict)
    parts = [global_pool(data[one].x, data[one].batch, 3, "mean+max") for one in TYPES]
    identical(found, torch.cat(parts, 1), "cat")
    assert not found[2, 8:].any()  # the third graph has no author
    layouts = {one: pp.Nodes(data[one].x, data[one].batch, 3) for one in TYPES}
    identical(readout(layouts), found, "layouts")
    lists = {one: [data[one].x, data[one].x] for one in TYPES}
    identical(
        HeteroReadout(TYPES, "mean+max", join="sum")(lists, data.batch_dict), parts[0] + parts[1], "sum"
    )
    assert HeteroReadout(TYPES, join="mean")(data.x_dict).shape == (1, 4)
    assert readout.out_channels(4) == found.shape[1] == readout.out_channels({"paper": 4, "author": 4})


def test_hetero_readout_has_parameters_for_each_type() -> None:
    data = hetero()
    readout = HeteroReadout(TYPES, pp.build("attention", channels=4))
    first, second = (parameter for name, parameter in readout.named_parameters() if "score" in name)
    assert not torch.equal(first, second)
    assert readout(data.x_dict, data.batch_dict).shape == (3, 8)
    wide = HeteroReadout(["a.b", "c d"], "attention", channels={"a.b": 2, "c d": 4})
    assert wide({"a.b": torch.ones(3, 2), "c d": torch.ones(1, 4)}).shape == (1, 6)
    identical(
        copy.deepcopy(readout)(data.x_dict, data.batch_dict), readout(data.x_dict, data.batch_dict), "a copy"
    )
    readout.reset_parameters()
    assert not torch.equal(first, second)


def test_hetero_readout_with_wrong_arguments() -> None:
    data = hetero()
    readout = HeteroReadout(TYPES)
    with pytest.raises(ValueError, match="x must hold the types paper, author; found paper"):
        readout({"paper": data["paper"].x}, data.batch_dict)
    with pytest.raises(ValueError, match="batch must hold the types"):
        readout(data.x_dict, {"paper": data["paper"].batch})
    with pytest.raises(ValueError, match="all types must have the same graphs; found 2 and 3"):
        readout({one: pp.Nodes(data[one].x, data[one].batch) for one in TYPES})
    with pytest.raises(ValueError, match="types must be a list of different node types"):
        HeteroReadout("paper")
    with pytest.raises(ValueError, match="join must be one of cat, sum, mean; found 'max'"):
        HeteroReadout(TYPES, join="max")


def test_gin_reads_out_every_layer() -> None:
    """The readout of the GIN paper: a sum per layer, side by side."""
    xs, batch = layers()
    mlp = nn.Linear(4, 4).double()
    conv, edge_index = GINConv(mlp), integers(12, 2, 30)
    xs = [xs[0], conv(xs[0], edge_index)]
    wanted = torch.cat([global_pool(x, batch, pool="sum") for x in xs], dim=1)
    close(Readout("sum", layers="cat")(xs, batch), wanted, "GIN")
    assert JoinLayers("cat").out_channels([4, 4]) == 8
