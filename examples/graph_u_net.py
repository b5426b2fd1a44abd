"""A Graph U-Net: down by coarsening, up by lift, for labels of nodes.

    python examples/graph_u_net.py                       # a minute at most
    python examples/graph_u_net.py --select k_mis --depth 4 --epochs 200

Each graph is a ring of rooms; one room in each is marked, and every node has to say how far away the mark is: in which
third of the distances. Message passing of as many steps as the network has layers does not reach that far; the coarse
levels do.
Printed beside it: the same network without its coarse levels.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import GCNConv

from polypool.graph import select
from polypool.graph.coarsen import Coarse, Coarsen

CLASSES = 3


class GraphUNet(nn.Module):
    """Convolve and coarsen `depth` times, then lift, add what was there before, and convolve.

    Gao, Ji 2019, Graph U-Nets; here with any select, and with sums as skip connections.

    Args:
        channels: The features of a node.
        hidden: The width.
        classes: The labels.
        name: The select.
        depth: How many times the graph is coarsened; 0 for plain message passing of as many layers.
        layers: The convolutions beside the coarse levels; `depth` of 0 keeps their number.
    """

    def __init__(
        self, channels: int, hidden: int, classes: int, name: str = "k_mis", depth: int = 3, layers: int = 0
    ) -> None:
        super().__init__()
        self.first = GCNConv(channels, hidden)
        settings = {"channels": hidden, "num_clusters": 8, "ratio": 0.5}
        accepted: dict[str, Any] = {
            key: value for key, value in settings.items() if key in select.settings(name)
        }
        self.coarsens = nn.ModuleList(
            Coarsen(name, reduce="mean", connect="mean", carry={"y": None}, **accepted) for _ in range(depth)
        )
        self.down = nn.ModuleList(GCNConv(hidden, hidden) for _ in range(depth + layers))
        self.up = nn.ModuleList(GCNConv(hidden, hidden) for _ in range(depth))
        self.last = nn.Linear(hidden, classes)

    def forward(self, data: Batch) -> tuple[Tensor, Tensor]:
        """The scores of the nodes, `(N, classes)`, and what the selects want minimised."""
        h = self.first(data.x, data.edge_index).relu()
        fine: list[tuple[Data | Coarse, Tensor]] = []
        level: Data | Coarse = data
        losses = h.new_zeros(())
        for i, conv in enumerate(self.down):
            if i < len(self.coarsens):
                fine.append((level, h))
                level = (
                    self.coarsens[i](level.with_x(h))
                    if isinstance(level, Coarse)
                    else self.coarsens[i](level, h)
                )
                losses = losses + sum(level.losses.values())
                h = level.x
            h = h + conv(h, level.edge_index, level.edge_weight).relu()
        for conv, (finer, before) in zip(self.up, reversed(fine), strict=True):
            h = before + level.lift(h)
            h = h + conv(h, finer.edge_index, getattr(finer, "edge_weight", None)).relu()
            level = finer
        return self.last(h), losses


def ring(generator: torch.Generator, nodes: int) -> Data:
    """A ring with one marked node; labels are the thirds of the distance from it."""
    place = torch.arange(nodes)
    mark = int(torch.randint(nodes, (), generator=generator))
    steps = (place - mark).abs()
    distance = torch.minimum(steps, nodes - steps)
    x = torch.stack([(place == mark).float(), torch.ones(nodes)], dim=1)
    ends = torch.stack([place, (place + 1) % nodes])
    y = (distance * 2 * CLASSES // (nodes + 1)).clamp(max=CLASSES - 1)
    return Data(x=x, edge_index=torch.cat([ends, ends.flip(0)], dim=1), y=y)


def rings(seed: int, count: int, nodes: int) -> Batch:
    """Many rings as one batch."""
    generator = torch.Generator().manual_seed(seed)
    return Batch.from_data_list([ring(generator, nodes) for _ in range(count)])


def train(net: GraphUNet, epochs: int, nodes: int, progress: Progress, title: str) -> float:
    """Trains on rings and returns the share of nodes labelled right on others."""
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    task = progress.add_task(title, total=epochs)
    data, test = rings(0, 64, nodes), rings(1, 64, nodes)
    for _ in range(epochs):
        optimiser.zero_grad()
        scores, extra = net(data)
        (nn.functional.cross_entropy(scores, data.y) + 0.1 * extra).backward()
        optimiser.step()
        progress.advance(task)
    with torch.no_grad():
        return float((net(test)[0].argmax(1) == test.y).float().mean())


def main(
    name: Annotated[str, typer.Option("--select", help="One of polypool.graph.select.names().")] = "k_mis",
    depth: Annotated[int, typer.Option(min=1, help="How many times the graph is coarsened.")] = 3,
    epochs: Annotated[int, typer.Option(min=1)] = 60,
    nodes: Annotated[int, typer.Option(min=8, help="Nodes of a ring.")] = 48,
    hidden: Annotated[int, typer.Option(min=1)] = 32,
    seed: int = 0,
) -> None:
    """Train a Graph U-Net, and the same without coarse levels, and print how many nodes each labels right."""
    console = Console()
    found = {}
    with Progress(console=console, transient=True) as progress:
        for title, levels, layers in ((f"U-Net, {name}", depth, 0), ("no coarse levels", 0, 2 * depth)):
            torch.manual_seed(seed)
            net = GraphUNet(2, hidden, CLASSES, name, levels, layers)
            found[title] = train(net, epochs, nodes, progress, title)
    test = rings(1, 64, nodes)
    majority = float(test.y.bincount().max() / test.y.numel())
    table = Table(
        "", "nodes labelled right", title=f"rings of {nodes}, the mark up to {nodes // 2} steps away"
    )
    for title, share in {"the commonest label": majority, **found}.items():
        table.add_row(title, f"{share:.3f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
