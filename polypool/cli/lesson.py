"""`polypool lesson`: runs a page of the gallery, prints its numbers and writes its figure."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

PREFIX = "plot_"


def command(
    name: Annotated[
        str | None, typer.Argument(help="A lesson; --list names them.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Where the figure goes.", show_default="NAME.png"),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the lessons and their titles.")] = False,
) -> None:
    """Run a lesson of the gallery, print its numbers and write its figure."""
    try:
        if listed:
            _print_titles()
        elif name is None:
            raise UserError("lesson needs a name; polypool lesson --list shows them.")
        else:
            path = script(name)
            _run(path, Path(f"{path.stem.removeprefix(PREFIX)}.png") if out is None else out)
    except ValueError as error:
        raise UserError(str(error)) from error


def _print_titles() -> None:
    found = lessons()
    width = max(map(len, found))
    for name, path in found.items():
        typer.echo(f"{name:{width}}  {title(path)}")


def _run(path: Path, out: Path) -> None:
    from polypool.cli._console import console

    try:
        import matplotlib as mpl

        mpl.use("Agg")  # writes files, and needs no screen
        _check_writable(out)
        module = load(path)
    except ModuleNotFoundError as error:
        raise UserError(
            f"the lesson needs {error.name}, which is not installed; install polypool[demo] with constraints.txt."
        ) from error
    shown = console()
    with shown.status(title(path)):
        result = module.measure()
        figure = module.draw(result)
    figure.savefig(out, dpi=150)
    _print_numbers(title(path), numbers_of(result), shown)
    shown.print(f"{path}\n{out}", style="dim", soft_wrap=True, markup=False)


def _check_writable(out: Path) -> None:
    """Find out now, and not after the measuring, that the figure cannot be written."""
    import tempfile

    from matplotlib.figure import Figure

    kinds = Figure().canvas.get_supported_filetypes()
    if out.suffix.removeprefix(".").lower() not in kinds:
        raise UserError(f"--out must end in one of {', '.join(f'.{kind}' for kind in kinds)}; found {out}.")
    if out.is_dir():
        raise UserError(f"--out must be a file; {out} is a folder.")
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise UserError(f"--out must be in a folder that can be written; {out}: {error.strerror}.") from error


def _print_numbers(heading: str, numbers: Mapping[str, float], shown: Console) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(heading, style="bold"), title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("what was measured")
    table.add_column("number", justify="right", no_wrap=True)
    for key, value in numbers.items():
        table.add_row(
            Text(key), f"{value:,.0f}" if float(value).is_integer() and abs(value) > 9 else f"{value:.4g}"
        )
    shown.print(table)


def folders() -> tuple[Path, ...]:
    """Where the scripts may be: inside an installed package, or in the repository beside it."""
    package = Path(__file__).parents[1]
    return package / "_lessons", package.parent / "examples" / "lessons"


def lessons() -> dict[str, Path]:
    """The script of each lesson, by name, in alphabetical order.

    Raises:
        ValueError: This installation came without the scripts.
    """
    for folder in folders():
        scripts = sorted(folder.glob(f"{PREFIX}*.py"))
        if scripts:
            return {path.stem.removeprefix(PREFIX): path for path in scripts}
    raise ValueError(
        "this installation came without the lessons; they are in examples/lessons of the repository."
    )


def script(name: str) -> Path:
    """The script of a lesson.

    Raises:
        ValueError: No lesson has that name.
    """
    found = lessons()
    wanted = name.replace("-", "_")
    if wanted not in found:
        close = get_close_matches(wanted, found, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no lesson is named {name!r}.{hint} There are: {', '.join(found)}.")
    return found[wanted]


def title(path: Path) -> str:
    """The title of a page: the first line of its docstring. The script is not run."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.strip().partition("\n")[0]


def load(lesson: str | Path) -> ModuleType:
    """The module of a lesson, by name or script; it has `measure` and `draw`.

    Raises:
        ValueError: No lesson has that name.
        ImportError: The script needs a package that is not installed.
    """
    path = script(lesson) if isinstance(lesson, str) else lesson
    spec = importlib.util.spec_from_file_location(f"polypool_lesson_{path.stem.removeprefix(PREFIX)}", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def numbers_of(result: Any) -> Mapping[str, float]:
    """What a lesson measured, by name: the result itself, or its `numbers`."""
    return result if isinstance(result, Mapping) else result.numbers
