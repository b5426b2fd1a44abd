"""Poolings by themselves: every operator on the main layouts, the ones with targets on all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from polypool.bench import fresh, pooled
from polypool.bench.pooled import Options
from polypool.bench.record import Row
from polypool.bench.subjects import FUSED, Subject, subjects
from polypool.bench.suites import small
from polypool.bench.suites.case import Case
from polypool.bench.targets import BACKWARD_READS, FORWARD_READS
from polypool.bench.workloads import WORKLOADS, Workload

TABLE = "pooling"
FRESH = "fresh"

#: Where everything runs that can; what no target speaks of has its gradient taken on packed rows alone.
MAIN = ("packed", "tokens", "grid-56")
SPOKEN_OF = {name for each in (*FORWARD_READS, *BACKWARD_READS) for name in each.subjects}

#: Elsewhere, what the targets speak of.
CORE = ("mean", "max", FUSED, "logsumexp", "softmax", "scores", "gem3", "gem", "median", "quantiles")
SOME = ("mean", "max", FUSED, "softmax", "scores", "gem3", "median")
FEW = ("mean", "max", FUSED, "softmax")
OTHERS: dict[str, Sequence[str]] = {
    "grid-7": ("sum", "min", "std", *CORE),
    "grid-14": CORE,
    "grid-56-last": SOME,
    "tokens-full": SOME,
    "short": ("sum", "min", "std", *SOME),
    "nodes": ("sum", *FEW, "median"),
    "unsorted": ("sum", "min", "std", *SOME),
    "anew": ("mean", "softmax"),
    "clusters": FEW,
}
#: Forward alone: ties make gradients in half precision a matter of taste, and the others are there for the result.
FORWARD_ONLY: dict[str, Sequence[str]] = {
    "packed-bf16": ("sum", *FEW),
    "packed-fp16": FEW,
    "grid-56-bf16": FEW,
    "packed-fp64": FEW,
    "ones": ("sum", "mean"),
}
#: The default allocator: a step beside `x * 2`.
FRESH_ON: dict[str, Sequence[str]] = {
    "packed": ("mean", "max", FUSED, "softmax", "gem3"),
    "tokens": ("mean", "max", "softmax"),
    "grid-56": ("mean", "max", FUSED, "softmax"),
}


def cases() -> list[Case]:
    """All of them; workload by workload, since the data of the last one are kept."""
    known = subjects()
    listed = []
    for name in MAIN:
        able = [s for s in known.values() if WORKLOADS[name].tags & set(s.kinds)]
        listed += [
            _pooling(WORKLOADS[name], s, backward=name == "packed" or s.name in SPOKEN_OF) for s in able
        ]
    for backward, chosen in ((True, OTHERS), (False, FORWARD_ONLY)):
        for name, subset in chosen.items():
            listed += [_pooling(WORKLOADS[name], known[s], backward=backward) for s in subset]
    for name, subset in FRESH_ON.items():
        listed += [_doubling(WORKLOADS[name], known[s]) for s in subset]
    return [*small.cases(), *listed]


def _pooling(workload: Workload, subject: Subject, *, backward: bool) -> Case:
    name = f"{workload.name}/{subject.name}"

    def run(options: Options) -> Iterator[Row]:
        place = pooled.field(TABLE, name, workload, subject, options)
        yield from pooled.rows(place, backward=backward)

    return Case(name, TABLE, run)


def _doubling(workload: Workload, subject: Subject) -> Case:
    name = f"fresh/{workload.name}/{subject.name}"

    def run(options: Options) -> Iterator[Row]:
        yield fresh.step_row(pooled.field(FRESH, name, workload, subject, options))

    return Case(name, FRESH, run, allocator="default", alone=True)
