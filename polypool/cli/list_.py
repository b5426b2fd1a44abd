"""`polypool list`: which poolings there are."""

from __future__ import annotations

from typing import Annotated

import typer

from polypool.cli._errors import UserError


def command(
    layout: Annotated[
        list[str] | None,
        typer.Option(
            help="Only those that can pool this layout: grid, tokens, packed, nodes or clusters. Repeatable."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the cards as JSON.")] = False,
) -> None:
    """List the poolings and what they promise."""
    import json

    import polypool as pp
    from polypool.cli._cards import as_data

    try:
        wanted = [set(pp.names(kind)) for kind in layout or []]
    except ValueError as error:
        raise UserError(str(error)) from error
    names = [name for name in pp.names() if all(name in able for able in wanted)]
    if as_json:
        typer.echo(json.dumps([as_data(name) for name in names], indent=2, default=str))
    else:
        _print_table(names)


def _print_table(names: list[str]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from polypool.cli._cards import degree, find_card
    from polypool.cli._console import console

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    table.add_column("what it gives", ratio=1)
    table.add_column("degree", justify="right")
    for heading in ("learned", "weights", "streams"):
        table.add_column(heading)
    for name in names:
        card = find_card(name)
        marks = (card.learnable, card.has_weights, card.decomposable)
        table.add_row(
            Text(name), Text(card.summary), degree(card), *("yes" if mark else "" for mark in marks)
        )
    shown = console()
    shown.print(table)
    shown.print(
        f"{len(names)} poolings. degree k: pool(a x) = a^k pool(x). weights: the result is a weighted sum, "
        "pool.weights gives them. streams: parts can be pooled apart and merged. "
        "More: polypool card NAME.",
        style="dim",
    )
