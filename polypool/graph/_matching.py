"""Greedy matching of edges in parallel, and the order in which edges compete."""

import numpy as np
import torch
from torch import Tensor

from polypool.graph._sorting import ordered

#: Bits of a hash that decide between equal scores, the same for batches of any size.
TIE = 11


def best_first(score: Tensor, tie: Tensor) -> Tensor:
    """`(M,)` int64, the numbers in the order of falling score, equal scores by `tie`, then as they come; NaN last."""
    score = score.detach().nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    tie = tie & ((1 << TIE) - 1)
    if score.dtype is torch.float32:
        # The bits of a float rise with it above 0 and fall with it below; -0.0 is made 0.0.
        bits = (score + 0.0).view(torch.int32)
        falling = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long().neg_().add_(0x7FFFFFFF)
        return ordered(falling.bitwise_left_shift_(TIE).bitwise_or_(tie), 32 + TIE)[1]
    by_tie = tie.argsort(stable=True)
    return by_tie[score[by_tie].argsort(descending=True, stable=True)]


def matching(ends: Tensor, order: Tensor, num_nodes: int) -> Tensor:
    """The edges that greedy matching takes: best first, each whose two ends are still free.

    In each round every edge that is the best left at both of its ends is taken, and what touches it goes. Such edges
    are exactly those that the greedy order takes (Preis 1999; Manne, Bisseling 2007), many at once: with edges in no
    particular order the rounds grow like the logarithm of their number. (Along a path on which scores only rise, each
    edge waits for the next: 20,000 of them take two seconds.) In numpy, also for tensors on a GPU: what is
    left after two rounds is so little that starting an operation costs more than running it.

    Args:
        ends: `(2, E)` int64, the two ends of each edge, which differ.
        order: `(E,)` int64, the edges, best first.
        num_nodes: How many nodes there are.

    Returns:
        `(M,)` int64, the numbers of the edges taken.
    """
    one, other = ends.index_select(1, order.flip(0)).numpy(force=True)
    place = np.arange(one.shape[0])[::-1].copy()
    free = np.ones(num_nodes, dtype=np.bool_)
    at_one, at_other = np.empty((2, num_nodes), dtype=np.int64)
    taken = [place[:0]]
    while place.size:
        # Written from the worst edge to the best: what stays is the best at each node.
        at_one.fill(order.shape[0])
        at_other.fill(order.shape[0])
        at_one[one] = place
        at_other[other] = place
        best = np.minimum(at_one, at_other)
        wins = ((best.take(one) == place) & (best.take(other) == place)).nonzero()[0]
        taken.append(place.take(wins))
        free[one.take(wins)] = False
        free[other.take(wins)] = False
        left = (free.take(one) & free.take(other)).nonzero()[0]
        one, other, place = one.take(left), other.take(left), place.take(left)
    return order[torch.from_numpy(np.concatenate(taken)).to(order.device)]
