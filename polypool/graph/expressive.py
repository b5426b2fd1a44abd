"""Whether a coarsening can tell apart what the message passing before it could."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polypool.graph.coarsen import Coarse, Coarsen
from polypool.graph.lift import lift
from polypool.pooling import Pooling

#: Numbers nearer than this, relative to their size, count as equal.
NEAR = 1e-4


@dataclass(frozen=True)
class Conditions:
    """What the theorem asks of a coarsening, measured on data.

    Attributes:
        everyone_counts: Whether all nodes have the same total share in the coarse nodes, above 0 (condition 2).
        shares: The smallest and the largest total share of a node, gates counted.
        reduces_by_sum: Whether coarse features are the sums of the shares of the nodes' features (condition 3).
    """

    everyone_counts: bool
    shares: tuple[float, float]
    reduces_by_sum: bool

    @property
    def sufficient(self) -> bool:
        """Whether both hold: then nothing that sums of node features tell apart is lost."""
        return self.everyone_counts and self.reduces_by_sum

    def __str__(self) -> str:
        low, high = self.shares
        share = (
            f"every node counts {low:.3g}"
            if self.everyone_counts
            else f"nodes count from {low:.3g} to {high:.3g}"
        )
        return f"{share}; reduce is {'the sum' if self.reduces_by_sum else 'not the sum'}"


def conditions(coarsen: Coarsen, data: Any, x: Tensor | None = None) -> Conditions:
    """Measures the sufficient conditions on a graph or a batch.

    Let `x_i` be what message passing made of the nodes, S, `(N, K)`, how much of each node goes into each coarse node
    (its share, times the gate of the coarse node), and `x'` the features of the coarse nodes. If

    1. graphs that differ have different sums `sum_i x_i`, which as many layers as the Weisfeiler-Lehman test has rounds
       give when they are as strong as it is (a GIN with enough width),
    2. `sum_k S_ik` is the same number > 0 for every node, and
    3. `x' = S^T x`,

    then `sum_k x'_k` is that number times `sum_i x_i`: the coarse graphs differ as well, whatever Connect does. This
    function measures 2 and 3; 1 is a matter of what comes before.

    The conditions are sufficient and not necessary: what violates them may still tell many graphs apart, and may be
    more accurate. A coarsening whose selects depend on the features is measured with the features that the data hold.

    Args:
        coarsen: What is measured.
        data: A PyG `Data` or `Batch`.
        x: `(N, C)`, features in place of those of the data.

    Returns:
        Which conditions hold, and the numbers.

    Source:
        Bianchi, Lachi 2023, The Expressive Power of Pooling in Graph Neural Networks, theorem 1. Gates are counted into
        S, for they scale what arrives; the paper's table leaves them out for edge contraction.

    Example:
        >>> import torch
        >>> from torch_geometric.data import Data
        >>> from polypool.graph import Coarsen
        >>> from polypool.graph.expressive import conditions
        >>> ring = Data(x=torch.rand(6, 4), edge_index=torch.tensor([[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5, 0]]))
        >>> print(conditions(Coarsen("k_mis"), ring))
        every node counts 1; reduce is the sum
        >>> conditions(Coarsen("top_k", channels=4), ring).sufficient
        False
    """
    with torch.no_grad():
        coarse = coarsen(data, x)
        share = shares(coarse)
        low, high = (float(share.min()), float(share.max())) if share.numel() else (1.0, 1.0)
        even = low > 0 and high - low <= NEAR * high
        return Conditions(even, (low, high), _sums(coarse, coarsen.reduce))


def shares(coarse: Coarse) -> Tensor:
    """`(N,)`: how much of each node arrives in the coarse nodes, gates counted: the row sums of S."""
    count = coarse.x.new_ones((coarse.num_nodes, 1)) if coarse.gate is None else coarse.gate[:, None]
    return lift(coarse.clusters, count.to(coarse.clusters.values.dtype))[:, 0]


def _sums(coarse: Coarse, reduce: Pooling) -> bool:
    """Whether the pooling gives `S^T v` for numbers v of either sign on these clusters."""
    generator = torch.Generator().manual_seed(0)
    nodes, channels = coarse.clusters.values.shape
    v = torch.randn(nodes, channels, generator=generator, dtype=torch.float64)
    v = v.to(device=coarse.x.device, dtype=coarse.clusters.values.dtype)
    found = reduce(coarse.clusters.with_values(v))
    # Against the definition: the sum of the shares, which is the transpose of lift.
    probe = torch.randn(found.shape, generator=generator, dtype=torch.float64).to(
        device=v.device, dtype=v.dtype
    )
    if found.shape[1] != channels:
        return False
    across = (found * probe).sum(0)
    along = (v * lift(coarse.clusters, probe)).sum(0)
    scale = (found * probe).abs().sum(0) + (v * lift(coarse.clusters, probe)).abs().sum(0)
    return bool(((across - along).abs() <= NEAR * scale).all())
