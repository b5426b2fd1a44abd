"""The example that trains a small ResNet with and without each block."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
import typer
from typer.testing import CliRunner

import polypool as pp

SCRIPT = Path(__file__).parents[2] / "examples" / "squeeze_excite.py"
# The network is trained in one worker.
pytestmark = pytest.mark.xdist_group("squeeze_excite")


@pytest.fixture(scope="module")
def example() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("squeeze_excite_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_networks_start_alike(example: ModuleType) -> None:
    """The same convolutions whatever the block, and other ones for another seed."""
    plain = example.network(example.PLAIN, None, seed=1).state_dict()
    for name in pp.blocks.names():
        state = example.network(name, None, seed=1).state_dict()
        assert len(state) > len(plain) or name == "gather_excite"
        for key, value in plain.items():
            assert torch.equal(state[key], value), (name, key)
    other = example.network(example.PLAIN, None, seed=2).state_dict()
    assert not torch.equal(other["body.0.weight"], plain["body.0.weight"])


def test_it_learns_and_counts(example: ModuleType) -> None:
    budget = example.Budget(epochs=4, seeds=2, scans=500, rounds=3)
    ticks: list[str] = []
    plain, se = example.compare(["squeeze_excite"], "max", budget, ticks.append)
    assert ticks == [example.PLAIN, "squeeze_excite"] * 2
    assert plain.name == example.PLAIN
    assert sum(plain.accuracies) / 2 > 0.3  # guessing gives 0.1
    assert plain.accuracies != se.accuracies
    # Two linear maps with constants, C to C / 4 and back, at 16, 32 and 32 channels.
    assert se.parameters - plain.parameters == sum(2 * c * (c // 4) + c // 4 + c for c in (16, 32, 32))
    assert plain.step > 0
    assert plain.times == 1
    shown = example.table([plain, se], budget)
    assert shown.row_count == 2
    differences = list(shown.columns[2].cells)
    mean = 50 * sum(a - b for a, b in zip(se.accuracies, plain.accuracies, strict=True))
    assert differences[0] == ""
    assert str(differences[1]).startswith(f"{mean:+.2f} ± ")


def test_the_command(example: ModuleType) -> None:
    app = typer.Typer()
    app.command()(example.main)
    threads = torch.get_num_threads()
    try:
        done = CliRunner().invoke(app, ["--blocks", "eca", "--epochs", "1", "--seeds", "1", "--scans", "100"])
        assert done.exit_code == 0, done.output
        assert "eca" in done.output
        assert example.PLAIN in done.output
        wrong = CliRunner().invoke(app, ["--blocks", "ecaa"])
        assert wrong.exit_code == 2
        assert "no block is named 'ecaa'" in " ".join(wrong.output.split())
    finally:
        torch.set_num_threads(threads)
