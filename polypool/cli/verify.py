"""`polypool verify`: what has happened to a folder of embeddings since it was written."""

from __future__ import annotations

from typing import Annotated

import typer

from polypool.cli._errors import UserError


def command(
    out: Annotated[str, typer.Argument(help="A folder that `polypool embed` finished.")],
    sample: Annotated[
        int, typer.Option(min=0, help="Encode so many rows again; 0 needs neither input nor model.")
    ] = 32,
    model: Annotated[
        str | None, typer.Option(help="Where the model is now.", show_default="where it was")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="Where the model runs.", show_default="as it was")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was found as JSON.")] = False,
) -> None:
    """Check a folder of embeddings: checksums, counts, ids, finite numbers, and a sample encoded again.

    Exit code 1 where something is wrong. To mend it, remove the files that are named and run `polypool embed` as
    before.
    """
    import json

    from polypool.corpus import CorpusError, verify
    from polypool.corpus.progress import Display

    try:
        with Display(False if as_json else None) as display:
            found = verify(
                out,
                sample=sample,
                model=model,
                device=device,
                each=lambda done, every: display.say("checking", f"{done:,} of {every:,} shards"),
            )
    except CorpusError as error:
        raise UserError(str(error)) from error
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        for problem in found.problems:
            typer.echo(str(problem))
        for note in found.not_checked:
            typer.echo(f"not checked: {note}")
        verdict = "as it was written" if found.ok else f"{len(found.problems)} problems"
        seen = f"{found.rows:,} rows in {found.shards:,} shards, {found.encoded_again:,} encoded again"
        typer.echo(f"{found.out}: {seen}: {verdict}")
    if not found.ok:
        raise typer.Exit(1)
