"""A pooling keeps the call contract of PyG's `Aggregation`, and the contract of poolings."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch_geometric import EdgeIndex, Index
from torch_geometric import nn as pyg
from torch_geometric.nn import aggr as theirs

import polypool as pp
from polypool.graph import PoolingAggregation, aggregation
from tests.support import close, identical, integers, normal

INF = float("inf")
#: The same thing in both libraries, as far as the contract's conventions go.
EQUAL: dict[str, Callable[[], Any]] = {
    "sum": theirs.SumAggregation,
    "mean": theirs.MeanAggregation,
    "max": theirs.MaxAggregation,
    "min": theirs.MinAggregation,
    "var": theirs.VarAggregation,
    "std": theirs.StdAggregation,
    "softmax": theirs.SoftmaxAggregation,
    "median": lambda: theirs.QuantileAggregation(0.5),
    "mean+max": lambda: Joined(),
}


class Joined:
    """What `MultiAggregation` does, which refuses the last dimension of a matrix."""

    def __call__(self, x: Tensor, index: Tensor, **how: Any) -> Tensor:
        return torch.cat(
            [part(x, index, **how) for part in (theirs.MeanAggregation(), theirs.MaxAggregation())], -1
        )


def edges(n: int = 40, cells: int = 6) -> tuple[Tensor, Tensor]:
    """Values and the cell of each, in no order, the last cell empty."""
    return normal(n, 5), integers(cells - 1, n)


# The call contract.


@pytest.mark.parametrize("name", EQUAL)
@pytest.mark.parametrize("integer", [torch.int64, torch.int32])
def test_index_in_any_order(name: str, integer: torch.dtype) -> None:
    x, index = edges()
    wanted = EQUAL[name]()(x, index, dim_size=9)
    found = aggregation(name)(x, index.to(integer), dim_size=9)
    assert found.shape == wanted.shape
    assert not found[6:].any()
    close(found, wanted, name)
    close(aggregation(name)(x, index), EQUAL[name]()(x, index), "no dim_size")


@pytest.mark.parametrize("name", [name for name in EQUAL if name != "median"])
@pytest.mark.parametrize("integer", [torch.int64, torch.int32])
def test_ptr(name: str, integer: torch.dtype) -> None:
    x, ptr = normal(12, 5), torch.tensor([0, 4, 4, 5, 12])
    wanted = EQUAL[name]()(x, torch.repeat_interleave(ptr.diff()), dim_size=4)
    close(aggregation(name)(x, ptr=ptr.to(integer)), wanted, name)
    close(aggregation(name)(x, ptr=ptr, dim_size=4), wanted, "dim_size")


SHAPES = [
    ((12,), 0),
    ((12, 5), 0),
    ((12, 5), 1),
    ((3, 12, 5), 1),
    ((12, 3, 5), 0),
    ((3, 5, 12), 2),
    ((2, 3, 12, 5), 2),
]


@pytest.mark.parametrize("name", ["sum", "mean", "max", "std", "softmax", "mean+max"])
@pytest.mark.parametrize(("shape", "dim"), SHAPES)
def test_one_to_four_dimensions(name: str, shape: tuple[int, ...], dim: int) -> None:
    x = normal(*shape)
    index = integers(4, shape[dim])
    wanted = EQUAL[name]()(x, index, dim_size=6, dim=dim)
    for either in (dim, dim - x.dim()):
        found = aggregation(name)(x, index, dim_size=6, dim=either)
        assert found.shape == wanted.shape
        close(found, wanted, f"{name} along {either}")


@pytest.mark.parametrize("shape", [(12, 5), (12, 3, 5), (12, 2, 3, 5)])
def test_memory_formats(shape: tuple[int, ...]) -> None:
    x, index = normal(*shape).transpose(0, -1).contiguous().transpose(0, -1), integers(4, 12)
    close(aggregation("mean")(x, index, dim=0), theirs.MeanAggregation()(x, index, dim=0), "a strided tensor")


def test_positional_arguments_are_pygs() -> None:
    own = list(inspect.signature(PoolingAggregation.forward).parameters)
    assert own == list(inspect.signature(theirs.Aggregation.forward).parameters)
    x, ptr = normal(6, 2), torch.tensor([0, 2, 6])
    identical(aggregation("sum")(x, None, ptr, 2, 0), aggregation("sum")(x, ptr=ptr), "positional")
    identical(
        aggregation("sum")(x, ptr=ptr, max_num_elements=1), aggregation("sum")(x, ptr=ptr), "most elements"
    )


def test_neither_index_nor_ptr_is_one_cell() -> None:
    x = normal(6, 2)
    close(aggregation("mean")(x), x.mean(0, keepdim=True), "one cell")
    assert aggregation("mean")(x[:0]).shape == theirs.MeanAggregation()(x[:0]).shape


def test_nothing_at_all() -> None:
    index = torch.zeros(0, dtype=torch.int64)
    assert aggregation("mean+max")(torch.zeros(0, 3), index, dim_size=4).tolist() == [[0.0] * 6] * 4
    assert aggregation("mean")(torch.zeros(0, 3), index).shape == (0, 3)
    assert aggregation("mean")(torch.zeros(5, 0), integers(2, 5), dim_size=2).shape == (2, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (dict(dim=2), "Encountered invalid dimension '2' of source tensor with 2 dimensions"),
        (dict(dim=-3), "Encountered invalid dimension '-3' of source tensor with 2 dimensions"),
        (
            dict(index=torch.tensor([0, 3, 1]), dim_size=2),
            "Encountered invalid 'dim_size' (got '2' but expected >= '4')",
        ),
        (
            dict(ptr=torch.tensor([0, 3]), dim_size=2),
            "Encountered invalid 'dim_size' (got '2' but expected '1')",
        ),
    ],
)
def test_errors_in_pygs_words(call: dict[str, Any], message: str) -> None:
    for operator in (aggregation("sum"), theirs.SumAggregation()):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            operator(normal(3, 2), **call)


def test_errors_where_pyg_has_none() -> None:
    x = normal(3, 2)
    with pytest.raises(ValueError, match=r"Encountered invalid 'ptr': offsets must end at N = 3; found 2"):
        aggregation("sum")(x, ptr=torch.tensor([0, 2]))
    with pytest.raises(ValueError, match=r"Encountered invalid 'index'.*found -1"):
        aggregation("sum")(x, torch.tensor([0, -1, 1]))
    with pytest.raises(ValueError, match=r"index must have shape \(N,\) = \(3,\); found \(2,\)"):
        aggregation("sum")(x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"`index` argument must be one-dimensional \(got 2 dimensions\)"):
        aggregation("sum")(x, torch.tensor([[0, 1, 1]]))
    with pytest.raises(TypeError, match="index must hold integers; found torch"):
        aggregation("sum")(x, torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(TypeError, match="pool must be a pooling or the name of one; found SumAggregation"):
        aggregation(theirs.SumAggregation())
    with pytest.raises(TypeError, match="settings go with a name; found t"):
        aggregation(pp.build("softmax"), t=2.0)
    with pytest.raises(TypeError, match="softmax has no setting 'semi_grad'"):
        aggregation("softmax", semi_grad=True)


def test_names_and_strings() -> None:
    assert repr(aggregation("mean+max")) == "PoolingAggregation(mean+max)"
    assert (
        str(pyg.SAGEConv(2, 2, aggr=aggregation("mean"))) == "SAGEConv(2, 2, aggr=PoolingAggregation(mean))"
    )


# As a module.


@pytest.mark.parametrize("name", pp.names())
def test_every_pooling_is_an_aggregation(name: str) -> None:
    x, index = edges()
    operator = aggregation(name, channels=5).double()
    wanted = operator.pool(pp.Nodes(x, index, 7))
    close(operator(x, index, dim_size=7), wanted, name)
    for other in (copy.deepcopy(operator), pickle.loads(pickle.dumps(operator))):
        identical(other(x, index, dim_size=7), operator(x, index, dim_size=7), "a copy")


@pytest.mark.parametrize("name", [name for name in pp.names() if pp.card(name).learnable])
def test_reset_parameters(name: str) -> None:
    torch.manual_seed(0)
    operator = aggregation(name, channels=4)
    fresh = {key: value.clone() for key, value in operator.state_dict().items()}
    with torch.no_grad():
        for parameter in operator.parameters():
            parameter.fill_(7.0)
    operator.reset_parameters()
    for key, value in operator.state_dict().items():
        assert value.shape == fresh[key].shape
        assert bool((value != 7.0).all()), key
    if name == "gem":
        identical(operator.state_dict()["pool.p"], torch.tensor([3.0]), "the exponent that it began with")


def test_state_dict_and_half() -> None:
    operator = aggregation("attention", channels=5)
    assert set(operator.state_dict()) == {"pool.score.weight"}
    x, index = edges()
    assert operator.half()(x.half(), index).dtype is torch.float16
    operator.reset_parameters()


# In PyG's layers.


def mlp(a: int, b: int) -> nn.Module:
    return nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Linear(b, b))


CONVS: dict[str, Callable[[Any], Any]] = {
    "GCN": lambda aggr: pyg.GCNConv(8, 6, aggr=aggr),
    "Cheb": lambda aggr: pyg.ChebConv(8, 6, 2, aggr=aggr),
    "SAGE": lambda aggr: pyg.SAGEConv(8, 6, aggr=aggr),
    "SAGE projected": lambda aggr: pyg.SAGEConv(8, 6, aggr=aggr, project=True, normalize=True),
    "Graph": lambda aggr: pyg.GraphConv(8, 6, aggr=aggr),
    "GAT": lambda aggr: pyg.GATConv(8, 6, heads=3, aggr=aggr),
    "GAT averaged": lambda aggr: pyg.GATConv(8, 6, heads=3, concat=False, aggr=aggr),
    "GATv2": lambda aggr: pyg.GATv2Conv(8, 6, heads=2, aggr=aggr),
    "Transformer": lambda aggr: pyg.TransformerConv(8, 6, heads=2, aggr=aggr),
    "SuperGAT": lambda aggr: pyg.SuperGATConv(8, 6, heads=2, aggr=aggr),
    "TAG": lambda aggr: pyg.TAGConv(8, 6, aggr=aggr),
    "GIN": lambda aggr: pyg.GINConv(mlp(8, 6), aggr=aggr),
    "ARMA": lambda aggr: pyg.ARMAConv(8, 6, aggr=aggr),
    "SG": lambda aggr: pyg.SGConv(8, 6, aggr=aggr),
    "Edge": lambda aggr: pyg.EdgeConv(mlp(16, 6), aggr=aggr),
    "Feast": lambda aggr: pyg.FeaStConv(8, 6, heads=2, aggr=aggr),
    "LE": lambda aggr: pyg.LEConv(8, 6, aggr=aggr),
    "ClusterGCN": lambda aggr: pyg.ClusterGCNConv(8, 6, aggr=aggr),
    "GEN": lambda aggr: pyg.GENConv(8, 6, aggr=aggr),
    "EG": lambda aggr: pyg.EGConv(8, 8, aggregators=["sum"], num_heads=2, num_bases=2),
    "MF": lambda aggr: pyg.MFConv(8, 6, aggr=aggr),
    "ResGated": lambda aggr: pyg.ResGatedGraphConv(8, 6, aggr=aggr),
    "General": lambda aggr: pyg.GeneralConv(8, 6, aggr=aggr),
    "FiLM": lambda aggr: pyg.FiLMConv(8, 6, aggr=aggr),
    "AntiSymmetric": lambda aggr: pyg.AntiSymmetricConv(8, pyg.GCNConv(8, 8, aggr=aggr)),
}
#: Those that take something beside nodes and edges.
WITH_MORE: dict[str, tuple[Callable[[Any], Any], Callable[[Tensor, Tensor], tuple[Tensor, ...]]]] = {
    "NN": (
        lambda aggr: pyg.NNConv(8, 6, mlp(3, 48), aggr=aggr),
        lambda x, e: (x, e, normal(e.shape[1], 3, seed=5)),
    ),
    "GINE": (
        lambda aggr: pyg.GINEConv(mlp(8, 6), edge_dim=3, aggr=aggr),
        lambda x, e: (x, e, normal(e.shape[1], 3, seed=5)),
    ),
    "GMM": (
        lambda aggr: pyg.GMMConv(8, 6, dim=3, kernel_size=2, aggr=aggr),
        lambda x, e: (x, e, normal(e.shape[1], 3, seed=5)),
    ),
    "CG": (
        lambda aggr: pyg.CGConv(8, dim=3, aggr=aggr),
        lambda x, e: (x, e, normal(e.shape[1], 3, seed=5)),
    ),
    "PointNet": (
        lambda aggr: pyg.PointNetConv(mlp(11, 6), add_self_loops=False, aggr=aggr),
        lambda x, e: (x, normal(x.shape[0], 3, seed=6), e),
    ),
    "RGCN": (
        lambda aggr: pyg.RGCNConv(8, 6, num_relations=2, aggr=aggr),
        lambda x, e: (x, e, integers(2, e.shape[1], seed=7)),
    ),
}


def graph() -> tuple[Tensor, Tensor]:
    return normal(10, 8), integers(10, 2, 40, seed=3)


def built(make: Callable[[Any], Any], aggr: Any) -> Any:
    torch.manual_seed(0)
    return make(aggr).double().eval()


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
@pytest.mark.parametrize("conv", [name for name in CONVS if name != "EG"])
def test_in_place_of_pygs(conv: str, how: str) -> None:
    x, edge_index = graph()
    ours, own = built(CONVS[conv], aggregation(how)), built(CONVS[conv], how)
    assert isinstance(
        next(m for m in ours.modules() if isinstance(m, PoolingAggregation)), PoolingAggregation
    )
    close(ours(x, edge_index), own(x, edge_index), conv)


@pytest.mark.parametrize("how", ["sum", "mean", "max"])
@pytest.mark.parametrize("conv", WITH_MORE)
def test_in_place_of_pygs_with_more_arguments(conv: str, how: str) -> None:
    make, arguments = WITH_MORE[conv]
    given = arguments(*graph())
    close(built(make, aggregation(how))(*given), built(make, how)(*given), conv)


@pytest.mark.parametrize("conv", [name for name in CONVS if name not in ("EG", "Feast")])
@pytest.mark.parametrize("name", ["softmax", "gem", "median", "logsumexp"])
def test_what_pyg_does_not_have(conv: str, name: str) -> None:
    x, edge_index = graph()
    module = built(CONVS[conv], aggregation(name))
    x.requires_grad_()
    out = module(x, edge_index)
    out.sum().backward()
    assert bool(out.isfinite().all())
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@pytest.mark.parametrize("conv", [pyg.SAGEConv, pyg.GENConv])
@pytest.mark.parametrize("parts", [["mean", "max", "std"], ["sum", "sum"]])
def test_layers_that_size_themselves(conv: Any, parts: list[str]) -> None:
    """SAGEConv and GENConv ask how wide a concatenation is."""
    x, edge_index = graph()
    torch.manual_seed(0)
    own = conv(8, 6, aggr=parts).double().eval()
    torch.manual_seed(0)
    ours = conv(8, 6, aggr=aggregation("+".join(parts))).double().eval()
    close(ours(x, edge_index), own(x, edge_index), "a concatenation")
    assert conv(8, 6, aggr=aggregation("moments")).double()(x, edge_index).shape == (10, 6)


def test_lazy_sizes() -> None:
    x, edge_index = graph()
    for name in ("mean", "mean+max+std"):
        conv = pyg.SAGEConv(-1, 6, aggr=aggregation(name))
        assert conv(x.float(), edge_index).shape == (10, 6)


@pytest.mark.parametrize("towers", [1, 2])
def test_pna(towers: int) -> None:
    """Each by itself in PyG's list, or all in one pass in place of the list."""
    x, edge_index = graph()
    parts, scalers = ["mean", "min", "max", "std"], ["identity", "amplification", "attenuation"]
    degrees = torch.bincount(torch.bincount(edge_index[1], minlength=10))

    def conv(aggregators: list[Any]) -> Any:
        torch.manual_seed(0)
        return pyg.PNAConv(8, 6, aggregators, scalers, degrees, towers=towers).double()

    own, listed, fused = conv(parts), conv([aggregation(part) for part in parts]), conv(parts)
    fused.aggr_module.aggr = aggregation("+".join(parts))
    close(listed(x, edge_index), own(x, edge_index), "a list")
    close(fused(x, edge_index), own(x, edge_index), "one pass")


