"""Coarsening: edge contraction beside PyG's, and what each select needs on a large graph.

    python benchmarks/coarsening.py contraction      # 5,000 edges, ours and EdgePooling in turns
    python benchmarks/coarsening.py large            # 50,000 nodes, 500,000 edges: each select's seconds and peak

Both check what they time: contraction that EdgePooling chooses the same pairs, large that everything is finite.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch_geometric.data import Data
from torch_geometric.nn import EdgePooling

from polypool.graph import select
from polypool.graph.coarsen import Coarsen

LIMIT_MB = 2000
CHANNELS = 32
CLUSTERS = 16
BLOCK = 10  # calls in a row, as timeit does: a single one finds the caches full of the other's code

app = typer.Typer(add_completion=False, no_args_is_help=True)
console = Console(width=100)


def random_graph(nodes: int, edges: int, seed: int = 0) -> Data:
    """Edges anywhere, each in both directions; normal features."""
    generator = torch.Generator().manual_seed(seed)
    ends = torch.randint(nodes, (2, 2 * edges), generator=generator)
    ends = ends[:, ends[0] < ends[1]].unique(dim=1)
    ends = ends[:, torch.randperm(ends.shape[1], generator=generator)[: edges // 2]]
    features = torch.randn(nodes, CHANNELS, generator=generator)
    return Data(x=features, edge_index=torch.cat([ends, ends.flip(0)], dim=1))


def seconds(
    call: Callable[[], object], clock: Callable[[], float] = time.perf_counter, block: int = 1
) -> float:
    """How long a call takes, the mean of a block of them."""
    start = clock()
    for _ in range(block):
        call()
    return (clock() - start) / block


@app.command()
def contraction(
    nodes: Annotated[int, typer.Option(min=2)] = 1_000,
    edges: Annotated[int, typer.Option(min=1)] = 5_000,
    repeats: Annotated[int, typer.Option(min=3)] = 10,
    wall: Annotated[
        bool, typer.Option(help="Seconds on the clock; else of the processor, which a busy machine bears.")
    ] = False,
) -> None:
    """edge_contraction beside PyG's EdgePooling, with the same parameters, in turns, on one thread."""
    torch.set_num_threads(1)
    clock = time.perf_counter if wall else time.process_time
    data = random_graph(nodes, edges)
    batch = torch.zeros(nodes, dtype=torch.int64)
    ours = Coarsen("edge_contraction", channels=CHANNELS, score="tanh")
    theirs = EdgePooling(CHANNELS, edge_score_method=EdgePooling.compute_edge_score_tanh)
    theirs.lin.load_state_dict(ours.select.linear.state_dict())  # type: ignore[union-attr]
    with torch.no_grad():
        coarse = ours(data)
        x, _, _, their_clusters = theirs(data.x, data.edge_index, batch)
        both = torch.stack([coarse.clusters.assignment, their_clusters.cluster])
        if not both.unique(dim=1).shape[1] == coarse.num_nodes == x.shape[0]:
            raise SystemExit("the two contracted different edges: nothing is timed")
        times = [
            (
                seconds(lambda: ours(data), clock, BLOCK),
                seconds(lambda: theirs(data.x, data.edge_index, batch), clock, BLOCK),
            )
            for _ in track(range(repeats), "in turns", console=console)
        ]
    table = Table("", "polypool, ms", "EdgePooling, ms", "times faster", title=f"{data.num_edges:,} edges")
    for name, figure in (("median", median), ("fastest", min)):
        a, b = (1e3 * figure(list(column)) for column in zip(*times, strict=True))
        table.add_row(name, f"{a:.2f}", f"{b:.1f}", f"{b / a:.1f}")
    pairs = [b / a for a, b in times]
    table.add_row("median of the pairs", "", "", f"{median(pairs):.1f}")
    console.print(table)
    console.print(f"{coarse.num_nodes} coarse nodes of {nodes}, the same pairs merged by both")


@app.command()
def large(
    nodes: Annotated[int, typer.Option(min=2)] = 50_000,
    edges: Annotated[int, typer.Option(min=1)] = 500_000,
    only: Annotated[list[str] | None, typer.Option(help="Names of selects; all when left out.")] = None,
) -> None:
    """Each select on one large graph, forward and backward, in a process of its own."""
    table = Table(
        "select",
        "forward, s",
        "backward, s",
        "peak, MB",
        "coarse nodes",
        "coarse edges",
        title=f"{nodes:,} nodes",
    )
    too_much = []
    for name in track(only or select.names(), "selects", console=console):
        command = [sys.executable, __file__, "one", name, "--nodes", str(nodes), "--edges", str(edges)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        found = json.loads(done.stdout)
        if found["peak"] > LIMIT_MB:
            too_much.append(name)
        table.add_row(
            name,
            f"{found['forward']:.2f}",
            f"{found['backward']:.2f}" if found["backward"] else "-",
            f"{found['peak']:,.0f}",
            f"{found['nodes']:,}",
            f"{found['edges']:,}",
        )
    console.print(table)
    console.print("The peak is that of the whole process; torch and PyG alone take the row below.")
    done = subprocess.run(
        [sys.executable, __file__, "one", "nothing"], capture_output=True, text=True, check=True
    )
    console.print(f"{'nothing':20} {json.loads(done.stdout)['peak']:,.0f} MB")
    if too_much:
        raise SystemExit(f"over {LIMIT_MB} MB: {', '.join(too_much)}")


@app.command(hidden=True)
def one(name: str, nodes: int = 50_000, edges: int = 500_000) -> None:
    """Coarsens once and prints what it took, as JSON."""
    result: dict[str, Any] = {}
    if name != "nothing":
        data = random_graph(nodes, edges)
        settings: dict[str, Any] = {"channels": CHANNELS, "num_clusters": CLUSTERS}
        if name == "given":
            data.cluster = torch.arange(nodes) // 10
        torch.manual_seed(0)
        coarsen = Coarsen(name, **{k: v for k, v in settings.items() if k in select.settings(name)})
        data.x.requires_grad_()
        start = time.perf_counter()
        coarse = coarsen(data)
        result["forward"] = time.perf_counter() - start
        objective = coarse.x.square().mean() + sum(coarse.losses.values())
        if coarse.edge_weight is not None:
            objective = objective + coarse.edge_weight.mean()
        result["backward"] = seconds(objective.backward)
        if not (torch.isfinite(objective) and torch.isfinite(data.x.grad).all()):
            raise SystemExit(f"{name} is not finite")
        result |= {"nodes": coarse.num_nodes, "edges": coarse.edge_index.shape[1]}
    result["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    print(json.dumps(result))


if __name__ == "__main__":
    app()
