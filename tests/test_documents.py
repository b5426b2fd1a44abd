"""The examples in README.md, in CONTRIBUTING.md and in the pages under docs/ do what they say."""

import doctest
import os
import subprocess
import sys
from pathlib import Path

import pytest

from polypool import registry
from tests.support import forgets

ROOT = Path(__file__).parents[1]
GENERATED = {"_build", "_generated", "gallery", "operators"}
PAGES = [
    path
    for path in [*ROOT.glob("README.md"), *sorted((ROOT / "docs").rglob("*.md"))]
    if not GENERATED & set(path.relative_to(ROOT).parts) and ">>> " in path.read_text(encoding="utf-8")
]


def fenced(text: str) -> str:
    """The text with every line outside a fenced block made empty, so that line numbers stay what they are.

    A doctest ends at an empty line: without this the fence that closes a block would count as its output.
    """
    kept, inside = [], False
    for line in text.splitlines():
        fence = line.startswith("```")
        kept.append(line if inside and not fence else "")
        inside ^= fence
    return "\n".join(kept)


def python_blocks(text: str) -> list[str]:
    """What the fenced Python blocks of a page hold."""
    return [part.split("\n```")[0] + "\n" for part in text.split("```python\n")[1:]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_on_the_page(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    # What a page registers is gone with it.
    monkeypatch.delitem(sys.modules, "my_pool", raising=False)
    forgets(monkeypatch, registry._poolings)
    text = fenced(page.read_text(encoding="utf-8"))
    examples = doctest.DocTestParser().get_doctest(text, {"__name__": "page"}, page.name, str(page), 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    said: list[str] = []
    failed, tried = runner.run(examples, out=said.append)
    assert tried, "the page has no example in a fenced block"
    assert not failed, "".join(said)


def test_a_wrong_example_is_seen() -> None:
    text = fenced("prose\n```python\n>>> 1 + 1\n3\n```\n")
    examples = doctest.DocTestParser().get_doctest(text, {}, "page", None, 0)
    failed, tried = doctest.DocTestRunner().run(examples, out=lambda _: None)
    assert (failed, tried) == (1, 1)


def test_the_operator_of_the_contributing_page(tmp_path: Path) -> None:
    """Its operator passes the conformance suite, and its test passes, outside the registry of this process."""
    blocks = python_blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    operator, test = (next(b for b in blocks if part in b) for part in ("@register", "def test_"))
    (tmp_path / "midrange.py").write_text(operator, encoding="utf-8")
    (tmp_path / "test_midrange.py").write_text("import midrange\n" + test, encoding="utf-8")
    check = "import midrange, polypool; polypool.testing.check_pooling('midrange')"
    flags = ["-p", "no:cacheprovider", "--doctest-modules", "-c", str(ROOT / "pyproject.toml")]
    for arguments in (
        ["-c", check],
        ["-m", "pytest", "-q", *flags, "--rootdir", str(tmp_path), str(tmp_path)],
    ):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
