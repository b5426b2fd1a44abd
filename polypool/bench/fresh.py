"""What a fresh gradient costs: forward and backward beside `x * 2`, which writes a fresh tensor too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

import polypool as pp
from polypool.bench import allocator, pooled, targets, truth
from polypool.bench.contestant import Contestant
from polypool.bench.figures import median, paired
from polypool.bench.record import Check, Row
from polypool.bench.targets import BACKWARD

DOUBLE = "x * 2"


def step_row(place: pooled.Field) -> Row:
    """Forward and backward beside `x * 2`: what a fresh gradient costs with the default allocator."""
    with pp.kernels(place.options.kernels):
        call = pooled.ours(place)
        g = pooled.cotangent(place, call)
        x = place.data.values
        fetched: list[int] = []

        def double() -> Sequence[Tensor]:
            before = allocator.page_faults()
            results = [x * 2]
            fetched.append(allocator.page_faults() - before)
            return results

        def judge(results: Sequence[Tensor]) -> str:
            definition = truth.of_module(place.module)
            true = truth.find(definition, place.data, place.inputs, g, thorough=place.options.thorough)
            return true.judge(results)

        us = pooled.contestant("polypool", place, call, judge, g, compiles=True)
        standing = pooled.measure(place, [us, Contestant(DOUBLE, double)], judge_last=True)
    mine, other = standing.entries
    times = paired(standing.times[0], standing.times[1])
    # In huge pages there are few to count.
    pages = allocator.pages(x.numel() * x.element_size())
    fresh = median(fetched) > pages / 2 or allocator.huge_pages() == "always"
    if times is not None and mine.status == "ok" and place.options.targets and fresh:
        limit = targets.doublings_limit(allocator.huge_pages())
        mine = replace(mine, checks=(Check("doublings", times, limit),))
    share = len(truth.spread_out(place.data.cells, thorough=place.options.thorough)) / place.data.cells
    row = pooled.described(place, standing, [mine, other], BACKWARD, share)
    return replace(row, note="" if fresh else "The allocator had the memory of x * 2 at hand: no target.")
