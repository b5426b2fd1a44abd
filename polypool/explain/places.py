"""From the dimensions of a feature map to places of the image."""

from __future__ import annotations

from torch import Tensor

from polypool import _checks
from polypool.explain.decision import NotExplained
from polypool.explain.tape import Tape

MOST_PREFIX_TOKENS = 64


def to_map(values: Tensor, image: Tensor, tape: Tape, grid: tuple[int, ...] | None) -> tuple[Tensor, Tensor]:
    """Numbers per position `(B, *positions)` as a map `(B, *S)`, and what is on no place of it, `(B,)`.

    A row of tokens becomes the grid of patches; what comes before (class and register tokens) is on no place.
    """
    rank = image.dim() - 2
    if values.dim() - 1 == rank:
        if grid is not None and tuple(values.shape[1:]) != grid:
            raise ValueError(f"grid must be {tuple(values.shape[1:])}, the size of the map; found {grid}.")
        return values, values.new_zeros(values.shape[0])
    if values.dim() != 2:
        raise NotExplained(
            f"the pooled map has {values.dim() - 1} dimensions of positions, the image has {rank}; found "
            f"{_checks.shape(values)}."
        )
    tokens = values.shape[1]
    places = _grid(tokens, image, tape) if grid is None else grid
    count = 1
    for size in places:
        count *= size
    if count > tokens:
        raise ValueError(f"grid must have at most {tokens} places, one per token; found {places}.")
    prefix = tokens - count
    return values[:, prefix:].unflatten(1, places), values[:, :prefix].sum(1)


def _grid(tokens: int, image: Tensor, tape: Tape) -> tuple[int, ...]:
    """The patches of the image: from the convolution that cut them, or from square patches that fit."""
    rank = image.dim() - 2
    seen = [
        tuple(step.outputs[0].shape[2:])
        for step in reversed(tape.steps)
        if step.name == f"conv{rank}d" and step.outputs[0].dim() == rank + 2
    ]
    square = [tuple(size // edge for size in image.shape[2:]) for edge in range(1, min(image.shape[2:]) + 1)]
    for candidates in (seen, square):
        left = [(tokens - _product(places), places) for places in candidates]
        fitting = [(prefix, places) for prefix, places in left if 0 <= prefix <= MOST_PREFIX_TOKENS]
        if fitting:
            return min(fitting, key=lambda one: one[0])[1]
    raise NotExplained(
        f"how {tokens} tokens lie on an image of {tuple(image.shape[2:])} is unknown. Name it: grid=(rows, columns)."
    )


def spatial_dims(features: Tensor, image: Tensor) -> tuple[int, ...]:
    """Which dimensions of a layer's output are positions: those that shrink all sides of the image alike."""
    rank = image.dim() - 2
    if features.dim() == 3 and rank != 1:
        return (1,)
    if features.dim() != rank + 2:
        raise NotExplained(
            f"the layer gives {_checks.shape(features)}, which is neither a map (B, C, *S) nor tokens (B, T, C)."
        )
    sides = image.shape[2:]

    def uneven(dims: range) -> float:
        steps = [side / features.shape[dim] for side, dim in zip(sides, dims, strict=True)]
        return max(steps) / min(steps)

    first, last = range(2, rank + 2), range(1, rank + 1)
    return tuple(first if uneven(first) <= uneven(last) else last)


def _product(sizes: tuple[int, ...]) -> int:
    count = 1
    for size in sizes:
        count *= size
    return count
