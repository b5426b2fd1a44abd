"""
Readouts and coarsening on graph classification
===============================================

Trains GIN with each readout, and around each coarsening, by cross-validation, beside PyG's own operators in the same
run.

    python examples/graph_classification.py --quick
    python examples/graph_classification.py --data MUTAG.txt --readouts sum,mean,max,attention --out results
    python examples/graph_classification.py --data TUDataset/PROTEINS --selects top_k,min_cut --seeds 5 --out results

It prints a table, and writes ``comparison.json`` and ``comparison.png`` to the folder of ``--out``.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from polypool.graph.compare import Report, Settings, compare, entries, load
from polypool.graph.compare.picture import LABELS, draw

READOUTS = "sum,mean,max,mean+max+std,softmax,attention"
DEFAULTS = Settings()
QUICK_GRAPHS = 60


def main(
    data: Annotated[
        str, typer.Option(help='"atlas", a TU folder, a .txt file in the text form, or a .npz of splits.')
    ] = "atlas",
    readouts: Annotated[str, typer.Option(help='Names with commas between; "" for none.')] = READOUTS,
    selects: Annotated[str, typer.Option(help='Names with commas between, "all", or "" for none.')] = "",
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training graphs.")] = DEFAULTS.epochs,
    folds: Annotated[int, typer.Option(min=2, help="Parts of the cross-validation.")] = DEFAULTS.folds,
    seeds: Annotated[int, typer.Option(min=1, help="How often it is repeated.")] = DEFAULTS.seeds,
    hidden: Annotated[int, typer.Option(min=1, help="Channels of a layer.")] = DEFAULTS.hidden,
    layers: Annotated[
        int, typer.Option(min=2, help="Layers, with the input as the first.")
    ] = DEFAULTS.layers,
    batch: Annotated[int, typer.Option(min=2, help="Graphs per step.")] = DEFAULTS.batch,
    steps: Annotated[
        int, typer.Option(min=0, help="Steps per epoch; 0 for a pass over the training graphs.")
    ] = 0,
    dropout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Dropped share of a graph's vector.")
    ] = DEFAULTS.dropout,
    ratio: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the nodes that a coarsening keeps.")
    ] = DEFAULTS.ratio,
    protocol: Annotated[str, typer.Option(help="test, inside, or both.")] = "both",
    double: Annotated[bool, typer.Option("--double", help="Compute in float64.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch; small graphs want one.")] = 1,
    out: Annotated[Path | None, typer.Option(help="A folder for the numbers and the picture.")] = None,
    curves: Annotated[bool, typer.Option("--curves", help="Keep every curve in the numbers.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A few graphs and epochs: does it run?")] = False,
) -> None:
    """Compare readouts and coarsening with PyG's own, on the same folds with the same seeds."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=165)
    protocols = DEFAULTS.protocols if protocol == "both" else (protocol,)
    try:
        settings = Settings(
            epochs=epochs,
            folds=folds,
            seeds=seeds,
            hidden=hidden,
            layers=layers,
            batch=batch,
            steps=steps or None,
            dropout=dropout,
            ratio=ratio,
            double=double,
            protocols=protocols,
        )
        if quick:
            settings = replace(settings, epochs=5, folds=3, hidden=16, layers=3)
        graphs = load(data, QUICK_GRAPHS if quick else None)
        contestants = entries(_listed(readouts), _selects(selects))
        if not contestants:
            raise ValueError("nothing to compare: name some readouts or selects.")
    except (ValueError, TypeError, FileNotFoundError) as error:
        raise typer.BadParameter(str(error)) from error
    torch.set_num_threads(threads)
    command = shlex.join([Path(sys.executable).name, *sys.argv])
    console.print(f"[dim]$ {command}[/]", highlight=False, soft_wrap=True)
    total = len(contestants) * settings.epochs * settings.folds * settings.seeds * len(settings.protocols)
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        task = progress.add_task("", total=total)
        report = compare(
            graphs, contestants, settings, lambda name: progress.update(task, advance=1, description=name)
        )
    for group in ("readout", "select"):
        if any(one.group == group for one in report.results):
            console.print(table(report, group))
    for line in same(report):
        console.print(line, highlight=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        found = {"command": command, "threads": threads, "torch": torch.__version__, **report.as_dict(curves)}
        (out / "comparison.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
        draw(report, out / "comparison.png")
        console.print(f"wrote {out / 'comparison.json'} and {out / 'comparison.png'}", highlight=False)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in names.split(",") if name.strip()]


def _selects(names: str) -> list[str]:
    if names.strip() != "all":
        return _listed(names)
    from polypool.graph import select

    return [name for name in select.names() if name != "given"]


#: What Xu et al. 2019 print for GIN with sums, which is the best epoch on the test folds.
PUBLISHED = {"MUTAG": "89.4 ± 5.6", "PROTEINS": "76.2 ± 2.8"}
HEADINGS = {"test": "best epoch", "inside": "chosen inside"}


def table(report: Report, group: str) -> Table:
    """What a group of entries reached."""
    protocols = list(report.results[0].scores)
    meanings = "; ".join(f"{HEADINGS[protocol]}: {LABELS[protocol]}" for protocol in protocols)
    found = Table(
        title=f"{report.data}: {report.graphs:,} graphs; always the commonest class {report.majority:.1%}",
        title_justify="left",
        caption=f"Per cent; {meanings}. Mean and spread over folds and seeds. Differences are paired by fold and seed, "
        "with a 95 % interval that allows for the graphs that folds share; a star where it excludes 0.",
        caption_justify="left",
    )
    found.add_column(group, no_wrap=True)
    for protocol in protocols:
        found.add_column(HEADINGS[protocol], justify="right", no_wrap=True)
        found.add_column("less", justify="right", no_wrap=True)
    found.add_column("", no_wrap=True)
    found.add_column("ms/epoch", justify="right", no_wrap=True)
    found.add_column("MiB/step", justify="right", no_wrap=True)
    for one in report.results:
        if one.group != group:
            continue
        cells = [one.name]
        for protocol in protocols:
            score, less = one.scores[protocol], report.difference(one.name, protocol)
            cells.append(f"{100 * score.mean:.1f} ± {100 * score.spread:.1f}")
            star = "" if less is None else "*" if less.excludes_zero else " "
            numbers = () if less is None else (less.mean, less.low, less.high)
            cells.append(
                ""
                if less is None
                else "{:+.1f} [{:+.1f}, {:+.1f}]".format(*(100 * n for n in numbers)) + star
            )
        cells.append("" if one.rival is None else f"less {one.rival}")
        cells.append(f"{1e3 * one.seconds:.1f}")
        cells.append("" if one.bytes is None else f"{one.bytes / 2**20:.1f}")
        found.add_row(*cells)
    if group == "readout" and "test" in protocols and report.data in PUBLISHED:
        blank = [""] * (len(found.columns) - 2)
        found.add_row("GIN, as published", PUBLISHED[report.data], *blank)
    return found


def same(report: Report) -> list[str]:
    """Whether replacing PyG's readout by ours changed anything, where they are the same by definition."""
    lines = []
    for name in ("sum", "mean", "max"):
        if any(one.name == name for one in report.results) and (gap := report.loss_gap(name)) is not None:
            folds = (
                "the same accuracy in every fold and epoch"
                if report.same_folds(name)
                else "some folds differ"
            )
            lines.append(f"{name} in place of PyG's: {folds}; loss curves differ by {gap:.1e} at most.")
    return lines


if __name__ == "__main__":
    typer.run(main)
