"""`polypool card`: what one pooling promises."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    name: Annotated[str, typer.Argument(help="A name, an alias, or several joined by +.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the card as JSON.")] = False,
) -> None:
    """Show the property card of a pooling."""
    import json

    from polypool.cli._cards import as_data

    data = as_data(name)
    if as_json:
        typer.echo(json.dumps(data, indent=2, default=str))
        return

    from rich.table import Table
    from rich.text import Text

    from polypool.cli._console import console

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for field, value in data.items():
        table.add_row(field.replace("_", " "), Text(_shown(value)))
    console().print(table)


def _shown(value: object) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return ", ".join(map(str, value))
        case dict():
            return ", ".join(f"{key}={setting!r}" for key, setting in value.items()) or "none"
        case _:
            return str(value)
