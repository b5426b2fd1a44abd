"""The image section in parts, on networks that have hardly been trained."""

from collections.abc import Mapping

import pytest
import torch

import polypool as pp
from polypool.demo import images
from polypool.demo.budget import TINY


@pytest.fixture(scope="module")
def data() -> images.Digits:
    return images.digits(TINY.scans, seed=0)


def net(name: str, pools: Mapping[str, pp.Pooling]) -> images.DigitNet:
    torch.manual_seed(0)
    return images.DigitNet(images.head(name, pools), squeeze=pools["mean"]).eval()


def test_all_scans_are_used_once() -> None:
    data = images.digits(1797, seed=0)
    assert (len(data.train), len(data.test)) == (1294, 503)
    assert data.train.shape[1:] == (1, 12, 12)
    border = data.train.clone()
    border[:, :, 2:-2, 2:-2] = 0
    assert border.abs().max() == 0
    assert data.train.min() == 0
    assert data.train.max() == 1


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mean", 330),
        ("max", 330),
        ("gem", 330),
        ("mean+max+std", 970),
        ("attention", 363),
        ("flatten", 46_090),
    ],
)
def test_head_parameters(name: str, parameters: int, pools: dict[str, pp.Pooling]) -> None:
    assert net(name, pools).head_parameters() == parameters


def test_the_shared_object_is_the_head(pools: dict[str, pp.Pooling]) -> None:
    assert net("mean", pools).pool is pools["mean"]


def test_the_map_of_the_mean_head_averages_to_the_logit(
    data: images.Digits, pools: dict[str, pp.Pooling]
) -> None:
    cam = images.activation_maps(net("mean", pools), data.test[:8], data.test_labels[:8])
    torch.testing.assert_close(cam.maps.mean((1, 2)), cam.margins, rtol=0, atol=1e-6)
    assert cam.margins.abs().max() > 1e-4


def test_attention_shares_sum_to_one(data: images.Digits, pools: dict[str, pp.Pooling]) -> None:
    shares = images.attention_maps(net("attention", pools), data.test[:8])
    torch.testing.assert_close(shares.sum((1, 2)), torch.ones(8))


def test_moving_a_digit_is_counted_in_four_directions(pools: dict[str, pp.Pooling]) -> None:
    class Corner(torch.nn.Module):
        """Says 1 where the upper left pixel is on."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([torch.full((len(x),), 0.5), x[:, 0, 0, 0]], dim=1)

    scan = torch.zeros(1, 1, 12, 12)
    scan[0, 0, 2, 0] = 1
    corner, label = Corner(), torch.tensor([1])
    assert images.accuracy(corner, scan, label) == 0.0  # type: ignore[arg-type]
    assert images.accuracy(corner, scan, label, shift=2) == 0.25  # type: ignore[arg-type]


def test_one_of_each(data: images.Digits) -> None:
    chosen = images.one_of_each(data.test_labels)
    assert data.test_labels[chosen].tolist() == list(range(8))


def test_training_is_the_same_twice(data: images.Digits, pools: dict[str, pp.Pooling]) -> None:
    ticks: list[None] = []
    first, second = (
        images.train("max", pools, data, TINY, lambda: ticks.append(None)).state_dict() for _ in range(2)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert len(ticks) == 2 * TINY.image_epochs
