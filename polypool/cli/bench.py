"""`polypool bench`: our poolings beside everybody else's, and both beside one read of the input."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from polypool.bench.record import Results
    from polypool.bench.suites import Case
    from polypool.bench.worker import Request


def command(
    suite: Annotated[
        str, typer.Option(help="ops: poolings. models: what uses them. scaling: from 10^4 to 10^8 elements.")
    ] = "ops",
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="PATTERN", help="Cases whose name has this in it, * for anything. Repeatable."),
    ] = None,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the results there too.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the sizes, less time: to try it out.")
    ] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Also against torch.compile, which takes minutes to compile.")
    ] = False,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Compare every cell with float64, not every fourth.")
    ] = False,
    kernels: Annotated[
        str | None,
        typer.Option(
            help="What computes our side, as for polypool.kernels.", show_default="what is in force"
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads for everybody.", show_default="torch's own choice")
    ] = None,
    allocator: Annotated[
        str | None,
        typer.Option(help="warm or default, for all tables.", show_default="what each table is about"),
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Name the cases and stop.")] = False,
) -> None:
    """Time the poolings against everybody else's, and against one read of the input.

    Rivals run in the same process, in turns with ours. What differs from float64 is not timed.

    Exit code 1 where a result of ours is wrong.
    """
    import polypool as pp
    from polypool.bench.suites import SUITES, cases
    from polypool.ops.dispatch import choice

    if suite not in SUITES:
        raise UserError(f"--suite must be one of {', '.join(SUITES)}; found {suite!r}.")
    _require_allocator(allocator)
    try:
        with pp.kernels(kernels or choice()):
            pass
    except (ValueError, RuntimeError) as error:
        raise UserError(str(error)) from error
    chosen = cases(suite, only or ())
    if not chosen:
        raise UserError(f"no case of {suite} has {' or '.join(only or ())} in its name; --list names them.")
    if listed:
        typer.echo("\n".join(case.name for case in chosen))
        return
    if json is not None:
        _require_writable(json)

    from polypool.bench.worker import Request

    request = Request(suite, (), quick, compiled, thorough, kernels or choice(), threads)
    results = _measure(request, chosen, allocator)
    if json is not None:
        from polypool.bench.record import save

        save(results, json)
    from polypool.bench.report import broken

    if broken(results.rows):
        raise typer.Exit(1)


def _require_allocator(kind: str | None) -> None:
    from polypool.bench.allocator import KINDS

    if kind is not None and kind not in KINDS:
        raise UserError(f"--allocator must be one of {', '.join(KINDS)}; found {kind!r}.")


def _require_writable(path: Path) -> None:
    """Find out now, and not after ten minutes, that the results cannot be written."""
    import tempfile

    if path.is_dir():
        raise UserError(f"--json must be a file; {path} is a folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(
            f"--json must be in a folder that can be written; {path}: {error.strerror}."
        ) from error


def _measure(request: Request, chosen: list[Case], allocator: str | None) -> Results:
    """Runs, shows each table when it is complete, then what is to be said of the whole."""
    from polypool.bench.screen import Screen
    from polypool.cli._console import console

    return Screen(console()).run(request, chosen, allocator)
