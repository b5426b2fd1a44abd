"""No test of this folder hangs: jobs have processes, locks and pipes to wait for, and what waits is ended."""

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

#: How long a test may take, in seconds; far more than it does, also on a machine that is busy.
QUICK, SLOW = 60, 900


@contextmanager
def _ended_after(seconds: int) -> Iterator[None]:
    def end(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"the test takes longer than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _ended_after(QUICK):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _ended_after(QUICK if item.get_closest_marker("slow") is None else SLOW):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    with _ended_after(QUICK):
        return (yield)
