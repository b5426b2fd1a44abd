"""`polypool check` on names and on a user's own file."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from polypool import registry
from polypool.cli import main
from tests.support import forgets

Capture = pytest.CaptureFixture[str]
QUICK = ("--only", "order_in_cell", "--only", "card_homogeneity")

MINE = '''
import polypool as pp

@pp.register("cli_middle", homogeneity=1, constant_preserving=True)
class Good(pp.Pooling):
    """The middle of the range."""
    stats = (pp.Max(), pp.Min())
    def finish(self, s):
        return (s[pp.Max()] + s[pp.Min()]) / 2

@pp.register("cli_off_by_one", homogeneity=1)
class Bad(pp.Pooling):
    """Claims degree 1 and has none."""
    def reduce(self, cells):
        return cells.mean(cells.rows) + 1

class Needy(pp.Pooling):
    """Cannot be built from nothing."""
    def __init__(self, depth):
        super().__init__()
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a module of poolings in it; what they register is taken back."""
    (tmp_path / "cli_pools.py").write_text(MINE)
    (tmp_path / "cli_broken.py").write_text("def f(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    forgets(monkeypatch, registry._poolings)
    yield tmp_path
    sys.modules.pop("cli_pools", None)


def test_a_name_passes_with_a_row_for_each_check(capsys: Capture) -> None:
    assert main(["check", "mean", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "order_in_cell" in out
    assert "mean keeps the contract: 2 passed, 0 failed, 0 skipped" in out


def test_a_plus_string_with_parameters_passes(capsys: Capture) -> None:
    assert main(["check", "mean+attention", "--only", "order_in_cell"]) == 0
    assert "keeps the contract" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_class_of_ones_own_passes(capsys: Capture) -> None:
    assert main(["check", "cli_pools:Good", *QUICK]) == 0
    assert "cli_pools:Good keeps the contract" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_a_broken_class_is_exit_code_1(capsys: Capture) -> None:
    assert main(["check", "cli_pools:Bad", *QUICK]) == 1
    out = capsys.readouterr().out
    assert "degree 1 claimed" in out
    assert "cli_pools:Bad breaks it: 1 passed, 1 failed" in out


@pytest.mark.usefixtures("folder")
def test_several_show_what_failed_and_a_total(capsys: Capture) -> None:
    assert main(["check", "mean", "cli_pools:Bad", *QUICK]) == 1
    out = capsys.readouterr().out
    assert "order_in_cell" not in out
    assert "1 of 2 keep the contract." in out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("cli_broken:X", "cannot import cli_broken: SyntaxError"),
        ("cli_pools:Nope", "Poolings in it: Good, Bad, Needy."),
        ("cli_pools:Needy", "depth"),
    ],
)
def test_what_cannot_be_checked_is_one_line(target: str, part: str, capsys: Capture) -> None:
    assert main(["check", target]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert part in said