@pytest.mark.parametrize(
    "mode", ["cat", "proj", "attn", "sum", "mean", "max", "min", "std", "var", "logsumexp"]
)
def test_inside_multi_aggregation(mode: str) -> None:
    x, index = edges()
    more = dict(in_channels=5, out_channels=4) | (dict(num_heads=2) if mode == "attn" else {})

    def joined(parts: list[Any]) -> Any:
        torch.manual_seed(0)
        return theirs.MultiAggregation(
            parts, mode=mode, mode_kwargs=more if mode in ("proj", "attn") else None
        ).double()

    ours = joined([aggregation("mean"), aggregation("max"), "sum"])
    close(ours(x, index), joined(["mean", "max", "sum"])(x, index), mode)
    ours.reset_parameters()


def test_inside_degree_scaler_aggregation() -> None:
    x, index = edges()
    degrees = torch.bincount(torch.bincount(index))
    scalers = ["identity", "linear", "inverse_linear"]
    ours = theirs.DegreeScalerAggregation(aggregation("mean+max"), scalers, degrees)
    own = theirs.DegreeScalerAggregation(["mean", "max"], scalers, degrees)
    close(ours.double()(x, index), own.double()(x, index), "scaled")


def test_heads_share_an_operator_or_have_their_own() -> None:
    x, index = normal(20, 3, 4), integers(5, 20)
    shared = aggregation("attention", channels=4).double()
    wanted = torch.stack([shared(x[:, head], index) for head in range(3)], dim=1)
    close(shared(x, index, dim=0), wanted, "channels of one head")
    gate = nn.Linear(4, 1).double()
    gate.weight.data = shared.pool.score.weight.data
    order = index.argsort(stable=True)
    own = theirs.AttentionalAggregation(gate)(x[order], index[order], dim=0)
    close(shared(x, index, dim=0), own, "PyG's")
    together = aggregation("attention", channels=12).double()
    close(
        together(x, index, dim=0), together(x.flatten(1), index).unflatten(1, (3, 4)), "channels of all heads"
    )
    statistics = aggregation("attentive_stats", channels=4).double()
    wanted = torch.stack([statistics(x[:, head], index) for head in range(3)], dim=1)
    close(statistics(x, index, dim=0), wanted, "two numbers per channel")
    with pytest.raises(ValueError, match="channels that attention was built for"):
        aggregation("attention", channels=5)(x.float(), index, dim=0)


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_bipartite_and_flow(flow: str) -> None:
    x, edge_index = (normal(6, 8), normal(4, 8)), torch.stack([integers(6, 15), integers(4, 15, seed=1)])
    given: Any = x if flow == "source_to_target" else x[0]

    def made(how: Any) -> Any:
        return built(lambda aggr: pyg.GraphConv(8, 6, aggr=aggr, flow=flow), how)

    close(made(aggregation("mean"))(given, edge_index), made("mean")(given, edge_index), flow)


