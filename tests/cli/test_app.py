"""The command line as a whole: help, version, and mistakes that end in one line."""

import subprocess
import sys

import pytest

import polypool as pp
from polypool.cli import main

COMMANDS = (
    "bench",
    "card",
    "check",
    "demo",
    "doctor",
    "embed",
    "explain",
    "lesson",
    "list",
    "sites",
    "verify",
)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"polypool {pp.__version__}\n"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"Usage: polypool {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "No such option"),
        (["list", "--layout"], "requires an argument"),
        (["list", "--layout", "sphere"], "no layout is named 'sphere'. There are: grid"),
        (["card"], "Missing argument"),
        (["card", "meen"], "Did you mean 'mean'?"),
        (["card", "mean+meen"], "no pooling is named 'meen'"),
        (["check"], "check needs a name"),
        (["check", "meen"], "Did you mean 'mean'?"),
        (["check", "mean", "--only", "nonsense"], "only must name checks"),
        (["check", "no_such_module_here:MyPool"], "cannot import no_such_module_here"),
        (["check", ":MyPool"], "module:Class"),
        (["check", "json:JSONDecoder"], "json:JSONDecoder is not a pooling"),
        (["check", "polypool.poolings:Nonsense"], "has no 'Nonsense'"),
        (["demo", "extra"], "unexpected extra argument"),
        (["demo", "--epochs", "3"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("polypool: ")
    assert said.err.count("\n") == 1
    assert part in said.err


def test_the_process_ends_with_the_code_and_no_traceback() -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from polypool.cli import main; sys.exit(main())",
            "card",
            "nonsense",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "Traceback" not in run.stderr
    assert run.stderr.count("\n") == 1
