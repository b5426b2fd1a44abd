"""A bar is shown where someone watches, and nowhere else."""

import io

import pytest
from rich.console import Console

from polypool.demo import tour
from polypool.demo.report import Section


@pytest.mark.parametrize("terminal", [True, False])
def test_the_bar_is_for_terminals(terminal: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=100)
    section = Section("k", "t", "i")

    def work(tick: object) -> Section:
        assert callable(tick)
        tick()
        return section

    assert tour._with_progress("training", 1, work, console) is section
    assert ("training" in screen.getvalue()) is terminal
