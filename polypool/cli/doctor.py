"""`polypool doctor`: what a model folder declares about its pooling, and what programs make of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from pathlib import Path

    from polypool.text.doctor import Diagnosis


def command(
    model: Annotated[
        str, typer.Argument(help="A model folder, or a name in the cache of the Hugging Face hub.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Say how a sentence encoder pools, where its folder disagrees with itself, and who reads it how.

    Exit code 1 where it disagrees.
    """
    import json

    from polypool.text.config import ModelFolderError
    from polypool.text.doctor import examine

    try:
        found = examine(_folder(model))
    except ModelFolderError as error:
        raise UserError(str(error)) from error
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        _print(found)
    if not found.ok:
        raise typer.Exit(1)


def _folder(model: str) -> Path:
    """The folder itself, or where the hub's cache keeps a model; the network is not asked."""
    from polypool.text.folder import find_folder

    try:
        return find_folder(model)
    except ImportError as error:
        raise UserError(
            f"{model} is no folder; install polypool[text] to look in the hub's cache."
        ) from error


def _print(found: Diagnosis) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from polypool.cli._console import console
    from polypool.text.doctor import spelled

    shown = console()
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("about", "says", "where"):
        table.add_column(heading)
    for each in found.declared:
        table.add_row(each.topic, Text(spelled(each.says)), Text(each.where, style="dim"))
    shown.print(table)
    readers = Table(box=box.SIMPLE_HEAD)
    readers.add_column("reader", no_wrap=True)
    readers.add_column("pools with")
    readers.add_column("why")
    ours = found.readings[0].modes
    for reading in found.readings:
        style = "red" if reading.modes is None else "" if reading.modes == ours else "yellow"
        readers.add_row(reading.reader, Text(reading.does, style=style), Text(reading.why, style="dim"))
    shown.print(readers)
    for note in found.notes:
        shown.print(Text.assemble(("note  ", "yellow"), note))
    for wrong in found.disagreements:
        shown.print(Text.assemble(("disagrees  ", "bold red"), wrong))
    verdict = (
        Text("agrees with itself", style="green")
        if found.ok
        else Text("disagrees with itself", style="bold red")
    )
    shown.print(Text.assemble(f"{found.folder} ", verdict))
