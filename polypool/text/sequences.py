"""From the features of sentence-transformers to a layout: padded or flattened, with the prompt or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from polypool import _checks
from polypool.layouts import Clusters, Layout, Packed, Tokens


@dataclass(frozen=True)
class Sequences:
    """The real tokens of a batch.

    Args:
        layout: The tokens to pool.
        positioned: The same with the place of each token in its sequence as its weight, counted from 1 and with the
            prompt; None where no token was left out (the layout knows these places itself), or where nobody asked.
    """

    layout: Layout
    positioned: Layout | None = None

    @classmethod
    def of(cls, features: Mapping[str, Any], skip: object = None, positions: bool = False) -> Sequences:
        """Those of `token_embeddings` with `attention_mask`, or flattened with `cu_seq_lens_q`.

        Args:
            features: What the modules of a sentence-transformers model hand on.
            skip: How many tokens of each sequence to leave out at its start, an int or a tensor of one or B integers.
                It is compared and never read, so no branch depends on it.
            positions: Whether `positioned` is asked for.

        Raises:
            TypeError: A tensor is missing or has a dtype that does not fit.
            ValueError: A shape does not fit.
        """
        states = _checks.tensor(features.get("token_embeddings"), "features['token_embeddings']")
        offsets, mask = features.get("cu_seq_lens_q"), features.get("attention_mask")
        if offsets is not None:
            return _flattened(states, offsets, skip, positions)
        return _padded(states, mask, skip, positions)


def _padded(states: Tensor, mask: Tensor | None, skip: object, positions: bool) -> Sequences:
    tokens = Tokens(states, mask)
    if skip is None:
        return Sequences(tokens)
    real = tokens.mask
    if real is None:
        real = torch.ones(states.shape[:2], dtype=torch.bool, device=states.device)
    place = real.to(torch.int64).cumsum(1)  # of each real token, from 1
    kept = real & (place > _lengths(skip, states.shape[0], states.device)[:, None])
    weight = place.to(torch.float32)
    return Sequences(Tokens(states, kept), Tokens(states, kept, weight=weight) if positions else None)


def _flattened(states: Tensor, offsets: Tensor, skip: object, positions: bool) -> Sequences:
    if states.dim() == 3 and states.shape[0] == 1:
        states = states.squeeze(0)
    if states.dim() != 2:
        raise ValueError(
            "token_embeddings must have shape (1, N, C) where there is cu_seq_lens_q; found "
            f"{_checks.shape(states)}. Leave cu_seq_lens_q out for padded states."
        )
    packed = Packed(states, offsets)
    if skip is None:
        return Sequences(packed)
    cell, place = packed.members.cell, packed.members.positions
    rows = packed.num_cells
    kept = place >= _lengths(skip, rows, states.device).expand(rows)[cell]
    cell = torch.where(kept, cell, torch.full_like(cell, -1))
    weight = (place + 1).to(torch.float32)
    positioned = Clusters(states, cell, rows, weight=weight) if positions else None
    return Sequences(Clusters(states, cell, rows), positioned)


def _lengths(skip: object, rows: int, device: torch.device) -> Tensor:
    """`(1,)` or `(B,)` integers."""
    if isinstance(skip, int | torch.SymInt) and not isinstance(skip, bool):
        return torch.full((1,), skip, dtype=torch.int64, device=device)  # type: ignore[arg-type]
    if not isinstance(skip, Tensor) or skip.is_floating_point():
        raise TypeError(f"prompt_length must be an int or an integer tensor; found {skip!r}.")
    flat = skip.reshape(-1).to(device)
    if flat.shape[0] not in (1, rows):
        raise ValueError(
            f"prompt_length must hold one number, or one for each of the {rows} rows; found {flat.shape[0]}."
        )
    return flat
