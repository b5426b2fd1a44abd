"""When to say that the machine was busy."""

import pytest

from polypool.bench import contention
from polypool.bench.contention import Usage


def test_a_quiet_machine_is_not_mentioned() -> None:
    assert contention.before_the_start(0.2, 2) == []
    assert contention.before_the_start(None, 2) == []
    assert contention.afterwards([0.01, 0.02], [0.05, 0.1], [(100 << 20, 2.0), (100 << 20, 2.5)]) == []


def test_load_before_the_start() -> None:
    (said,) = contention.before_the_start(1.9, 2)
    assert "load average 1.9 on 2 cores" in said


@pytest.mark.parametrize(
    ("shares", "scatter", "reads", "part"),
    [
        ([0.0, 0.4], [], [], "Other processes took 40% of the machine during 1 of 2 rows"),
        ([], [0.5, 0.1, 0.1], [], "scattered by more than 25% within 1 of 3 rows"),
        ([], [], [(100_000_000, 2.0), (100_000_000, 8.0)], "one read ran at 12 to 50 GB/s"),
    ],
)
def test_what_rows_tell(
    shares: list[float], scatter: list[float], reads: list[tuple[int, float]], part: str
) -> None:
    (said,) = contention.afterwards(shares, scatter, reads)
    assert part in said


def test_the_share_of_others() -> None:
    before = Usage(wall=10.0, everybody=100.0, ours=50.0)
    # in one second on two cores everybody used 1.8 seconds, this process 1.3
    after = Usage(wall=11.0, everybody=101.8, ours=51.3)
    assert contention.others(before, after, 2) == pytest.approx(0.25)
    assert contention.others(before, Usage(10.1, 100.1, 50.0), 2) is None  # too short to count
    assert contention.others(None, after, 2) is None
    assert contention.others(before, Usage(11.0, 101.0, 51.5), 2) == 0.0  # counters tick coarsely


def test_counters_can_be_read() -> None:
    now = contention.usage()
    assert now is None or now.everybody > 0
