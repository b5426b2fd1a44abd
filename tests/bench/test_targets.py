"""The targets as the tables state them, by row."""

import pytest

from polypool.bench import targets
from polypool.bench.record import Check, Entry
from polypool.bench.subjects import FUSED, subjects
from polypool.bench.suites import ops
from polypool.bench.targets import BACKWARD, FORWARD, faster_limit, judged, reads_limit
from polypool.bench.workloads import WORKLOADS


@pytest.mark.parametrize(
    ("workload", "subject", "limit"),
    [
        ("packed", "sum", 1.4),
        ("tokens-full", "max", 1.4),
        ("grid-56", "mean", 1.4),
        ("grid-56-last", "min", 1.4),
        ("grid-7", "mean", 3.0),
        ("short", "max", 1.8),
        ("grid-56", "std", 1.5),
        ("grid-14", FUSED, 1.5),
        ("grid-56-last", FUSED, 1.8),
        ("packed", "var", 1.8),
        ("grid-7", FUSED, 2.6),
        ("short", FUSED, 2.6),
        ("unsorted", "mean", 2.3),
        ("unsorted", FUSED, 2.3),
        ("clusters", "max", 2.3),
        ("packed", "logsumexp", 2.0),
        ("unsorted", "softmax", 2.0),
        ("grid-56", "scores", 2.0),
        ("grid-14", "gem3", 2.6),
        ("grid-7", "softmax", 4.5),
        ("packed", "gem", 3.0),
        ("grid-7", "gem", 6.0),
        ("packed", "median", 10.0),
        ("grid-7", "quantiles", 26.0),
        ("packed-bf16", FUSED, 1.8),
        ("packed-fp16", "softmax", 3.0),
        ("tokens", "mean", 1.3),
        ("tokens", "max", 1.3),
        ("tokens", "softmax", 1.3),
        ("tokens", "last", 0.05),
        ("tokens", FUSED, 1.8),
        ("packed", "last", None),
        ("packed", "trimmed", None),
        ("anew", "mean", None),
        ("ones", "mean", None),
        ("packed-fp64", "mean", None),
    ],
)
def test_forward(workload: str, subject: str, limit: float | None) -> None:
    assert reads_limit(subject, WORKLOADS[workload].tags, FORWARD) == limit


@pytest.mark.parametrize(
    ("workload", "subject", "limit"),
    [
        ("packed", "mean", 3.8),
        ("grid-7", FUSED, 3.8),
        ("unsorted", "max", 5.0),
        ("packed", "softmax", 4.5),
        ("tokens", "scores", 4.5),
        ("grid-56", "gem3", 4.5),
        ("packed", "gem", 6.5),
        ("packed", "median", 8.5),
        ("packed", "quantiles", None),
        ("packed", "logsumexp", None),
    ],
)
def test_forward_and_backward(workload: str, subject: str, limit: float | None) -> None:
    assert reads_limit(subject, WORKLOADS[workload].tags, BACKWARD, forward=6.5) == limit


def test_what_is_on_top_of_nothing_has_no_limit() -> None:
    assert reads_limit("median", WORKLOADS["packed"].tags, BACKWARD, forward=None) is None


@pytest.mark.parametrize(
    ("subject", "rival", "direction", "limit"),
    [
        ("softmax", "PyG SoftmaxAggregation", FORWARD, 40),
        ("softmax", "PyG SoftmaxAggregation", BACKWARD, 15),
        ("softmax", "torch, composed", FORWARD, 0.95),
        ("median", "PyG MedianAggregation", FORWARD, 300),
        ("median", "PyG MedianAggregation", BACKWARD, 0.95),
        ("gem", "PyG PowerMeanAggregation", FORWARD, 10),
        ("std", "PyG StdAggregation", BACKWARD, 5),
        (FUSED, "PyG MultiAggregation", FORWARD, 10),
        ("last", "sentence-transformers lasttoken", FORWARD, 20),
        ("mean", "sentence-transformers mean", BACKWARD, 0.95),
        ("GENConv", "PyG's own aggregation", "training step", 3.5),
        ("PNAConv", "PyG's own aggregation", "training step", 1.7),
        ("SqueezeExcite", "torch, four lines", "training step", 0.95),
    ],
)
def test_rivals(subject: str, rival: str, direction: str, limit: float) -> None:
    assert faster_limit(subject, rival, direction) == limit


def test_a_rival_that_does_less_sets_no_target() -> None:
    entry = judged(Entry("F.embedding_bag", "ok", ms=1.0, faster=0.9), "mean", FORWARD)
    assert (entry.checks, entry.why) == ((), "no target: inaccurate")
    held = judged(Entry("F.embedding_bag", "ok", ms=1.0, faster=0.9), "max", FORWARD)
    assert held.checks == (Check("faster", 0.9, 0.95),)
    assert judged(Entry("timm", "missing", "not installed"), "mean", FORWARD).checks == ()


def test_memory_and_doublings() -> None:
    assert targets.extra_limit(200 << 20, set()) == pytest.approx(10 << 20)
    assert targets.extra_limit(10 << 20, {"packed"}) == 4 << 20
    assert targets.extra_limit(10 << 20, {"packed", "by-cells"}) is None
    assert targets.doublings_limit("madvise") == 0.8
    assert targets.doublings_limit("always") == targets.doublings_limit("never") == 1.4


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (Check("reads", 1.4, 1.4), True),
        (Check("reads", 1.41, 1.4), False),
        (Check("faster", 0.95, 0.95), True),
        (Check("faster", 0.94, 0.95), False),
        (Check("beyond_us", -1.0, 8.0), True),
    ],
)
def test_what_passes(check: Check, passed: bool) -> None:
    assert check.passed is passed


def test_every_line_of_the_tables_is_about_some_row() -> None:
    """A subject that is renamed, or a tag that is mistyped, would silently lose its target."""
    cases = [tuple(case.name.split("/")) for case in ops.cases() if case.table == ops.TABLE]
    for line in (*targets.FORWARD_READS, *targets.BACKWARD_READS):
        assert set(line.subjects) <= set(subjects())
        met = [s for w, s in cases if s in line.subjects and set(line.tags) <= WORKLOADS[w].tags]
        assert met, line
