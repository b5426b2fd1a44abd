"""`global_pool` beside PyG's three functions."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, global_add_pool, global_max_pool, global_mean_pool

import polypool as pp
from polypool import registry
from polypool.graph import global_pool
from tests.support import close, forgets, identical, integers, normal

Function = Callable[..., Tensor]
THEIRS: dict[str, Function] = {"sum": global_add_pool, "mean": global_mean_pool, "max": global_max_pool}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("size", [None, 7])
@pytest.mark.parametrize("shape", [(20,), (20, 3), (2, 20, 3)])
def test_with_a_batch(name: str, size: int | None, shape: tuple[int, ...]) -> None:
    x, batch = normal(*shape), integers(5, 20)
    wanted, found = THEIRS[name](x, batch, size), global_pool(x, batch, size, name)
    assert found.shape == wanted.shape
    close(found, wanted, name)


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("shape", [(20,), (20, 3), (2, 20, 3), (2, 4, 20, 3)])
def test_without_a_batch(name: str, shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    wanted, found = THEIRS[name](x, None), global_pool(x, None, pool=name)
    assert found.shape == wanted.shape
    close(found, wanted, name)


def test_mean_unless_told_otherwise() -> None:
    x, batch = normal(20, 3), integers(5, 20)
    identical(global_pool(x, batch), global_pool(x, batch, None, "mean"), "the default")


def test_empty_graphs_and_no_nodes() -> None:
    x, batch = torch.tensor([[1.0], [-3.0]]), torch.tensor([1, 1])
    for name in ("sum", "mean", "max", "std", "softmax", "median"):
        found = global_pool(x, batch, 3, name)
        assert found[0].item() == found[2].item() == 0
        assert global_pool(x[:0], batch[:0], 2, name).tolist() == [[0.0], [0.0]]
    assert global_pool(x[:0], None).tolist() == [[0.0]]


def test_a_module_and_a_layout() -> None:
    x, batch = normal(20, 4, dtype=torch.float32), integers(5, 20)
    pool = pp.build("attention", channels=4)
    identical(global_pool(x, batch, 6, pool), pool(pp.Nodes(x, batch, 6)), "a module")
    identical(global_pool(x, pp.Nodes(x, batch, 6), pool="max"), global_pool(x, batch, 6, "max"), "a layout")
    identical(
        global_pool(x, batch, 6, "mean+max"), pp.build("mean+max")(x, batch=batch, num_graphs=6), "wide"
    )


def test_a_name_cannot_hold_parameters() -> None:
    x, batch = normal(20, 4), integers(5, 20)
    for name in ("gem", "attention", "mean+attention"):
        with pytest.raises(
            ValueError, match=rf"{re.escape(name)} has parameters, which would be new at each"
        ):
            global_pool(x, batch, pool=name)
    with pytest.raises(ValueError, match="no pooling is named 'average'"):
        global_pool(x, batch, pool="average")


def test_a_name_that_gets_another_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell of a notebook that registers a pooling and is run twice."""
    forgets(monkeypatch, registry._poolings)
    x = torch.tensor([[1.0], [3.0]])
    for factor in (2.0, 5.0):

        class Scaled(pp.Pooling):
            stats = (pp.Sum(),)
            scale = factor

            def finish(self, s: Any) -> Tensor:
                scaled: Tensor = self.scale * s[pp.Sum()]
                return scaled

        pp.register("scaled")(Scaled)
        assert global_pool(x, None, pool="scaled").item() == factor * 4
        assert global_pool(x, None, pool="scaled+max").tolist() == [[factor * 4, 3.0]]


def test_errors() -> None:
    x = normal(4, 2)
    with pytest.raises(ValueError, match="size must be 1 without a batch; found 3"):
        global_pool(x, None, 3)
    with pytest.raises(ValueError, match=r"invalid 'dim_size' \(got '2' but expected >= '4'\)"):
        global_pool(x, torch.tensor([0, 1, 2, 3]), 2)
    with pytest.raises(TypeError, match="index must hold integers"):
        global_pool(x, torch.ones(4))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = GCNConv(3, 4)

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, graphs: int) -> Tensor:
        return global_pool(self.conv(x, edge_index).relu(), batch, graphs, "mean+max")


def test_compiled_in_a_small_network() -> None:
    net = Net()
    x, edge_index, batch = (
        normal(6, 3, dtype=torch.float32),
        integers(6, 2, 12),
        torch.tensor([0, 0, 0, 1, 1, 2]),
    )
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    close(compiled(x, edge_index, batch, 3).detach(), net(x, edge_index, batch, 3).detach(), "compiled")
