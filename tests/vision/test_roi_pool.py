"""`RoIPool` and `Boxes`: exact areas, hats, borders, padding, and the gradients of boxes."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import polypool as pp
from polypool.vision import BinPool, Boxes, RoIPool, SpatialPyramid, bounding_boxes
from tests.support import close, identical, normal, uniform


def shares(begin: float, end: float, length: int, bilinear: bool) -> Tensor:
    """The integral of each pixel's square or hat over an interval, `(length,)`, by adding up tiny steps exactly."""

    def square(u: float, p: int) -> float:
        return min(max(u, p), p + 1) - p

    def hat(u: float, p: int) -> float:
        t = min(max(u - p - 0.5, -1.0), 1.0)
        return (t + 1) ** 2 / 2 if t <= 0 else 1 - (1 - t) ** 2 / 2

    of = hat if bilinear else square
    return torch.tensor([of(end, p) - of(begin, p) for p in range(length)], dtype=torch.float64)


def by_hand(x: Tensor, box: Tensor, size: tuple[int, int], bilinear: bool = False) -> Tensor:
    """The mean over every bin of one box, `(C, *size)`."""
    image, x1, y1, x2, y2 = box.tolist()
    out = torch.zeros(x.shape[1], *size, dtype=x.dtype)
    for i, j in product(range(size[0]), range(size[1])):
        rows = shares(y1 + (y2 - y1) * i / size[0], y1 + (y2 - y1) * (i + 1) / size[0], x.shape[2], bilinear)
        columns = shares(
            x1 + (x2 - x1) * j / size[1], x1 + (x2 - x1) * (j + 1) / size[1], x.shape[3], bilinear
        )
        area = rows[:, None] * columns
        if area.sum() > 0:
            out[:, i, j] = (x[int(image)] * area).sum((1, 2)) / area.sum()
    return out


