"""The figures to reach, as data: each table names what it applies to, from the special to the general.

Reads are times over that of `x.sum()` on the same bytes, with two threads, float32 unless said, at least 64 MB, medians
of at least seven. A row that nothing here applies to has no target.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace

from polypool.bench.record import Check, Entry
from polypool.bench.subjects import FUSED

SIMPLE = ("sum", "mean", "max", "min")
SPREAD = ("var", "std", "moments", FUSED)
EXPONENTIAL = ("softmax", "scores")
GEM3 = ("gem3",)
ANY_POWER = ("gem",)

FORWARD, BACKWARD = "forward", "forward + backward"


@dataclass(frozen=True)
class Reads:
    """At most so many reads of the input, for these subjects where the workload has all the tags."""

    limit: float
    subjects: tuple[str, ...]
    tags: tuple[str, ...] = ()
    #: Whether the limit is what comes on top of the forward pass.
    on_top: bool = False


#: Forward. The first line that applies counts.
FORWARD_READS = (
    # half precision, against one read of the same bytes
    Reads(1.8, SIMPLE + SPREAD, ("half",)),
    Reads(3.0, ("softmax",), ("half",)),
    # masked tokens, against one read of the whole padded tensor
    Reads(1.3, ("mean", "max", "softmax"), ("masked",)),
    Reads(0.05, ("last",), ("masked",)),
    # an unsorted, reused order
    Reads(2.3, SIMPLE + SPREAD, ("unsorted",)),
    # sum, mean; min and max with positions
    Reads(3.0, SIMPLE, ("7x7",)),
    Reads(1.8, SIMPLE, ("short",)),
    Reads(1.4, SIMPLE),
    # any fused subset with var or std
    Reads(2.6, SPREAD, ("7x7",)),
    Reads(2.6, SPREAD, ("short",)),
    Reads(1.5, SPREAD, ("contiguous",)),
    Reads(1.8, SPREAD, ("rows",)),
    # log-sum-exp, softmax, attention with given scores, gem with p = 3
    Reads(4.5, ("logsumexp", *EXPONENTIAL, *GEM3), ("7x7",)),
    Reads(2.6, ("logsumexp", *EXPONENTIAL, *GEM3), ("14x14",)),
    Reads(2.0, ("logsumexp", *EXPONENTIAL, *GEM3)),
    # gem with any p
    Reads(6.0, ANY_POWER, ("7x7",)),
    Reads(3.0, ANY_POWER),
    # order
    Reads(10.0, ("median",)),
    Reads(26.0, ("quantiles",)),
)

#: Forward and backward together, with a warm allocator for everybody.
BACKWARD_READS = (
    Reads(5.0, SIMPLE + SPREAD, ("unsorted",)),
    Reads(3.8, SIMPLE + SPREAD),
    Reads(4.5, EXPONENTIAL + GEM3),
    Reads(6.5, ANY_POWER),
    Reads(2.0, ("median",), on_top=True),
)

#: Workloads that no target in reads speaks of: what they show is something else.
APART = {"anew", "scaling", "ones", "double"}

#: Forward and backward with the default allocator and a fresh gradient above 32 MB: our time over that of `x * 2`.
DOUBLINGS = 1.4
DOUBLINGS_WITH_HUGE_PAGES = 0.8

#: Peak memory beyond input, result and gradient: this share of the input, or so many bytes if that is more.
EXTRA_SHARE, EXTRA_BYTES = 0.05, 4 << 20

#: One small call (32, 64, 7, 7) through layout and module: microseconds beyond `x.mean((2, 3))`.
SMALL_CALL = {"without gradients": 8.0, "with gradients": 15.0}


@dataclass(frozen=True)
class Faster:
    """At least so many times faster than a rival whose name begins like this."""

    limit: float
    rival: str
    subjects: tuple[str, ...]
    direction: str = FORWARD


#: Nobody may be faster than this, on any row.
NEVER_SLOWER = 0.95

#: Rivals that are as fast as we are because they do less; they are listed with what they get wrong.
INACCURATE = {("F.embedding_bag", subject): "no target: inaccurate" for subject in ("sum", "mean")}

FASTER = (
    Faster(40, "PyG", ("softmax",)),
    Faster(15, "PyG", ("softmax",), BACKWARD),
    Faster(300, "PyG", ("median",)),
    Faster(10, "PyG", ("gem", "gem3", "std", FUSED)),
    Faster(5, "PyG", ("gem", "gem3", "std", FUSED), BACKWARD),
    Faster(20, "sentence-transformers", ("mean", "max", "last")),
    # a training step, 20k nodes, 200k edges, 64 channels
    Faster(3.5, "PyG", ("GENConv",), "training step"),
    Faster(1.7, "PyG", ("PNAConv",), "training step"),
)


def reads_limit(subject: str, tags: Set[str], direction: str, forward: float | None = None) -> float | None:
    """How many reads the subject may take there; None where nothing is said.

    Args:
        subject: Its name.
        tags: Those of the workload.
        direction: Forward alone, or both.
        forward: What forward alone took, which some limits are on top of.
    """
    if APART & tags:
        return None
    for each in FORWARD_READS if direction == FORWARD else BACKWARD_READS:
        if subject in each.subjects and set(each.tags) <= tags:
            if not each.on_top:
                return each.limit
            return None if forward is None else forward + each.limit
    return None


def extra_limit(input_bytes: int, tags: Set[str]) -> float | None:
    """How much memory a call may hold beyond input, result and gradient.

    None where the number of cells is what grows, up to one for each row: their statistics are as large as the input.
    """
    return None if "by-cells" in tags else max(EXTRA_SHARE * input_bytes, EXTRA_BYTES)


def faster_limit(subject: str, rival: str, direction: str) -> float:
    """How many times faster than a rival we have to be."""
    for each in FASTER:
        if subject in each.subjects and rival.startswith(each.rival) and direction == each.direction:
            return each.limit
    return NEVER_SLOWER


def doublings_limit(huge_pages: str) -> float:
    """How many times `x * 2` a step may take; huge pages help us alone where they come only to who asks."""
    return DOUBLINGS_WITH_HUGE_PAGES if huge_pages == "madvise" else DOUBLINGS


def of_ours(entry: Entry, limit: float | None, extra: float | None) -> tuple[Check, ...]:
    """Our own checks, of what could be measured."""
    checks = []
    if limit is not None and entry.reads is not None:
        checks.append(Check("reads", entry.reads, limit))
    if extra is not None and entry.extra is not None:
        checks.append(Check("extra", entry.extra, extra))
    return tuple(checks)


def judged(entry: Entry, subject: str, direction: str) -> Entry:
    """A rival's entry with whether we are fast enough beside it, or why that does not count."""
    if entry.faster is None:
        return entry
    remark = INACCURATE.get((entry.name, subject))
    if remark is not None:
        return replace(entry, why=remark)
    return replace(
        entry, checks=(Check("faster", entry.faster, faster_limit(subject, entry.name, direction)),)
    )
