"""Networks and poolings that tests name as `module:callable`."""

import torch
from torch import Tensor, nn

import polypool as pp

CHANNELS = 6


class Maps(nn.Module):
    """Two convolutions; a map of a quarter of the size."""

    def __init__(self, channels: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 8, 3, stride=2, padding=1, bias=bias),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, CHANNELS, 3, stride=2, padding=1, bias=bias),
        )

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.layers(images)
        return found


def maps() -> nn.Module:
    """Random weights; whoever calls it decides on the seed."""
    return Maps()


def grey_maps() -> nn.Module:
    return Maps(1)


def patches() -> nn.Module:
    """One position for each 4 x 4 pixels, which nothing beyond them reaches."""
    return nn.Conv2d(3, CHANNELS, 4, stride=4)


def classifier() -> nn.Module:
    return nn.Sequential(Maps(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def no_network() -> object:
    return "a string"


def broken() -> nn.Module:
    raise FileNotFoundError("there are no weights")


def attention() -> pp.Pooling:
    """A pooling with weights that somebody might have trained."""
    pool = pp.build("attention", channels=CHANNELS)
    with torch.no_grad():
        for weight in pool.parameters():
            weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight))
    return pool


class Messages(nn.Module):
    """The sum of the neighbours' features, and a linear layer."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, CHANNELS)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        rows = x[edge_index[0]]
        if edge_weight is not None:
            rows = rows * edge_weight[:, None]
        found: Tensor = self.linear(x + torch.zeros_like(x).index_add(0, edge_index[1], rows))
        return found


def messages_of_3() -> nn.Module:
    return Messages(3)


def linear_of_3() -> nn.Module:
    """A network that reads no edges."""
    return nn.Sequential(nn.Linear(3, CHANNELS), nn.ReLU())


class Centred(nn.Module):
    """Subtracts the mean of each graph, as PyG's GraphNorm does; it has to know the graph of each node."""

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor, batch_size: int) -> Tensor:
        return x - pp.build("mean")(pp.Nodes(x, batch, batch_size))[batch]


def centred() -> nn.Module:
    return Centred()


def graph_vectors() -> nn.Module:
    """What is no row for each node."""

    class Summed(nn.Module):
        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return x.sum(0, keepdim=True)

    return Summed()
