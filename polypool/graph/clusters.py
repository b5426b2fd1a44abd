"""Clusters whose number differs from graph to graph."""

from __future__ import annotations

import torch
from torch import Tensor

from polypool import _checks
from polypool.layouts import Clusters


class GraphClusters(Clusters):
    """Clusters numbered through a whole batch: graph 0 may have three of them and graph 1 seventy.

    `Clusters` with a batch gives every graph as many cells. Here each cluster says which graph it is of, so that
    coarsening a batch makes as many coarse nodes as there are and none that is empty.

    Args:
        values: `(N, C)` floating.
        assignment: `(N,)` integers, the cluster of each node, -1 for none; or `(2, M)` integers, pairs of node and
            cluster. The numbers run through the batch.
        num_clusters: How many clusters there are in all; read from the assignment when None.
        weight: `(N,)` or `(M,)`, one number >= 0 per membership.
        cluster_batch: `(K,)` integers, the graph of each cluster; all of one graph when None.
        num_graphs: How many graphs there are.

    Raises:
        TypeError: An argument has a dtype that does not fit; a soft assignment is one, `Clusters` takes those.
        ValueError: A shape or a value does not fit.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.graph.clusters import GraphClusters
        >>> rows, graphs = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0, 1])
        >>> clusters = GraphClusters(rows, torch.tensor([0, 0, 1]), cluster_batch=graphs, num_graphs=2)
        >>> pp.build("sum")(clusters), clusters.batch
        (tensor([[3.],
                [4.]]), tensor([0, 1]))
    """

    structure = ("assignment", "node_batch", "cluster_batch")  # type: ignore[assignment]

    def __init__(
        self,
        values: Tensor,
        assignment: Tensor,
        num_clusters: int | None = None,
        weight: Tensor | None = None,
        cluster_batch: Tensor | None = None,
        num_graphs: int = 1,
    ) -> None:
        if _checks.tensor(assignment, "assignment").is_floating_point():
            raise TypeError("assignment must hold integers; found a soft one. Use Clusters with a batch.")
        super().__init__(values, assignment, num_clusters, weight)
        self.num_graphs = _checks.size(num_graphs, "num_graphs")
        if cluster_batch is None:
            if self.num_graphs != 1:
                raise ValueError(
                    f"cluster_batch must be given for more than one graph; found num_graphs = {num_graphs}. "
                    "Pass the graph of each cluster."
                )
            cluster_batch = torch.zeros(self.num_clusters, dtype=torch.int64, device=values.device)
        expected = torch.Size((self.num_clusters,))
        self.cluster_batch = _checks.index(cluster_batch, "cluster_batch", expected, "(K,)", values)
        way_out = "Count graphs from 0, or pass a larger num_graphs."
        _checks.in_range(self.cluster_batch, "cluster_batch", 0, self.num_graphs, "num_graphs", way_out)

    @property
    def num_cells(self) -> int:
        return self.num_clusters

    @property
    def batch(self) -> Tensor:
        return self.cluster_batch
