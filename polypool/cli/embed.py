"""`polypool embed`: a corpus to a folder of Parquet files, which can be stopped and continued at any moment."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from polypool.corpus import Summary

#: Exit codes beside 0: some rows are in the quarantine; stopped on the way, the same command continues; Ctrl-C.
QUARANTINED, STOPPED, INTERRUPTED = 1, 3, 130


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="txt, jsonl, csv, tsv or Parquet; globs; - for standard input."
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", "-o", help="The folder to write to: new, empty, or begun before.")
    ],
    model: Annotated[str | None, typer.Option(help="A model folder, or a name in the local cache.")] = None,
    pool: Annotated[str | None, typer.Option(help="The pooling.", show_default="the model's")] = None,
    text_column: Annotated[
        str | None, typer.Option(help="The column of the texts.", show_default="text")
    ] = None,
    id_column: Annotated[
        str | None, typer.Option(help="The column of the ids.", show_default="the rows' numbers")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(help="Of the input, where its name does not say: txt, jsonl, csv, tsv, parquet."),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option(
            "--normalize/--no-normalize", help="Vectors of length 1.", show_default="as the model says"
        ),
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Put in front of each text: a name, or a text.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Read at most so many tokens of a text.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="Padded tokens of a batch.")] = None,
    precision: Annotated[
        str | None,
        typer.Option(help="The model computes in float32, bfloat16 or float16.", show_default="float32"),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Of the vectors in the files: float32 or float16.")] = "float32",
    shard_rows: Annotated[int, typer.Option(help="Rows of a file.")] = 8192,
    workers: Annotated[
        int | None, typer.Option(help="Processes.", show_default="one for each core, at most 8; one on a GPU")
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of each process; results may depend on it.")] = 1,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, ...", show_default="a GPU if there is one")
    ] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster; without it Ray runs on this machine.")
    ] = None,
    kind: Annotated[str, typer.Option(help="text, images, graphs, or module:Class.")] = "text",
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of the kind. Repeatable."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON line for each shard, and no bar.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No bar.")] = False,
) -> None:
    """Embed a corpus into Parquet files; the same command continues after a stop.

    Exit code 0: all rows have vectors. 1: some rows are in quarantine.jsonl, the rest is done. 2: something in the call
    must change, nothing was written over. 3: stopped on the way. 130: Ctrl-C.
    """
    from polypool.corpus import CorpusError, StoppedError, embed

    given = {
        "model": model,
        "pool": pool,
        "text_column": text_column,
        "id_column": id_column,
        "format": format,
        "normalize": normalize,
        "prompt": prompt,
        "max_tokens": max_tokens,
        "batch_tokens": batch_tokens,
        "precision": precision,
    }
    settings = {name: value for name, value in given.items() if value is not None} | _settings(setting or [])
    try:
        done = embed(
            inputs,
            out,
            kind=kind,
            engine=engine,
            workers=workers,
            threads=threads,
            address=address,
            shard_rows=shard_rows,
            dtype=dtype,
            device=device,
            progress=False if as_json or quiet else None,
            on_event=_tell if as_json else None,
            **settings,
        )
    except CorpusError as error:
        raise UserError(str(error)) from error
    except StoppedError as error:
        _complain(f"stopped: {error} The same command continues.")
        raise typer.Exit(STOPPED) from error
    except KeyboardInterrupt:
        _complain(f"stopped. What is done is in {out}; the same command continues.")
        raise typer.Exit(INTERRUPTED) from None
    if not as_json:
        _print(done)
    if not done.complete:
        raise typer.Exit(QUARANTINED)


def _settings(words: list[str]) -> dict[str, Any]:
    """`name=value`, where a value that is JSON is what it stands for, and anything else a text."""
    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name.isidentifier():
            raise UserError(f"--set is written NAME=VALUE; found {word!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _tell(event: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _print(done: Summary) -> None:
    typer.echo(str(done))
    if done.made:
        speed = done.embedded / done.seconds if done.made == done.shards else None
        shown = f", {speed:,.0f} rows/s" if speed else ""
        typer.echo(f"{done.seconds:,.1f} s, {done.loading:,.1f} of them for loading the model{shown}")


def _complain(message: str) -> None:
    sys.stderr.write(f"polypool: {' '.join(message.split())}\n")
