"""What the tables say."""

import io
from dataclasses import replace

from rich.console import Console

from polypool.bench import report
from polypool.bench.record import Check, Entry, Row
from tests.bench.test_record import ROW

OURS = Entry(
    "polypool", "ok", ms=2.1, samples=9, reads=1.05, extra=300_000,
    checks=(Check("reads", 1.05, 1.4), Check("extra", 300_000, 5_100_000)),
)  # fmt: skip
SLOW = Entry("PyG MeanAggregation", "ok", ms=4.2, samples=2, reads=2.1, faster=2.0, extra=10**8,
             checks=(Check("faster", 2.0, 10),))  # fmt: skip
WRONG = Entry("F.embedding_bag", "wrong", "result off by 2.0e-01")


def printed(*rows: Row, width: int = 110) -> str:
    console = Console(width=width, file=io.StringIO(), highlight=False)
    for table in report.tables(rows):
        console.print(table)
    for line in report.summary(rows):
        console.print(line)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(**changes: object) -> Row:
    return replace(ROW, entries=(OURS, SLOW, WRONG), **changes)  # type: ignore[arg-type]


def test_one_table() -> None:
    out = printed(row())
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "forward · packed, cells of about 200 rows · (200 x 8) float32, 1 cells"
    assert "mean 2.10 1.05 ≤ 1.4 ✓ 0.3 ≤ 5.1 ✓" in lines
    assert "PyG MeanAggregation 4.20 2.10 2.00x ≥ 10 ✗ 100.0 2 samples" in lines
    assert any(line.startswith("F.embedding_bag wrong result off") for line in lines)
    assert "2 of 3 targets are reached." in lines
    assert "packed/mean forward: 2.00x as fast as PyG MeanAggregation, target ≥ 10x" in lines
    assert max(map(len, out.splitlines())) <= 110


def test_directions_have_tables_of_their_own() -> None:
    both = row(direction="forward + backward")
    groups = list(report.groups([row(), both, row(operator="max"), replace(both, operator="max")]))
    assert [[r.operator for r in group] for group in groups] == [["mean", "max"], ["mean", "max"]]
    assert [group[0].direction for group in groups] == ["forward", "forward + backward"]


def test_fresh_gradients_are_compared_with_doubling() -> None:
    ours = replace(OURS, checks=(Check("doublings", 1.234, 1.4),))
    out = printed(replace(ROW, table="fresh", entries=(ours, replace(SLOW, name="x * 2", checks=()))))
    assert "ours / x * 2" in out
    assert "1.23 ≤ 1.4" in out


def test_small_calls_are_in_microseconds() -> None:
    ours = Entry("polypool", "ok", ms=0.0123, samples=9, checks=(Check("beyond_us", 3.4, 8.0),))
    out = printed(
        replace(ROW, table="small", entries=(ours,)), replace(ROW, table="small", entries=(ours, SLOW))
    )
    assert "12.30" in out
    assert "+3.4 µs ≤ 8" in out
    assert "reads" in out  # the rival has some


def test_what_grows() -> None:
    rows = [
        replace(ROW, table="elements", shape=(n, 1), entries=(replace(OURS, ms=n / 1e5, checks=()),))
        for n in (10**4, 10**6, 10**7)
    ]
    assert report.growth(rows) == ["mean: time grows as elements^1.00; extra memory 0.3 to 0.3 MB."]
    out = printed(*rows)
    assert "mean, 1,000,000 elements" in out


def test_ours_being_wrong_is_named() -> None:
    bad = replace(ROW, entries=(replace(WRONG, name="polypool"),))
    assert report.broken([row(), bad]) == [bad]
    assert "packed/mean forward: wrong: result off by 2.0e-01" in printed(bad)
