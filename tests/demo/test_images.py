"""The image section in parts, on networks that have hardly been trained."""

from collections.abc import Mapping

import pytest
import torch

import polypool as pp
from polypool.demo import images, pictures
from polypool.demo.budget import TINY
from polypool.explain import class_activation_map


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
        ("attention", 362),
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
    head = net("mean", pools)
    found = class_activation_map(head, data.test[:8])
    margins = images.margins(head, found)
    with torch.no_grad():
        features, logits = head.maps(data.test[:8]).values.double(), head(data.test[:8]).double()
    own = logits.gather(1, found.target[:, None])[:, 0] - head.classify.bias.double()[found.target]
    scores = torch.einsum("bchw,bc->bhw", features, head.classify.weight.double()[found.target])
    torch.testing.assert_close(margins, own, rtol=0, atol=1e-6)
    torch.testing.assert_close(images.averages(found), scores.mean((1, 2)), rtol=0, atol=1e-6)
    torch.testing.assert_close(images.averages(found), margins, rtol=0, atol=1e-6)
    assert margins.abs().max() > 1e-4


@pytest.mark.parametrize("name", [name for name in images.HEADS if name != "flatten"])
def test_the_map_of_every_pooled_head_sums_to_the_logit(
    name: str, data: images.Digits, pools: dict[str, pp.Pooling]
) -> None:
    head = net(name, pools)
    found = class_activation_map(head, data.test[:8])
    torch.testing.assert_close(images.sums(found), images.margins(head, found), rtol=0, atol=1e-6)


def test_wrong_answers_are_named_on_the_picture(data: images.Digits, pools: dict[str, pp.Pooling]) -> None:
    found = class_activation_map(net("mean", pools), data.test[:2], target=3)
    figure = pictures.activation_maps(data.test[:2], torch.tensor([3, 4]), {"mean": found})
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles[:2] == ["3", "4"]
    assert titles[2:] == [f"{found.score[0]:.2f}", f"as 3: {found.score[1]:.2f}"]


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