BOXES = torch.tensor(
    [
        [0, 0.5, 1.25, 7.5, 6.0],
        [1, 0, 0, 8, 7],
        [1, 3, 3, 3, 3],  # no area
        [0, 2.1, 2.2, 2.3, 2.9],  # in one pixel
        [1, -3.5, 2, 4, 20],  # over the border
        [0, 9, 1, 12, 4],  # outside
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("interpolation", ["area", "bilinear"])
def test_the_definition(interpolation: Any) -> None:
    x = normal(2, 3, 7, 8)
    for size in ((1, 1), (2, 2), (3, 5)):
        pool = RoIPool("mean", size, interpolation=interpolation)
        out = pool(x, BOXES)
        for box, found in zip(BOXES, out, strict=True):
            close(found, by_hand(x, box, size, interpolation == "bilinear"), f"{box.tolist()} in {size}")
    if interpolation == "area":
        assert (out[2] == 0).all()
        assert (out[5] == 0).all()


def test_a_box_of_the_whole_image_is_cut_into_its_bins() -> None:
    x = normal(2, 3, 7, 8)
    whole = torch.tensor([[0, 0, 0, 8, 7], [1, 0, 0, 8, 7]])
    for name in ("mean", "max", "std", "logsumexp", "sum"):
        close(RoIPool(name, (3, 4))(x, whole), BinPool(name, (3, 4))(x), name)


def test_the_mean_of_hats_is_the_integral_of_the_interpolated_image() -> None:
    """PrRoI pooling: beside the exact sums a fine grid of samples of `grid_sample`, inside the map."""
    x = normal(1, 2, 6, 9)
    box = torch.tensor([[0.0, 1.3, 2.2, 6.7, 4.9]], dtype=torch.float64)
    steps = 400
    ys = 2.2 + (4.9 - 2.2) * (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    xs = 1.3 + (6.7 - 1.3) * (torch.arange(steps, dtype=torch.float64) + 0.5) / steps
    where = torch.stack(
        [(xs * 2 / 9 - 1).expand(steps, steps), (ys * 2 / 6 - 1)[:, None].expand(steps, steps)], dim=-1
    )
    sampled = F.grid_sample(x, where[None], align_corners=False).mean((2, 3))
    found = RoIPool("mean", interpolation="bilinear")(x, box).flatten(1)
    assert (found - sampled).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["max", "std", "gem", "softmax", "mean+max", "attention"])
def test_any_operator_that_takes_weights(name: str) -> None:
    """The same as repeating every pixel, for boxes on quarters of pixels."""
    x = normal(2, 4, 5, 6)
    boxes = torch.tensor([[0, 0.5, 1.25, 4.5, 4.25], [1, 2, 0.75, 5.0, 4.75]], dtype=torch.float64)
    pool = pp.build(name, channels=4).double()
    roi = RoIPool(pool, 2)
    found = roi(x, boxes)
    assert found.shape == (2, roi.out_channels(4), 2, 2)
    fine = x.repeat_interleave(8, 2).repeat_interleave(8, 3)
    for k, (image, x1, y1, x2, y2) in enumerate((boxes * torch.tensor([1, 8, 8, 8, 8])).long().tolist()):
        crop = fine[image : image + 1, :, y1:y2, x1:x2]
        close(found[k], BinPool(pool, 2)(crop)[0], f"{name} of box {k}")


def test_order_statistics_say_that_they_cannot() -> None:
    with pytest.raises(NotImplementedError, match="median"):
        RoIPool("median")(normal(1, 1, 4, 4), torch.tensor([[0, 0, 0, 2, 2]]))


def test_boxes_of_each_image_and_of_a_larger_image() -> None:
    x = normal(2, 3, 7, 8)
    listed = [BOXES[BOXES[:, 0] == i, 1:] for i in (0, 1)]
    tabled = torch.cat([BOXES[BOXES[:, 0] == i] for i in (0, 1)])
    close(RoIPool("mean", 2)(x, listed), RoIPool("mean", 2)(x, tabled), "a list")
    enlarged = BOXES * torch.tensor([1, 16, 16, 16, 16])
    close(RoIPool("mean", 2, 1 / 16)(x, enlarged), RoIPool("mean", 2)(x, BOXES), "coordinates of the image")
    none = RoIPool("mean", 2)(x, torch.zeros(0, 5))
    assert none.shape == (0, 3, 2, 2)
    assert RoIPool("mean")(x, [torch.zeros(0, 4), torch.ones(1, 4)]).shape == (1, 3, 1, 1)


def test_signals_volumes_and_channels_last() -> None:
    signal = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
    assert RoIPool("mean")(signal, torch.tensor([[0, 0.5, 2.0]])).flatten().tolist() == [
        pytest.approx(1 / 1.5)
    ]
    volume = normal(1, 2, 3, 4, 5)
    found = RoIPool("mean", (1, 2, 1))(volume, torch.tensor([[0, 1, 0, 2, 4, 4, 3]]))
    wanted = volume[0, :, 2:3, :, 1:4].unflatten(2, (2, 2)).mean((1, 3, 4))
    close(found[0, :, 0, :, 0], wanted, "x is the last dimension")
    x = normal(2, 3, 7, 8)
    last = RoIPool("mean", 2)(pp.Grid(x.movedim(1, -1), channels_last=True), BOXES)
    close(last.movedim(-1, 1), RoIPool("mean", 2)(x, BOXES), "channels last")
    memory = RoIPool("mean", 2)(x.contiguous(memory_format=torch.channels_last), BOXES)
    assert memory.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("interpolation", ["area", "bilinear"])
def test_padding_and_weights(interpolation: Any) -> None:
    x, mask, weight = normal(2, 3, 7, 8), uniform(2, 7, 8) > 0.5, uniform(2, 7, 8, seed=1)
    mask[1, :4] = False
    hidden = x.masked_fill(~mask[:, None], torch.nan).requires_grad_()
    pool = RoIPool("mean", 3, interpolation=interpolation)
    out = pool(hidden, BOXES, mask=mask)
    counted = pool(pp.Grid(x, weight=mask.double()), BOXES)
    close(out, counted, "a mask is a weight of 0 and 1")
    ratio = pool(x * (mask * weight)[:, None], BOXES) / pool((mask * weight)[:, None], BOXES)
    weighed = pool(pp.Grid(hidden, mask, weight=weight), BOXES)
    close(weighed, ratio.nan_to_num(), "weights")
    out.square().sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.isfinite().all()
    assert (hidden.grad.masked_select(~mask[:, None]) == 0).all()


def test_nan_stays_in_its_bins() -> None:
    x = torch.zeros(1, 1, 1, 6)
    x[..., 2] = torch.nan
    out = RoIPool("mean", (1, 3))(x, torch.tensor([[0, 0, 0, 6, 1]])).flatten()
    assert out.isnan().tolist() == [False, True, False]


def test_gradients_go_to_the_map_and_to_the_boxes() -> None:
    x = normal(1, 2, 4, 5).requires_grad_()
    boxes = torch.tensor([[0.3, 0.4, 4.2, 3.1]], dtype=torch.float64).requires_grad_()
    for interpolation, name in (("area", "mean"), ("bilinear", "mean"), ("area", "std")):
        pool = RoIPool(name, 2, interpolation=interpolation)  # type: ignore[arg-type]
        assert torch.autograd.gradcheck(lambda x, b, pool=pool: pool(x, [b]), (x, boxes))
    assert torch.autograd.gradgradcheck(lambda x: RoIPool("mean", 2)(x, [boxes.detach()]), x)


def test_boxes_are_a_layout() -> None:
    x = normal(2, 3, 7, 8)
    layout = Boxes.of(pp.Grid(x), BOXES, (2, 3))
    assert layout.num_cells == 6 * 6
    assert "median" not in pp.names(layout)
    assert (layout.counts.unflatten(0, (6, 6))[2] == 0).all()
    pooled = pp.build("mean")(layout)
    close(
        pp.build("sum")(layout),
        pooled * pp.build("sum")(layout.with_values(torch.ones_like(x))),
        "sum is mean times area",
    )
    y = normal(36, 3, seed=2)
    inner = (layout.lift(y) * x).sum()
    close(inner, (layout.rows_of(pp.build("sum")(layout)) * y).sum(), "lift is the adjoint of sum")
    moved = layout.to(torch.float32)
    assert pp.build("mean")(moved).dtype == torch.float32


def test_bounding_boxes() -> None:
    mask = torch.zeros(3, 5, 6, dtype=torch.bool)
    mask[0, :2, 1:4] = True
    mask[2, 4, 5] = True
    wanted = [[0, 1, 0, 4, 2], [1, 0, 0, 0, 0], [2, 5, 4, 6, 5]]
    assert bounding_boxes(mask).tolist() == wanted
    assert bounding_boxes(mask.long()).tolist() == wanted
    assert bounding_boxes(torch.tensor([[0, 1, 1, 0]])).tolist() == [[0, 1, 3]]
    assert bounding_boxes(torch.ones(1, 2, 3, 4, dtype=torch.bool)).tolist() == [[0, 0, 0, 0, 4, 3, 2]]
    with pytest.raises(TypeError, match="mask must be bool"):
        bounding_boxes(torch.ones(1, 2, 3))


def test_an_image_inside_its_padding_has_the_bins_that_it_has_alone() -> None:
    sizes = [(5, 6), (3, 8), (7, 4)]
    batch, mask = (
        torch.full((3, 2, 9, 9), torch.nan, dtype=torch.float64),
        torch.zeros(3, 9, 9, dtype=torch.bool),
    )
    images = [normal(1, 2, h, w, seed=i) for i, (h, w) in enumerate(sizes)]
    for i, ((h, w), image) in enumerate(zip(sizes, images, strict=True)):
        batch[i, :, :h, :w], mask[i, :h, :w] = image[0], True
    boxes = bounding_boxes(mask)
    levels = [RoIPool("max", n)(batch, boxes, mask=mask).flatten(1) for n in (1, 2, 4)]
    alone = torch.cat([SpatialPyramid((1, 2, 4))(image) for image in images])
    close(torch.cat(levels, 1), alone, "a pyramid of each image")


def test_half_precision() -> None:
    x = torch.full((1, 1, 40, 40), 60000.0, dtype=torch.float16)
    out = RoIPool("mean")(x, torch.tensor([[0, 0.5, 0.5, 39.5, 39.5]]))
    assert out.dtype == torch.float16
    assert out.item() == 60000


def test_bitwise_the_same_twice() -> None:
    x = normal(2, 5, 33, 31, dtype=torch.float32)
    boxes = BOXES.float() * torch.tensor([1, 3, 3, 3, 3])
    identical(RoIPool("mean", 7)(x, boxes), RoIPool("mean", 7)(x, boxes), "again")


def test_exported_and_compiled() -> None:
    x, boxes = normal(2, 3, 7, 8), BOXES[:2]
    pool = RoIPool("mean", 2)
    shapes = {"x": {0: torch.export.Dim.DYNAMIC}, "boxes": {0: torch.export.Dim.DYNAMIC}}
    program = torch.export.export(pool, (x, boxes), dynamic_shapes=shapes).module()
    close(program(x, BOXES), pool(x, BOXES), "exported, with more boxes")
    torch.compiler.reset()
    with torch._dynamo.config.patch(capture_scalar_outputs=True):
        compiled = torch.compile(pool, fullgraph=True, backend="aot_eager")
        close(compiled(x, boxes), pool(x, boxes), "compiled")


@pytest.mark.parametrize(
    ("boxes", "error", "message"),
    [
        (torch.zeros(2, 4), ValueError, r"boxes must have shape \(K, 1 \+ 2 D\) = \(K, 5\) for 2 spatial"),
        (
            torch.tensor([[2, 0, 0, 1, 1]]),
            ValueError,
            r"boxes\[:, 0\] must be in \[0, 2\) \(the images\); found 2",
        ),
        (torch.tensor([[0.5, 0, 0, 1, 1]]), ValueError, "number of the image; found a fraction"),
        (
            torch.tensor([[0, 3, 0, 1, 1]]),
            ValueError,
            r"boxes must end where they begin or later; found \[3.0, 0.0",
        ),
        (torch.tensor([[0, 0, 0, torch.inf, 1]]), ValueError, "boxes must be finite"),
        ([torch.zeros(1, 4)], ValueError, "one for each of the 2 images; found 1"),
        (
            [torch.zeros(1, 5), torch.zeros(1, 4)],
            ValueError,
            r"boxes\[0\] must have shape \(K, 2 D\) = \(K, 4\)",
        ),
        (torch.zeros(1, 5, dtype=torch.bool), TypeError, "boxes must hold numbers"),
        ("all", TypeError, r"boxes must be a torch\.Tensor; found str"),
    ],
)
def test_boxes_that_make_no_sense(boxes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RoIPool("mean")(normal(2, 1, 4, 4), boxes)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"output_size": 0}, ValueError, "output_size must be >= 1"),
        ({"spatial_scale": 0}, ValueError, "spatial_scale must be > 0"),
        ({"spatial_scale": "1/16"}, TypeError, "spatial_scale must be a number; found str"),
        ({"interpolation": "nearest"}, ValueError, 'interpolation must be "area" or "bilinear"'),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        RoIPool("mean", **settings)
