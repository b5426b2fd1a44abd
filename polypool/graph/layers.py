"""What a node keeps of the outputs of several layers: jumping knowledge."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

MODES = ("last", "cat", "sum", "max", "attention")


class JoinLayers(nn.Module):
    """One vector per node from what each layer of a network made of it.

    - `"last"`: the last layer's, which is what a network without jumping knowledge reads out;
    - `"cat"`: all of them side by side, as the readout of GIN does;
    - `"sum"` and `"max"`: per channel;
    - `"attention"`: `sum_l a_l h_l` with `a = softmax_l(v . h_l + b_l)`, for each node by itself.

    Args:
        mode: One of the five.
        channels: The channels of each layer; `"attention"` needs it.
        num_layers: How many layers there are; `"attention"` needs it.

    Raises:
        ValueError: The mode is unknown.
        TypeError: `"attention"` without `channels` or `num_layers`.

    Source: Xu et al. 2018, Representation Learning on Graphs with Jumping Knowledge Networks. Their attention scores
    layers by a recurrent network over all of them (`JumpingKnowledge("lstm")` of PyG, which can be used in front of any
    readout); this one scores each layer by its own vector and place.

    Example:
        >>> import torch
        >>> from polypool.graph import JoinLayers
        >>> JoinLayers("cat")([torch.ones(5, 8), torch.ones(5, 16)]).shape
        torch.Size([5, 24])
    """

    def __init__(
        self, mode: str = "last", channels: int | None = None, num_layers: int | None = None
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"layers must be one of {', '.join(MODES)}; found {mode!r}.")
        self.mode = mode
        self.channels = channels
        self.num_layers = num_layers
        if mode == "attention":
            if channels is None or num_layers is None:
                raise TypeError('layers="attention" needs channels and num_layers, those of the network.')
            self.score = nn.Linear(channels, 1, bias=False)
            self.place = nn.Parameter(torch.zeros(num_layers))

    def reset_parameters(self) -> None:
        """Draws the scores anew."""
        if self.mode == "attention":
            self.score.reset_parameters()
            nn.init.zeros_(self.place)

    def forward(self, layers: Sequence[Tensor]) -> Tensor:
        """`(N, C_out)` from one `(N, C)` per layer."""
        listed = list(layers)
        if not listed:
            raise ValueError("layers must hold the output of at least one layer; found none.")
        if self.num_layers is not None and len(listed) != self.num_layers:
            raise ValueError(
                f"layers must hold {self.num_layers} outputs, as num_layers says; found {len(listed)}. "
                "Pass one for each layer."
            )
        if self.mode == "last":
            return listed[-1]
        if self.mode == "cat":
            return torch.cat(listed, dim=-1)
        shapes = {tuple(one.shape) for one in listed}
        if len(shapes) > 1:
            raise ValueError(
                f"layers must have one shape for {self.mode!r}; found {' and '.join(map(str, sorted(shapes)))}. "
                'Use "cat", or give all layers the same width.'
            )
        stacked = torch.stack(listed, dim=-2)  # (N, L, C)
        if self.mode == "sum":
            return stacked.sum(-2)
        if self.mode == "max":
            return stacked.amax(-2)
        share = (self.score(stacked)[..., 0] + self.place).softmax(-1)
        return (share[..., None] * stacked).sum(-2)

    def out_channels(self, in_channels: int | Sequence[int]) -> int:
        """How many channels the result has; `in_channels` is that of all layers, or a list, one for each."""
        if isinstance(in_channels, int):
            if self.mode != "cat":
                return in_channels
            if self.num_layers is None:
                raise ValueError(
                    "in_channels must be a list, one number for each layer, when num_layers is not set; found an int."
                )
            return in_channels * self.num_layers
        return sum(in_channels) if self.mode == "cat" else in_channels[-1]

    def extra_repr(self) -> str:
        return self.mode
