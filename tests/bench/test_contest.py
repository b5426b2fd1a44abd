"""Taking turns, and what becomes of those who are wrong, fail, are slow or are not there."""

import gc
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from polypool.bench import contest as module
from polypool.bench.contest import contest, due
from polypool.bench.contestant import Contestant, Effort

BRIEF = Effort(seconds=0.001, least=3, most=3)
X = torch.ones(1000)


def is_thousand(results: Sequence[Tensor]) -> str:
    gap = abs(float(results[0]) - 1000)
    return f"off by {gap:g}" if gap else ""


def logging(name: str, log: list[str], value: float = 1000.0) -> Callable[[], Sequence[Tensor]]:
    def step() -> Sequence[Tensor]:
        log.append(name)
        return [torch.tensor(value)]

    return step


def test_everybody_takes_turns_beside_a_read() -> None:
    log: list[str] = []
    a, b = Contestant("a", logging("a", log)), Contestant("b", logging("b", log))
    standing = contest([a, b], lambda: log.append("read"), Effort(seconds=10.0, least=4, most=4))
    first = log.index("read")
    assert log[first:] == ["read", "a", "read", "b"] * 4
    assert log[:first] == ["a", "a", "b", "b", "a", "b"]  # looked at, measured again, warmed up
    assert [entry.samples for entry in standing.entries] == [4, 4]
    assert standing.entries[0].faster is None
    assert standing.entries[1].faster is not None
    assert all(entry.reads is not None and entry.ms is not None for entry in standing.entries)


def test_a_wrong_result_has_no_time() -> None:
    log: list[str] = []
    wrong = Contestant("wrong", logging("wrong", log, 999.0), is_thousand)
    right = Contestant("right", logging("right", log), is_thousand)
    ours, theirs = contest([wrong, right], X.sum, BRIEF).entries
    assert (ours.status, ours.why) == ("wrong", "off by 1")
    assert (ours.ms, ours.reads, ours.extra, ours.faster) == (None, None, None, None)
    assert theirs.status == "ok"
    assert theirs.faster is None  # there is nothing to compare with
    assert log.count("wrong") == 2  # looked at, never timed


def test_judging_last_finds_the_same() -> None:
    wrong = Contestant("wrong", logging("wrong", [], 999.0), is_thousand)
    right = Contestant("right", logging("right", []), is_thousand)
    found = contest([right, wrong], X.sum, BRIEF, judge_last=True).entries
    assert [entry.status for entry in found] == ["ok", "wrong"]
    assert found[1].ms is None


def test_a_failure_is_said() -> None:
    def step() -> Sequence[Tensor]:
        raise RuntimeError("quantile() input tensor is too large\nand more")

    entry = contest([Contestant("a", lambda: [X]), Contestant("b", step)], X.sum, BRIEF).entries[1]
    assert (entry.status, entry.why) == ("failed", "RuntimeError: quantile() input tensor is too large")


def test_who_is_not_installed_is_listed() -> None:
    absent = Contestant.absent("timm", "timm is not installed")
    entry = contest([Contestant("a", lambda: [X]), absent], X.sum, BRIEF).entries[1]
    assert (entry.status, entry.why, entry.ms) == ("missing", "timm is not installed", None)


def test_the_slow_have_one_sample() -> None:
    def slow() -> Sequence[Tensor]:
        time.sleep(0.02)
        return [X]

    calls: list[str] = []
    quick = Contestant("quick", logging("quick", calls))
    effort = Effort(seconds=0.001, least=3, most=3, patience=0.01)
    entry = contest([quick, Contestant("slow", slow)], X.sum, effort).entries[1]
    assert entry.samples == 1
    assert entry.ms is not None
    assert entry.ms >= 20
    assert entry.reads is not None


def test_short_calls_are_timed_many_at_once() -> None:
    log: list[str] = []
    standing = contest([Contestant("a", logging("a", log), calls=50)], None, Effort(1.0, 3, 3))
    assert len(log) >= 2 + 4 * 50
    assert standing.read_ms is None
    assert standing.entries[0].reads is None
    assert (standing.entries[0].ms or 1) < 1


@pytest.mark.parametrize(("rounds", "wanted"), [(9, 9), (9, 1), (15, 4), (7, 3)])
def test_turns_are_spread_evenly(rounds: int, wanted: int) -> None:
    turns = [turn for turn in range(rounds) if due(turn, rounds, wanted)]
    assert len(turns) == wanted
    assert turns[0] == 0
    gaps = [b - a for a, b in pairwise(turns)]
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_effort() -> None:
    effort = Effort(seconds=1.0, least=7, most=15)
    assert effort.rounds(0.001, ours=False) == 15
    assert effort.rounds(0.5, ours=True) == 7
    assert effort.rounds(0.5, ours=False) == 2
    assert effort.rounds(2.0, ours=True) == 3
    assert effort.rounds(5.0, ours=False) == 1


def test_the_garbage_collector_rests_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    states: list[bool] = []
    original = module._take_turns

    def watched(*arguments: object) -> None:
        states.append(gc.isenabled())
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_take_turns", watched)
    contest([Contestant("a", lambda: [X])], X.sum, BRIEF)
    assert states == [False]
    assert gc.isenabled()
