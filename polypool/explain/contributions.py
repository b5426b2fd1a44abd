"""What each element of a cell adds to a score that is linear in the pooled vector, for every pooling and layout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from polypool import _checks
from polypool.cells import Cells, Dense, Members, Ragged
from polypool.layouts import Layout
from polypool.pooling import Pooling
from polypool.poolings import Concat


@dataclass(frozen=True)
class Contributions:
    """What every element adds to its cell's score.

    In float32 or wider, on the device of the values, without a gradient.

    Attributes:
        values: One number per element, in the shape of the layout's values without their channels: `(B, *S)` for
            grids, `(B, T)` for tokens, `(N,)` for the others. Signed, in the unit of the score; 0 at padding. An
            element of several cells has the sum of what it adds to each.
        score: `(num_cells,)`, the pooled vector times the direction.
        error: `(num_cells,)`, the score minus what the cell's elements add up to: rounding where
            `is_exact(pool)`, otherwise how much of the score the contributions leave unexplained.
    """

    values: Tensor
    score: Tensor
    error: Tensor


def is_exact(pool: Pooling) -> bool:
    """Whether the contributions of a pooling add up to the score: what its card says, for `Concat` of all parts."""
    if isinstance(pool, Concat):
        return all(is_exact(part) for part in pool.parts)
    return pool.card.has_weights or pool.card.homogeneity not in (None, 0)


def contributions(pool: Pooling, layout: Layout, direction: Tensor) -> Contributions:
    """Splits `pool(layout) . direction` over the elements.

    `c_i = w_i d_i (x_i . direction)` for poolings with weights `w d`, which are held fixed; otherwise `c_i = x_i .
    grad_i / k` with the gradient of the score and the degree k of homogeneity (Euler's theorem: `sum_i x_i . grad_i =
    k score`). The pooling's card decides; a pooling that is neither gets k = 1, and its error says how much is
    missing. A concatenation is split part by part, so parts of different degrees are exact together.

    Shapes:
        See `Contributions`.

    Args:
        pool: Any pooling.
        layout: Any layout that it can pool; overlapping windows and spans and soft clusters too.
        direction: `(C_out,)` for all cells, or `(num_cells, C_out)`: a row of a classifier's weights, another text's
            embedding, the gradient of a loss with respect to the pooled vectors.

    Returns:
        The contributions. An empty cell has score 0. A NaN stays in its own cell.

    Raises:
        TypeError: An argument has a type or dtype that does not fit.
        ValueError: The direction has a shape that does not fit, or is on another device.
        NotImplementedError: The pooling cannot pool this layout.

    Cost:
        One forward and one backward pass of the pooling (with weights one forward), on a copy of the members.

    Source:
        Euler 1755 for homogeneous functions; Zhou et al. 2016, Learning Deep Features for Discriminative
        Localization, is the case of the mean.

    Example:
        >>> import torch, polypool as pp
        >>> from polypool.explain import contributions
        >>> tokens = pp.Tokens(torch.tensor([[[1.0], [5.0], [9.0]]]), mask=torch.tensor([[1, 1, 0]]))
        >>> found = contributions(pp.build("mean"), tokens, torch.tensor([2.0]))
        >>> found.values, found.score
        (tensor([[1., 5., 0.]]), tensor([6.]))
    """
    if not isinstance(pool, Pooling):
        raise TypeError(f"pool must be a Pooling; found {type(pool).__name__}. Make one with polypool.build.")
    if not isinstance(layout, Layout):
        raise TypeError(f"layout must be a Layout; found {type(layout).__name__}. Make one with as_layout.")
    pool._require(layout)
    along = _direction(direction, layout, pool.out_channels(layout.channels))
    with torch.inference_mode(False), torch.no_grad():
        structure: Layout = pytree.tree_map_only(Tensor, _own, layout)
        cells = _listed(structure)
        score, members = _split(pool, cells, _own(along).to(torch.float64))
        total = cells.total(members)[..., 0]
        values = structure.collect(members).squeeze(structure._channel_dim)
        # An infinite score that its elements reach is no error.
        error = torch.where(score == total, torch.zeros_like(score), score - total)
    narrow = torch.promote_types(layout.values.dtype, torch.float32)
    return Contributions(values.to(narrow), score.to(narrow), error.to(narrow))


def _direction(direction: Tensor, layout: Layout, channels: int) -> Tensor:
    """The checked direction as one row per cell, or one for all."""
    given = _checks.tensor(direction, "direction")
    if not given.is_floating_point():
        raise TypeError(f"direction must be of a floating dtype; found {given.dtype}. Use direction.float().")
    shapes = ((channels,), (layout.num_cells, channels))
    if tuple(given.shape) not in shapes:
        raise ValueError(
            f"direction must have shape (C_out,) = {shapes[0]} or (num_cells, C_out) = {shapes[1]}; found "
            f"{_checks.shape(given)}. pool.out_channels tells the channels, layout.num_cells the rows."
        )
    _checks.same_device(given, "direction", layout.values)
    return given


def _own(t: Tensor) -> Tensor:
    """A tensor without a graph, and not of inference mode, which no gradient could go through."""
    return t.detach().clone() if t.is_inference() else t.detach()


def _listed(layout: Layout) -> Dense | Ragged:
    """The cells with every membership as an element of its own that wants a gradient.

    Elements of several cells, and the matrix product of soft ones, which never lists its rows, are right this way.
    """
    cells = layout.cells
    rows = cells.rows.clone().requires_grad_()
    if isinstance(cells, Dense):
        return Dense(rows, cells.real, cells.weight)
    if not isinstance(cells, Ragged):
        raise NotImplementedError(f"contributions know dense and ragged cells; found {type(cells).__name__}.")
    of = cells.members
    members = Members(of.cell, of.num_cells, partial=of.partial, sorted=of.sorted)
    return Ragged(rows, members, cells.weight)


def _split(pool: Pooling, cells: Dense | Ragged, direction: Tensor) -> tuple[Tensor, Tensor]:
    """The score of each cell and what each member adds, `(..., N, 1)`, both float64."""
    if isinstance(pool, Concat):
        return _split_parts(pool, cells, direction)
    score, surrogate, degree = _score(pool, cells, direction)
    rows = cells.values.detach().double()
    gradient = torch.zeros_like(rows)
    if surrogate.requires_grad:
        found = torch.autograd.grad(
            surrogate,
            cells.values,
            torch.ones_like(surrogate),
            retain_graph=True,
            allow_unused=True,
            materialize_grads=True,
        )
        gradient = found[0].double()
    # What a score does not depend on adds nothing, even where it is infinite or NaN.
    product = torch.where(gradient == 0, torch.zeros_like(rows), rows * gradient)
    return score.detach(), product.sum(-1, keepdim=True) / degree


def _split_parts(pool: Concat, cells: Dense | Ragged, direction: Tensor) -> tuple[Tensor, Tensor]:
    channels = cells.values.shape[-1]
    widths = [part.out_channels(channels) for part in pool.parts]
    split = [_split(p, cells, d) for p, d in zip(pool.parts, direction.split(widths, -1), strict=True)]
    scores, members = zip(*split, strict=True)
    return torch.stack(scores).sum(0), torch.stack(members).sum(0)


def _score(pool: Pooling, cells: Cells, direction: Tensor) -> tuple[Tensor, Tensor, int]:
    """The score of each cell, the function of the rows whose gradient is taken, and its degree."""
    with torch.enable_grad():
        if not pool.card.has_weights:
            score = _dot(pool.reduce(cells), cells, direction)
            return score, score, pool.card.homogeneity or 1
        held = _dot(cells.apply(pool.weigh(cells).detach(), cells.rows), cells, direction)
    # The pooling's own way, not the weights': if the two differ, the error shows it.
    return _dot(pool.reduce(cells), cells, direction), held, 1


def _dot(pooled: Tensor, cells: Cells, direction: Tensor) -> Tensor:
    """The pooled rows times the direction, 0 in empty cells."""
    product = (pooled.double() * direction).sum(-1)
    return torch.where(cells.n[..., 0] > 0, product, torch.zeros_like(product))
