"""What soft selects share: each node shared out among K clusters of its graph, by a network, and losses."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from polypool.graph._graph import Graph
from polypool.graph.losses import average
from polypool.graph.select._settings import finite
from polypool.graph.select.base import Select, Selection
from polypool.layouts import Clusters
from polypool.poolings._settings import count, positive


class Soft(Select):
    """Shares each node out: `softmax(scores / temperature)`, K shares that add up to 1.

    A graph has K coarse nodes whatever its size, also when it has none of its own; a coarse node without any share
    is 0.
    """

    normalise = True

    def __init__(self, num_clusters: int, temperature: float) -> None:
        super().__init__()
        self.num_clusters = count(num_clusters, "num_clusters")
        self.temperature = positive(temperature, "temperature")

    def scores(self, graph: Graph) -> Tensor:
        """`(N, K)`, before the softmax."""
        raise NotImplementedError(f"{type(self).__name__} has to define scores.")

    def losses(self, assignment: Tensor, graph: Graph) -> Mapping[str, Tensor]:
        """One number per graph, `(B,)`, by name."""
        raise NotImplementedError(f"{type(self).__name__} has to define losses.")

    def forward(self, graph: Graph) -> Selection:
        assignment = finite((self.scores(graph) / self.temperature).softmax(1), self.card.name)
        losses = {name: average(loss, graph.counts) for name, loss in self.losses(assignment, graph).items()}
        return Selection(shared(graph, assignment), losses=losses, normalise=self.normalise)

    def extra_repr(self) -> str:
        return f"num_clusters={self.num_clusters}, temperature={self.temperature}"


class SoftOfFeatures(Soft):
    """Scores by a linear map of the features, or by two with a ReLU between them."""

    def __init__(
        self, channels: int, num_clusters: int, hidden: int | None = None, temperature: float = 1.0
    ) -> None:
        super().__init__(num_clusters, temperature)
        count(channels, "channels")
        self.network: nn.Module = nn.Linear(
            channels if hidden is None else count(hidden, "hidden"), num_clusters
        )
        if hidden is not None:
            self.network = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), self.network)

    def scores(self, graph: Graph) -> Tensor:
        return self.network(graph.x)


def shared(graph: Graph, assignment: Tensor) -> Clusters:
    """The layout of a soft assignment `(N, K)`, K clusters for each graph."""
    return Clusters(graph.x, assignment, batch=graph.batch, num_graphs=graph.num_graphs)
