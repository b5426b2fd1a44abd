"""`polypool lesson`: finding the pages, running one, and mistakes in one line."""

import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from polypool.cli import lesson, main

Capture = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[2]

PAGE = '''
"""
A small page
============

What it says.
"""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure


def measure() -> dict[str, float]:
    return {"a share [of one]": 0.25, "a count": 11170.0, "no limit": float("inf")}


def draw(result: dict[str, float]) -> Figure:
    figure, ax = plt.subplots()
    ax.bar(list(result), [1, 2, 3])
    return figure


if __name__ == "__main__":
    raise SystemExit("the page was run as a script")
'''


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, and a small page instead of the lessons."""
    folder = tmp_path / "pages"
    folder.mkdir()
    (folder / "plot_small_page.py").write_text(PAGE, encoding="utf-8")
    (folder / "plot_needy.py").write_text('"""Needy."""\nimport no_such_module_here\n', encoding="utf-8")
    (folder / "helper.py").write_text("raise RuntimeError\n", encoding="utf-8")
    monkeypatch.setattr(lesson, "folders", lambda: (tmp_path / "nowhere", folder))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_list_has_a_line_and_a_title_for_each_page(capsys: Capture) -> None:
    assert main(["lesson", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    scripts = sorted((ROOT / "examples" / "lessons").glob("plot_*.py"))
    assert [f"plot_{line.split()[0]}.py" for line in lines] == [path.name for path in scripts]
    assert any(line.split(maxsplit=1) == ["any_input_size", "Any input size"] for line in lines)
    assert all(len(line.split(maxsplit=1)) == 2 for line in lines)


@pytest.mark.parametrize("name", ["small_page", "small-page"])
def test_a_lesson_prints_its_numbers_and_writes_its_figure(name: str, pages: Path, capsys: Capture) -> None:
    assert main(["lesson", name]) == 0
    out = capsys.readouterr().out
    assert out.startswith("A small page")
    assert "a share [of one]" in out
    assert "0.25" in out
    assert "11,170" in out
    assert "inf" in out
    assert (pages / "small_page.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("option", ["-o", "--out"])
def test_the_figure_goes_where_it_is_told(option: str, pages: Path, capsys: Capture) -> None:
    assert main(["lesson", "small_page", option, "figure.SVG"]) == 0
    assert "figure.SVG" in capsys.readouterr().out
    assert "<svg" in (pages / "figure.SVG").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "lesson needs a name; polypool lesson --list"),
        (
            ["smallpage"],
            "no lesson is named 'smallpage'. Did you mean 'small_page'? There are: needy, small_page.",
        ),
        (["small_page", "-o", "x.xyz"], "--out must end in one of"),
        (["small_page", "-o", "x"], "--out must end in one of"),
        (["small_page", "-o", "no/such/folder/x.png"], "No such file or directory"),
        (["small_page", "-o", "folder.png"], "folder.png is a folder"),
        (["needy"], "the lesson needs no_such_module_here, which is not installed; install polypool[demo]"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], part: str, pages: Path, capsys: Capture
) -> None:
    (pages / "folder.png").mkdir()
    assert main(["lesson", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("polypool: ")
    assert said.err.count("\n") == 1
    assert part in said.err


def test_an_installation_without_the_lessons_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(lesson, "folders", lambda: (tmp_path,))
    assert main(["lesson", "--list"]) == 2
    assert "came without the lessons" in capsys.readouterr().err


def test_the_lessons_inside_the_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "plot_page.py").write_text('"""Page."""\n', encoding="utf-8")
    monkeypatch.setattr(lesson, "folders", lambda: (inside, outside))
    assert lesson.lessons() == {"page": inside / "plot_page.py"}
    shutil.rmtree(inside)
    assert lesson.lessons() == {"page": outside / "plot_page.py"}


def test_the_wheel_carries_the_lessons_where_the_command_looks() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    inside, beside = (folder.relative_to(ROOT).as_posix() for folder in lesson.folders())
    assert beside in build["targets"]["wheel"]["only-include"]
    assert build["targets"]["wheel"]["sources"] == {beside: inside}


@pytest.mark.parametrize("name", lesson.lessons())
def test_every_page_loads_without_running(name: str, capsys: Capture) -> None:
    module = lesson.load(name)
    assert capsys.readouterr().out == ""
    assert callable(module.measure)
    assert callable(module.draw)
    assert module.__name__ in sys.modules
    assert lesson.title(lesson.script(name)).endswith(tuple("abcdefghijklmnopqrstuvwxyz"))
