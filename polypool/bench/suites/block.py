"""A Squeeze-and-Excitation block, forward and backward, beside those that people use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

import polypool as pp
from polypool.bench.contest import contest
from polypool.bench.contestant import Contestant
from polypool.bench.data import generator
from polypool.bench.pooled import Options, one_read
from polypool.bench.record import Row
from polypool.bench.suites import model
from polypool.bench.suites.case import Case

BATCH, CHANNELS, SQUEEZED = 32, 256, 16
SIZES = (56, 14)
NAME = "SqueezeExcite"


class Written(nn.Module):
    """What the paper says, in four lines."""

    def __init__(self, block: pp.blocks.SqueezeExcite) -> None:
        super().__init__()
        self.squeeze, self.excite = block.squeeze, block.excite

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excite(self.squeeze(x.mean((2, 3))).relu()).sigmoid()
        return x * gate[:, :, None, None]


def cases() -> list[Case]:
    """Large maps and small ones."""
    return [Case(f"block/{size}", model.TABLE, _runner(size)) for size in SIZES]


def _torchvision(block: pp.blocks.SqueezeExcite) -> Any:
    return _with_weights(import_module("torchvision.ops").SqueezeExcitation(CHANNELS, SQUEEZED), block)


def _timm(block: pp.blocks.SqueezeExcite) -> Any:
    return _with_weights(import_module("timm.layers").SEModule(CHANNELS, rd_channels=SQUEEZED), block)


def _with_weights(other: Any, block: pp.blocks.SqueezeExcite) -> Any:
    """Their two maps are 1 x 1 convolutions."""
    with torch.no_grad():
        for theirs, ours in ((other.fc1, block.squeeze), (other.fc2, block.excite)):
            theirs.weight.copy_(ours.weight[:, :, None, None])
            theirs.bias.copy_(ours.bias)
    return other


OTHERS = (
    ("torchvision SqueezeExcitation", "torchvision", _torchvision),
    ("timm SEModule", "timm", _timm),
)


def _runner(size: int) -> Callable[[Options], Iterator[Row]]:
    def run(options: Options) -> Iterator[Row]:
        batch = max(2, round(BATCH * options.scale * (56 // size) ** 2))
        x = torch.randn(batch, CHANNELS, size, size, generator=generator(0))
        g = torch.rand(x.shape, generator=generator(4)) + 0.5
        with torch.random.fork_rng():
            torch.manual_seed(0)
            block = pp.blocks.SqueezeExcite(CHANNELS, CHANNELS // SQUEEZED)
        written = Written(block)

        def call(module: nn.Module, v: Tensor) -> Tensor:
            out: Tensor = module(v)
            return out

        judge = model.judge(written, call, x, g)
        contestants = [
            Contestant("polypool", model.step(block, call, x, g), judge, compiles=True),
            Contestant("torch, four lines", model.step(written, call, x, g), judge),
        ]
        for name, package, make in OTHERS:
            if why := model.missing(package):
                contestants.append(Contestant.absent(name, why))
            else:
                contestants.append(Contestant(name, model.step(make(block), call, x, g), judge))
        with pp.kernels(options.kernels):
            standing = contest(contestants, one_read(x), options.effort, warm=options.allocator == "warm")
        workload = f"{batch} images of {size} x {size}, {CHANNELS} channels"
        yield model.row(f"block/{size}", NAME, workload, x, standing, options, layout="grid", cells=batch)

    return run
