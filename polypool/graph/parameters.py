"""Setting parameters back, as PyG's `reset_parameters` does for whole models."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Start:
    """What the parameters were that no network of torch can draw anew, such as the exponent of `gem`.

    Args:
        module: A module as it was built.
    """

    def __init__(self, module: nn.Module) -> None:
        self.values: dict[str, Tensor] = {
            name: parameter.detach().clone() for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def restore(self, module: nn.Module) -> None:
        """Draws new weights for every part that can, and puts the other parameters back."""
        for name, part in module.named_modules():
            reset = getattr(part, "reset_parameters", None)
            if callable(reset):
                reset()
                continue
            for own, parameter in part.named_parameters(recurse=False):
                parameter.copy_(self.values[f"{name}.{own}" if name else own])
