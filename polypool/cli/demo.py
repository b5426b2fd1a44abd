"""`polypool demo`: real images, sentences and graphs through the same pooling objects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from polypool.cli._errors import UserError


def command(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the page and its pictures go.")] = Path(
        "polypool-demo"
    ),
    model: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="A folder with another sentence model.", show_default="the pinned package's"
        ),
    ] = None,
) -> None:
    """Pool real images, sentences and graphs.

    Prints a table for each and writes a page with pictures. Takes a minute or two and no network.
    """
    from polypool.cli._console import console

    try:
        from polypool.demo import budget
        from polypool.demo.tour import tour
    except ModuleNotFoundError as error:
        raise UserError(
            f"the demo needs {error.name}, which is not installed; install polypool[demo] with constraints.txt."
        ) from error
    _make_folder(out)
    tour(out, model, console(), budget.FULL)


def _make_folder(out: Path) -> None:
    """Find out now, and not after the training, that the page cannot be written."""
    import tempfile

    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise UserError(f"--out must be a folder that can be written; {out}: {error.strerror}.") from error
