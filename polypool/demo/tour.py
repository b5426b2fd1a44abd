"""The whole demo: three sections with the same pooling objects, printed and written as a page."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

import polypool as pp
from polypool.demo import graphs, images, sentences, style, terminal
from polypool.demo.budget import Budget
from polypool.demo.page import page
from polypool.demo.report import Section
from polypool.demo.shared import Ledger, shared_pools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TITLE = "polypool: one pooling, three modalities"
LEAD = (
    "Pixels of an image, tokens of a sentence and nodes of a graph are all sets of vectors, and pooling turns each set "
    "into one vector. Here the same pooling objects do so for scanned digits, for sentences and for small graphs; "
    "everything on this page was computed on your machine just now."
)


def tour(out: Path, model: Path | None, console: Console, budget: Budget) -> Path:
    """Run all sections, print them, and write `index.html` with its pictures into `out`.

    Returns:
        The path of the page.
    """
    start = time.perf_counter()
    console.print("Training small networks on digits and on graphs, and reading sentences: a minute or two.")
    with _one_thread(), torch.random.fork_rng(devices=[]):
        sections = _sections(model, console, budget)
    seconds = time.perf_counter() - start
    about = f"polypool {pp.__version__}, torch {torch.__version__}, seed {budget.seed}, {seconds:.0f} s."
    path = write(out, sections, about)
    console.print(
        f"\nDone in {seconds:.0f} s. Open {path} to see the pictures.", markup=False, soft_wrap=True
    )
    return path


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small gain nothing from more, and the numbers no longer depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sections(model: Path | None, console: Console, budget: Budget) -> list[Section]:
    pools = shared_pools()
    ledger = Ledger(pools)
    plan: list[tuple[str, int, Callable[[Callable[[], object]], Section]]] = [
        (
            "images: training one network per head",
            len(images.HEADS) * budget.image_epochs,
            lambda tick: images.section(pools, budget, tick),
        ),
        (
            "sentences: reading with the transformer",
            1,
            lambda tick: sentences.section(pools, budget, model, tick),
        ),
        (
            "graphs: training one network per readout and part",
            len(graphs.READOUTS) * budget.tested_folds * budget.graph_epochs,
            lambda tick: graphs.section(pools, budget, tick),
        ),
    ]
    sections = []
    for label, steps, work in plan:
        sections.append(_with_progress(label, steps, work, console))
        terminal.show(sections[-1], console)
    ledger.close()
    sections.append(_summary(ledger))
    terminal.show(sections[-1], console)
    return sections


def _summary(ledger: Ledger) -> Section:
    return Section(
        key="same",
        title="The same objects: who pooled what?",
        intro=(
            "No pooling above was written for one modality. Each row below is one object, made by one call of "
            "polypool.build, and the numbers count how often each modality called it."
        ),
        tables=[ledger.table()],
    )


def _with_progress(
    label: str, steps: int, work: Callable[[Callable[[], object]], Section], console: Console
) -> Section:
    """Show a bar while a section works, where someone is watching."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    with bar:
        task = bar.add_task(label, total=steps)
        return work(lambda: bar.advance(task))


def write(out: Path, sections: list[Section], footer: str) -> Path:
    """Write the pictures and the page that shows them."""
    out.mkdir(parents=True, exist_ok=True)
    for section in sections:
        for picture in section.pictures:
            style.save(picture.figure, out / f"{picture.name}.png")
    path = out / "index.html"
    path.write_text(page(TITLE, LEAD, sections, footer), encoding="utf-8")
    return path
