"""The Graph U-Net of the examples runs with every select and learns what plain message passing cannot reach."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch
from rich.progress import Progress
from typer.testing import CliRunner

from polypool.graph import select


@pytest.fixture(scope="module")
def example() -> ModuleType:
    path = Path(__file__).parents[2] / "examples" / "graph_u_net.py"
    spec = spec_from_file_location("graph_u_net", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(set(select.names()) - {"given"}))
def test_a_step_with_every_select(example: ModuleType, name: str) -> None:
    torch.manual_seed(0)
    net = example.GraphUNet(2, 8, 3, name, 2)
    data = example.rings(0, 3, 12)
    scores, extra = net(data)
    assert scores.shape == (36, 3)
    (scores.square().mean() + extra).backward()
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters() if p.grad is not None)


def test_the_coarse_levels_reach_further(example: ModuleType) -> None:
    right = {}
    for levels, layers in ((3, 0), (0, 6)):
        torch.manual_seed(1)
        net = example.GraphUNet(2, 16, 3, "k_mis", levels, layers)
        with Progress(disable=True) as progress:
            right[levels] = example.train(net, 40, 48, progress, "")
    assert right[3] > right[0] + 0.05


def test_the_command(example: ModuleType) -> None:
    import typer

    app = typer.Typer()
    app.command()(example.main)
    done = CliRunner().invoke(app, ["--epochs", "1", "--nodes", "12", "--depth", "1", "--select", "graclus"])
    assert done.exit_code == 0, done.output
    assert "U-Net, graclus" in done.output
