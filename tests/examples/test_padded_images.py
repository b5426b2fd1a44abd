"""The example on images of different sizes in one padded batch: what its masks promise, and its command."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.support import close

SCRIPT = Path(__file__).parents[2] / "examples" / "padded_images.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = spec_from_file_location("padded_images", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules["padded_images"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_a_masked_network_says_the_same_in_any_padding(example: ModuleType) -> None:
    images, _ = example.scaled_digits(0, 12)
    assert len({tuple(image.shape) for image in images}) > 6
    change = {}
    for masked in (True, False):
        torch.manual_seed(0)
        model = example.Network(masked).eval().requires_grad_(False)
        alone = torch.cat([model(*example.padded([image], max(image.shape[1:]))) for image in images])
        logits = [model(*example.padded(images, side)) for side in (20, 21, 40)]
        if masked:
            for found in logits:
                close(found, alone, "alone and in a batch")
        change[masked] = max(float((found - alone).abs().max()) for found in logits)
    assert change[False] > 100 * change[True]


def test_padding_may_hold_anything_when_it_is_masked(example: ModuleType) -> None:
    """The first convolution reads its neighbours, so it gets zeros; all that pools would not mind."""
    images, _ = example.scaled_digits(1, 6)
    batch, mask = example.padded(images, 20)
    assert (batch.masked_select(~mask[:, None]) == 0).all()
    assert mask.sum((1, 2)).tolist() == [image.shape[1] * image.shape[2] for image in images]


def test_what_is_compared(example: ModuleType) -> None:
    runs = example.compare(seeds=1, epochs=1, limit=90, quiet=True)
    assert [(run.masked, run.seed) for run in runs] == [(True, 0), (False, 0)]
    masked, counted = runs
    assert set(masked.accuracy.values()) == {masked.accuracy["alone"]}
    assert set(masked.moved.values()) == {0.0}
    assert masked.change < 1e-4
    assert counted.change > 0.01
    assert example.table(runs).row_count == 2


def test_the_same_weights_to_begin_with(example: ModuleType) -> None:
    networks = []
    for masked in (True, False):
        torch.manual_seed(3)
        networks.append(example.Network(masked))
    for a, b in zip(*(network.state_dict().values() for network in networks), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_the_command(tmp_path: Path) -> None:
    out = tmp_path / "runs.json"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--seeds", "1", "--epochs", "1", "--images", "60", "--json", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "masked" in done.stdout
    assert len(json.loads(out.read_text(encoding="utf-8"))) == 2


@pytest.mark.slow
def test_what_counts_padding_is_right_in_no_other(example: ModuleType) -> None:
    masked, counted = example.compare(seeds=1, epochs=20, limit=None, quiet=True)
    assert masked.accuracy["alone"] > 0.85
    assert counted.accuracy["as in training"] > 0.6
    assert counted.accuracy["twice the padding"] < masked.accuracy["twice the padding"] - 0.3
    assert counted.accuracy["alone"] < masked.accuracy["alone"] - 0.1
