"""What is known about attribution through a pooling and a linear head, measured without our own arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.explain import class_activation_map, contributions, draw_image
from tests.support import Tolerance, close, normal

CHANNELS = 6


class Net(nn.Module):
    """A small convolutional network with a pooling and a linear head."""

    def __init__(self, pool: pp.Pooling) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, CHANNELS, 3), nn.GELU(), pp.blocks.SqueezeExcite(CHANNELS, 2))
        self.pool = pool
        self.head = nn.Linear(pool.out_channels(CHANNELS), 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.pool(self.body(image)))


def network(name: str) -> tuple[Net, Tensor]:
    return Net(pp.build(name, channels=CHANNELS)).double().eval(), normal(2, 3, 9, 11)


def gradient_times_activation(net: Net, image: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """The sum of the map of each image by autograd alone, and the logit minus the bias."""
    features = net.body(image).detach().requires_grad_()
    logit = net.head(net.pool(features))[:, target]
    (gradient,) = torch.autograd.grad(logit.sum(), features)
    return (features * gradient).detach().sum((1, 2, 3)), (logit - net.head.bias[target]).detach()


@pytest.mark.parametrize("name", ["mean", "max", "gem", "top_k", "median", "std"])
def test_gradient_times_activation_is_exact_at_degree_one(name: str) -> None:
    net, image = network(name)
    total, score = gradient_times_activation(net, image, 2)
    # Below its eps, GeM takes an element for eps.
    tolerance = Tolerance(0, 1e-5) if name == "gem" else None
    close(total, score, tolerance=tolerance)
    found = class_activation_map(net, image, target=2)
    close(found.values.sum((1, 2)), score, tolerance=tolerance)
    close(found.score, score)


def test_second_order_pooling_is_off_by_exactly_two() -> None:
    net, image = network("var")
    total, score = gradient_times_activation(net, image, 1)
    close(total, 2 * score)
    found = class_activation_map(net, image, target=1)
    close(found.values.sum((1, 2)), score)


@pytest.mark.parametrize("name", ["softmax", "attention"])
def test_weighted_poolings_are_exact_with_their_weights_held(name: str) -> None:
    """`softmax` is SoftPool; `attention` weighs by a learned score."""
    net, image = network(name)
    total, score = gradient_times_activation(net, image, 0)
    assert (total - score).abs().min() > 1e-6, "the gradient through the weights is not part of the sum"
    grid = pp.Grid(net.body(image).detach())
    held = torch.einsum("bchw,c->bhw", net.pool.weights(grid) * grid.values, net.head.weight[0]).detach()
    close(held.sum((1, 2)), score)
    found = class_activation_map(net, image, target=0)
    close(found.values, held)
    close(found.score, score)


@pytest.mark.parametrize("name", ["mean", "max", "gem", "std", "median"])
def test_grad_cam_is_exact_for_the_mean_alone(name: str) -> None:
    net, image = network(name)
    features = net.body(image).detach().requires_grad_()
    logit = net.head(net.pool(features))[:, 3]
    (gradient,) = torch.autograd.grad(logit.sum(), features)
    # Its weights are the gradient's average; without its rectification, which loses the sum for the mean too.
    map_ = (gradient.mean((2, 3), keepdim=True) * features).detach().sum(1)
    gap = (map_.sum((1, 2)) - (logit - net.head.bias[3])).detach().abs().max()
    assert (gap < 1e-12) == (name == "mean")
    assert class_activation_map(net, image, target=3).error.abs().max() < 1e-5


def test_maps_keep_sign_scale_and_additivity() -> None:
    """pytorch-grad-cam rectifies and rescales every map to [0, 1]: these three are lost."""
    net, image = network("mean")
    found = [class_activation_map(net, image, target=k) for k in range(4)]
    assert any((one.values < 0).any() for one in found)
    with torch.no_grad():
        doubled = Net(pp.build("mean")).double()
        doubled.load_state_dict(net.state_dict())
        doubled.head.weight *= 2
    close(class_activation_map(doubled, image, target=1).values, 2 * found[1].values)
    with torch.no_grad():
        doubled.head.weight[0] = net.head.weight[1] + net.head.weight[2]
    close(class_activation_map(doubled, image, target=0).values, found[1].values + found[2].values)
    draw_image(found[0], image)


def test_the_map_of_the_mean_is_the_class_activation_map_of_the_paper() -> None:
    net, image = network("mean")
    found = class_activation_map(net, image, target=2)
    features = net.body(image).detach()
    paper = torch.einsum("bchw,c->bhw", features, net.head.weight[2].detach())
    close(found.values * features[0, 0].numel(), paper)


def test_a_bag_of_instances_is_split_as_its_attention_says() -> None:
    """In attention-based multiple-instance learning an instance adds its weight times its own evidence."""
    pool = pp.build("gated_attention", channels=CHANNELS).double()
    bags, direction = pp.Packed(normal(9, CHANNELS), torch.tensor([0, 5, 9])), normal(CHANNELS)
    expected = (pool.weights(bags) * bags.values).detach() @ direction
    close(contributions(pool, bags, direction).values, expected)