# Structure: what is given is used, and nothing is kept.


class Sorts(TorchDispatchMode):
    """Counts sorts."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func.overloadpacket.__name__ in ("sort", "argsort", "msort", "topk")
        return func(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[Sorts]:
    with Sorts() as sorts:
        yield sorts


def sorted_edges() -> EdgeIndex:
    _, edge_index = graph()
    order = edge_index[1].argsort(stable=True)
    return EdgeIndex(edge_index[:, order], sparse_size=(10, 10), sort_order="col")


def test_one_sort_per_call() -> None:
    x, edge_index = graph()
    conv = pyg.SAGEConv(8, 6, aggr=aggregation("mean+max+std"))
    for _ in range(2):  # the second call as well: nothing was kept
        with counted() as sorts:
            conv(x.float(), edge_index).sum().backward()
        assert sorts.count <= 1
    with pp.kernels("reference"), counted() as sorts:
        conv(x.float(), edge_index)
    assert sorts.count <= 1
    heads, index = normal(40, 3, 4, dtype=torch.float32), integers(6, 40)
    with counted() as sorts:
        aggregation("attention", channels=4)(heads, index, dim=0)  # head by head, on one structure
    assert sorts.count <= 1


def test_no_sort_when_in_order() -> None:
    x, edge_index = graph()
    ordered = sorted_edges()
    conv = pyg.SAGEConv(8, 6, aggr=aggregation("mean+max+std"))
    with counted() as sorts:
        found = conv(x.float(), ordered)
        found.sum().backward()
    assert sorts.count == 0
    close(found.detach(), conv(x.float(), edge_index).detach(), "sorted")
    rows, ptr = normal(12, 3, dtype=torch.float32), torch.tensor([0, 5, 12])
    index = torch.repeat_interleave(ptr.diff())
    with counted() as sorts:
        aggregation("mean+std")(rows, ptr=ptr)
        aggregation("mean+std")(rows, index)
        aggregation("mean+std")(rows, Index(index, dim_size=2, is_sorted=True), dim_size=2)
    assert sorts.count == 0


def test_an_index_of_pyg() -> None:
    x, index = edges()
    wanted = aggregation("mean")(x, index, dim_size=6)
    identical(aggregation("mean")(x, Index(index, dim_size=6), dim_size=6), wanted, "unsorted")
    ordered, order = index.sort(stable=True)
    for size in (None, 6):
        found = aggregation("mean")(x[order], Index(ordered, dim_size=6, is_sorted=True), dim_size=size)
        close(found, wanted[: found.shape[0]], f"sorted, {size}")


def test_a_layout_for_its_structure() -> None:
    x, index = edges()
    layout = pp.Nodes(normal(40, 1), index, 6)
    operator = aggregation("mean+max")
    wanted = operator(x, index, dim_size=6)
    close(operator(x, layout), wanted, "a layout")
    with counted() as sorts:
        close(operator(2 * x, layout), 2 * wanted, "again")
    assert sorts.count == 0
    close(
        operator(x.reshape(40, 5, 1), layout, dim=0),
        operator(x.reshape(40, 5, 1), index, dim_size=6, dim=0),
        "3-D",
    )
    with pytest.raises(ValueError, match="got '4' but expected '6'"):
        operator(x, layout, dim_size=4)


def test_sparse_adjacency() -> None:
    x, edge_index = graph()
    edge_index = edge_index.unique(dim=1)
    adjacency = torch.sparse_coo_tensor(
        edge_index.flip(0), torch.ones(edge_index.shape[1]).double(), (10, 10), check_invariants=True
    )
    for how in ("mean", "max"):
        conv = built(lambda a: pyg.SAGEConv(8, 6, aggr=a), aggregation(how))
        close(conv(x, adjacency.coalesce()), conv(x, edge_index), how)


def test_one_pass_for_several_statistics() -> None:
    from tests.support import counted_passes

    x, index = edges()
    with counted_passes() as passes:
        aggregation("mean+max+std")(x, index)
    assert len(passes) == 1


# Compiled.


class Net(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.first = pyg.SAGEConv(8, 6, aggr=aggregation(name))
        self.second = pyg.GATConv(6, 4, heads=2, aggr=aggregation("max"))
        self.readout = aggregation("mean+max")

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, graphs: int) -> Tensor:
        x = self.first(x, edge_index).relu()
        pooled: Tensor = self.readout(self.second(x, edge_index), batch, dim_size=graphs)
        return pooled


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("mean", "softmax")]


@pytest.mark.parametrize("name", ["mean+max+std", *SLOW])
def test_compiled(name: str) -> None:
    x, edge_index = graph()
    batch = torch.tensor([0] * 4 + [1] * 6)
    torch.manual_seed(0)
    net = Net(name)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    x = x.float()
    wanted = net(x, edge_index, batch, 3)
    (gradients,) = torch.autograd.grad(wanted.sum(), net.first.lin_l.weight)
    found = compiled(x, edge_index, batch, 3)
    close(found.detach(), wanted.detach(), "compiled")
    (again,) = torch.autograd.grad(found.sum(), net.first.lin_l.weight)
    close(again, gradients, "gradients")


@pytest.mark.slow
def test_compiled_with_inductor() -> None:
    x, edge_index = graph()
    batch = torch.tensor([0] * 4 + [1] * 6)
    net = Net("mean+max+std")
    compiled = torch.compile(net, fullgraph=True)
    x = x.float()
    wanted, found = net(x, edge_index, batch, 3), compiled(x, edge_index, batch, 3)
    close(found.detach(), wanted.detach(), "compiled")
    (gradient,) = torch.autograd.grad(wanted.sum(), net.first.lin_l.weight)
    (again,) = torch.autograd.grad(found.sum(), net.first.lin_l.weight)
    close(again, gradient, "gradients")


# What PyG gets wrong.


def test_variance_of_large_mean() -> None:
    x, index = (1e4 + normal(4_000, 2)).float(), integers(4, 4_000)
    wanted = torch.stack([x[index == k].double().var(0, correction=0) for k in range(4)])
    assert bool(((aggregation("var")(x, index).double() - wanted).abs() < 1e-2 * wanted).all())
    assert bool(((theirs.VarAggregation()(x, index) - wanted).abs() > 0.1).any())


def test_mean_of_many_half_rows() -> None:
    ones, index = torch.ones(70_000, 2, dtype=torch.float16), torch.zeros(70_000, dtype=torch.int64)
    assert aggregation("mean")(ones, index).tolist() == [[1.0, 1.0]]
    assert not bool((theirs.MeanAggregation()(ones, index) == 1).all())


def test_ptr_keeps_inf() -> None:
    x, ptr = torch.tensor([[INF], [1.0], [-INF], [-INF], [2.0]]), torch.tensor([0, 2, 4, 5])
    assert aggregation("max")(x, ptr=ptr).flatten().tolist() == [INF, -INF, 2.0]
    assert aggregation("min")(x, ptr=ptr).flatten().tolist() == [1.0, -INF, 2.0]
    assert theirs.MaxAggregation()(x, ptr=ptr).flatten().tolist() != [INF, -INF, 2.0]


def test_the_same_statistic_twice() -> None:
    x, index = edges()
    var = aggregation("var")(x, index)
    wanted = torch.cat([var, var], dim=1)
    close(aggregation("var+var")(x, index), wanted, "ours")
    close(
        theirs.MultiAggregation([aggregation("var"), aggregation("var")])(x, index), wanted, "ours in PyG's"
    )
    assert not torch.allclose(theirs.MultiAggregation(["var", "var"])(x, index), wanted)


def test_quantiles_beyond_1e5_rows() -> None:
    n, q = 150_000, 0.123_456
    x, index = torch.arange(float(n), dtype=torch.float64)[:, None], (torch.arange(n) >= 100_001).long()
    wanted = torch.tensor([[q * 100_000], [100_001 + q * 49_998]], dtype=torch.float64)
    close(aggregation("quantile", q=q)(x, index), wanted, "quantile")


def test_a_graph_does_not_see_its_batch_mates() -> None:
    x = normal(9, 4)
    for name in pp.names():
        operator = aggregation(name, channels=4).double()
        alone = operator(x[:5], torch.zeros(5, dtype=torch.int64))
        both = operator(torch.cat([x[:5], 100 * x[5:]]), torch.tensor([0] * 5 + [1] * 4))
        close(both[:1], alone, name)


# Where the conventions differ, as the table in docs/graphs/from-pyg.md says.


def test_temperature_is_the_inverse() -> None:
    x, index = edges()
    close(aggregation("softmax", t=0.5)(x, index), theirs.SoftmaxAggregation(t=2.0)(x, index), "t")


def test_power_mean() -> None:
    x, index = edges()
    x = x.abs() + 0.1
    own = theirs.PowerMeanAggregation(p=3.0)(x, index)
    close(aggregation("gem", p=3.0, learn=False)(x, index), own, "gem")
    close(aggregation("power", p=3.0)(x, index), own, "power")


def test_median_between_two() -> None:
    x, index = torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0])
    assert aggregation("median")(x, index).item() == 2.0
    assert theirs.MedianAggregation()(x, index).item() == 1.0
    assert theirs.QuantileAggregation(0.5)(x, index).item() == 2.0


def test_small_standard_deviations() -> None:
    x, index = torch.tensor([[0.0], [0.002]]), torch.tensor([0, 0])
    assert aggregation("std")(x, index).item() == pytest.approx(0.001)
    assert theirs.StdAggregation()(x, index).item() == 0.0


def test_several_quantiles() -> None:
    x, index = edges()
    ours = aggregation(pp.build("concat", pools=[pp.build("quantile", q=q) for q in (0.25, 0.75)]))
    close(ours(x, index), theirs.QuantileAggregation([0.25, 0.75])(x, index), "side by side")


def test_learned_temperatures_learn_the_inverse() -> None:
    """Equal at first, and after a step no more: the parameter is 1 / t there."""
    x, index = edges()
    ours, own = aggregation("softmax", learn=True).double(), theirs.SoftmaxAggregation(learn=True).double()
    close(ours(x, index), own(x, index), "at first")
    ours(x, index).square().sum().backward()
    own(x, index).square().sum().backward()
    close(ours.pool.t.grad, -own.t.grad, "the slope at t = 1")


def test_ties_give_the_gradient_to_the_first() -> None:
    x = torch.tensor([[1.0], [1.0]], requires_grad=True)
    index = torch.tensor([0, 0])
    (ours,) = torch.autograd.grad(aggregation("max")(x, index).sum(), x)
    (own,) = torch.autograd.grad(theirs.MaxAggregation()(x, index).sum(), x)
    assert ours.tolist() == [[1.0], [0.0]]
    assert own.tolist() == [[0.5], [0.5]]


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
@pytest.mark.parametrize("ordered", [True, False])
def test_float64_gives_the_very_numbers(name: str, ordered: bool) -> None:
    """A network trained in float64 with PyG's readout goes on as it was, whatever the sizes of its graphs."""
    x, index = normal(3000, 37).double(), integers(6, 3000)
    index = index.sort().values if ordered else index
    both = [x.clone().requires_grad_() for _ in range(2)]
    wanted, found = EQUAL[name]()(both[0], index), aggregation(name)(both[1], index)
    identical(found, wanted, name)
    way = torch.randn_like(wanted)
    wanted.backward(way)
    found.backward(way)
    assert both[0].grad is not None
    assert both[1].grad is not None
    identical(both[1].grad, both[0].grad, f"{name}, gradient")
