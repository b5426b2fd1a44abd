"""`polypool check`: the conformance suite, on our poolings and on anybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from rich.console import Console

    from polypool import Pooling
    from polypool.testing import Report


def command(
    what: Annotated[
        list[str] | None,
        typer.Argument(help="Names, or module:Class for a class of your own.", show_default=False),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every registered pooling.")] = False,
    full: Annotated[
        bool, typer.Option("--full", help="Larger cells and more layouts; takes longer.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run only this check. Repeatable.")] = None,
) -> None:
    """Check that poolings keep the contract.

    Exit code 1 where one does not.
    """
    import polypool as pp
    from polypool.cli._console import console

    asked = [*(what or []), *(pp.names() if every else [])]
    if not asked:
        raise UserError("check needs a name, module:Class, or --all; polypool list shows the names.")
    targets = [(text, _find(text)) for text in asked]
    shown = console()
    failed = 0
    for text, target in targets:
        with shown.status(f"checking {text}"):
            report = _check(target, full=full, only=only)
        _print_report(text, report, shown, passed_too=len(targets) == 1)
        failed += not report.ok
    if len(targets) > 1:
        shown.print(f"{len(targets) - failed} of {len(targets)} keep the contract.")
    if failed:
        raise typer.Exit(1)


def _find(text: str) -> Pooling | type[Pooling] | str:
    """The class that `module:Class` names, or the name itself."""
    if ":" in text:
        from polypool.cli._imports import import_class

        return import_class(text)
    from polypool.cli._cards import find_card

    find_card(text)
    return text


def _check(target: Pooling | type[Pooling] | str, *, full: bool, only: list[str] | None) -> Report:
    from polypool.testing import check_pooling

    try:
        return check_pooling(
            target, level="full" if full else "quick", only=only or None, raise_on_failure=False
        )
    except (TypeError, ValueError) as error:  # it cannot be built, or there is no such check
        raise UserError(str(error)) from error


def _print_report(text: str, report: Report, shown: Console, *, passed_too: bool) -> None:
    """Print the verdict, under a table of all checks or of those that failed."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    colors = {"pass": "green", "fail": "bold red", "skip": "dim"}
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("check", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("why, or what it asks for")
    for result in report if passed_too else report.failures:
        table.add_row(
            result.check,
            Text(result.status, style=colors[result.status]),
            Text(result.reason or result.clause, style="" if result.status == "fail" else "dim"),
        )
    if table.row_count:
        shown.print(table)
    count = {status: sum(result.status == status for result in report) for status in colors}
    verdict = Text("keeps the contract", style="green") if report.ok else Text("breaks it", style="bold red")
    numbers = (
        f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped, {report.seconds:.1f} s"
    )
    shown.print(Text.assemble(f"{text} ", verdict, f": {numbers}"))
