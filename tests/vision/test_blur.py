"""`BlurPool` and `MaxBlurPool` against their definitions, at borders, with padding and in every form torch has."""

import copy
import pickle
from collections.abc import Callable, Sequence
from itertools import product
from math import ceil, comb

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.testing.tolerances import agree, identical
from polypool.vision import BlurPool, MaxBlurPool

BORDERS = ("renormalise", "reflect", "circular")
POOLS: dict[str, Callable[[], nn.Module]] = {
    "blur": lambda: BlurPool(3),
    "even": lambda: BlurPool(4, 1),
    "reflect": lambda: BlurPool(5, border="reflect"),
    "circular": lambda: BlurPool(3, border="circular"),
    "max": lambda: MaxBlurPool(3),
    "wide max": lambda: MaxBlurPool(3, window=3, border="reflect"),
}


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def place(p: int, size: int, border: str) -> int | None:
    """Where a pixel beyond the border is read; None for nowhere. Mirrors one step at a time."""
    if border == "circular":
        return p % size
    while border == "reflect" and not 0 <= p < size:
        p = 0 if size == 1 else (-p if p < 0 else 2 * (size - 1) - p)
    return p if 0 <= p < size else None


def taps(o: int, size: int, kernel: int, stride: int, border: str) -> Tensor:
    """What each pixel of a dimension counts in output `o`, from the definition."""
    row = torch.zeros(size, dtype=torch.float64)
    for t in range(kernel):
        at = place(o * stride + t - (kernel - 1) // 2, size, border)
        if at is not None:
            row[at] += comb(kernel - 1, t)
    return row / row.sum()


def blurred(x: Tensor, kernel: Sequence[int], stride: Sequence[int], border: str) -> Tensor:
    """The definition, as one matrix for each dimension."""
    for dim, (k, s) in enumerate(zip(kernel, stride, strict=True), start=2):
        size = x.shape[dim]
        matrix = torch.stack([taps(o, size, k, s, border) for o in range(ceil(size / s))])
        x = (x.movedim(dim, -1) @ matrix.mT).movedim(-1, dim)
    return x


def largest(x: Tensor, window: int) -> Tensor:
    """The maximum of each window that lies inside, at every pixel of two dimensions."""
    before = (window - 1) // 2
    pad = (before, window - 1 - before)
    return F.max_pool2d(F.pad(x, (*pad, *pad), value=-torch.inf), window, 1)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("kernel", range(1, 8))
def test_the_definition(kernel: int, border: str) -> None:
    for size, stride in product((1, 2, 3, 5, 8), (1, 2, 3)):
        pool = BlurPool(kernel, stride, border=border)  # type: ignore[arg-type]
        x = normal(2, 3, size)
        agree(pool(x), blurred(x, [kernel], [stride], border), f"{size} pixels, stride {stride}")


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("spatial", [(6,), (5, 8), (1, 7), (4, 3, 5), (1, 1, 1)])
def test_one_to_three_dimensions_with_sizes_of_their_own(spatial: tuple[int, ...], border: str) -> None:
    kernel, stride = (4, 3, 7)[: len(spatial)], (1, 2, 3)[: len(spatial)]
    x = normal(2, 3, *spatial)
    pool = BlurPool(kernel, stride, border=border)  # type: ignore[arg-type]
    agree(pool(x), blurred(x, kernel, stride, border), str(spatial))
    last = pool(pp.Grid(x.movedim(1, -1), channels_last=True))
    agree(last.values.movedim(-1, 1), pool(x), "channels last")


def test_small_numbers_by_hand() -> None:
    assert BlurPool(3)(torch.tensor([[[4.0, 8.0, 16.0, 0.0]]])).tolist() == [[[pytest.approx(16 / 3), 10.0]]]
    assert BlurPool(3, border="reflect")(torch.tensor([[[4.0, 8.0, 16.0, 0.0]]])).tolist() == [[[6.0, 10.0]]]
    assert BlurPool(3, border="circular")(torch.tensor([[[4.0, 8.0, 16.0, 0.0]]])).tolist() == [[[4.0, 10.0]]]
    assert BlurPool(1, 3)(torch.arange(7.0)[None, None]).tolist() == [[[0.0, 3.0, 6.0]]]


def test_two_taps_are_average_pooling() -> None:
    x = normal(2, 3, 6, 8)
    agree(BlurPool(2)(x), F.avg_pool2d(x, 2), "average of two by two")


def test_reflection_is_the_usual_anti_aliasing_layer() -> None:
    x = normal(2, 3, 9, 12)
    row = torch.tensor([1.0, 4, 6, 4, 1], dtype=torch.float64) / 16
    kernel = torch.outer(row, row).expand(3, 1, 5, 5)
    usual = F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=3)
    agree(BlurPool(5, border="reflect")(x), usual, "depthwise convolution after a reflection")


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("pool", [BlurPool, MaxBlurPool])
def test_a_constant_stays_at_every_border(pool: type[BlurPool | MaxBlurPool], border: str) -> None:
    for kernel, stride, size in product(range(1, 8), (1, 2, 3), (1, 2, 3, 4, 9)):
        out = pool(kernel, stride, border=border)(torch.full((1, 2, size, 1), 3.7))  # type: ignore[arg-type]
        assert out.shape == (1, 2, ceil(size / stride), 1)
        agree(out, torch.full_like(out, 3.7), f"kernel {kernel}, stride {stride}, {size} pixels")


def test_a_map_of_one_pixel_is_kept() -> None:
    x = normal(3, 4, 1, 1)
    for border in BORDERS:
        agree(BlurPool(7, border=border)(x), x, border)  # type: ignore[arg-type]
        agree(MaxBlurPool(7, border=border)(x), x, border)  # type: ignore[arg-type]


def test_on_a_torus_the_blur_moves_with_the_image() -> None:
    x = normal(1, 2, 7, 6)
    for pool in (BlurPool(5, 1, border="circular"), MaxBlurPool(3, 1, border="circular")):
        agree(pool(x.roll((3, 1), (2, 3))), pool(x).roll((3, 1), (2, 3)), repr(pool))
    even = BlurPool(3, 2, border="circular")
    agree(even(x.roll(2, 3)), even(x).roll(1, 3), "a whole stride")


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_max_blur_is_the_blur_of_the_maximum(window: int) -> None:
    for size in (1, 2, 5, 8):
        x = normal(2, 3, size, 6)
        for border in ("renormalise", "reflect"):
            pool = MaxBlurPool(3, window=window, border=border)
            expected = blurred(largest(x, window), (3, 3), (2, 2), border)
            agree(pool(x), expected, f"{size} pixels, {border}")


def test_the_first_of_equal_pixels_takes_the_gradient() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    MaxBlurPool(1, 2)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1.0, 0.0, 0.0, 0.0]
    y = torch.tensor([[[[0.0, 5.0], [5.0, 5.0]]]], requires_grad=True)
    MaxBlurPool(1, 2)(y).sum().backward()
    assert y.grad is not None
    assert y.grad.flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    "pool", [BlurPool(3), BlurPool(4, 3), MaxBlurPool(3), MaxBlurPool(5, window=3)], ids=repr
)
@pytest.mark.parametrize("fill", [0.0, float("nan"), float("inf")])
def test_an_image_in_a_padded_batch_gives_what_it_gives_alone(pool: nn.Module, fill: float) -> None:
    images = [normal(1, 2, 7, 6, seed=1), normal(1, 2, 4, 9, seed=2), normal(1, 2, 1, 1, seed=3)]
    values = torch.full((4, 2, 7, 9), fill, dtype=torch.float64)
    mask = torch.zeros(4, 7, 9, dtype=torch.bool)  # the last image has no pixel
    for row, image in enumerate(images):
        h, w = image.shape[2:]
        values[row, :, :h, :w] = image
        mask[row, :h, :w] = True
    values.requires_grad_()
    out = pool(pp.Grid(values, mask))
    out.values.sum().backward()
    assert values.grad is not None
    for row, image in enumerate(images):
        alone = pool(image)
        h, w = alone.shape[2:]
        agree(out.values[row : row + 1, :, :h, :w], alone, f"image {row}")
        assert out.mask[row].sum() == h * w
        assert out.mask[row, :h, :w].all()
    identical(out.values[3], torch.zeros_like(out.values[3]), "an image without pixels")
    hidden = ~mask[:, None].expand_as(values)
    assert (out.values[~out.mask[:, None].expand_as(out.values)] == 0).all()
    assert (values.grad[hidden] == 0).all()


def test_holes_in_a_mask_keep_a_constant() -> None:
    mask = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(0)) > 0.4
    for pool in (BlurPool(5), MaxBlurPool(3), BlurPool(3, border="circular")):
        out = pool(pp.Grid(torch.full((3, 2, 9, 7), 2.5).masked_fill(~mask[:, None], torch.nan), mask))
        real = out.values[out.mask[:, None].expand_as(out.values)]
        agree(real, torch.full_like(real, 2.5), repr(pool))
        identical(out.mask, mask[:, ::2, ::2], "the pixels that are sampled")


def test_weights_are_averaged_with() -> None:
    x, weight = normal(2, 3, 6, 5), normal(2, 6, 5, seed=4).abs()
    weight[0, 2, 3] = 0
    plain = BlurPool(3)(x)
    same = BlurPool(3)(pp.Grid(x, weight=torch.full_like(weight, 0.3)))
    agree(same.values, plain, "equal weights")
    agree(same.weight, torch.full_like(same.weight, 0.3), "a constant weight")
    out = BlurPool(3)(pp.Grid(x, weight=weight))
    expected = BlurPool(3)(x * weight[:, None]) / BlurPool(3)(weight[:, None])
    agree(out.values, expected, "weighted average")
    x[0, :, 2, 3] = torch.nan
    agree(BlurPool(3)(pp.Grid(x, weight=weight)).values, expected, "a pixel of weight 0 is not read")
    # Away from borders every pixel keeps its influence: the weighted mean of the blur is that of the pixels.
    still = BlurPool(3, 1, border="circular")(pp.Grid(normal(2, 3, 6, 5), weight=weight.clamp(min=0.1)))
    agree(
        pp.build("mean")(still),
        pp.build("mean")(pp.Grid(normal(2, 3, 6, 5), weight=weight.clamp(min=0.1))),
        "weighted mean",
    )


@pytest.mark.parametrize("border", BORDERS)
def test_nan_and_inf_stay_in_their_windows(border: str) -> None:
    for value in (torch.nan, torch.inf, -torch.inf):
        x = torch.zeros(1, 2, 9)
        x[0, 0, 4] = value
        out = BlurPool(3, border=border)(x)  # type: ignore[arg-type]
        identical(out[0, 0], torch.tensor([0.0, 0.0, value, 0.0, 0.0]), "one window of five")
        identical(out[0, 1], torch.zeros(5), "the other channel")
        most = MaxBlurPool(3, border=border)(x)  # type: ignore[arg-type]
        reached = 0.0 if value == -torch.inf else value
        identical(most[0, 0], torch.tensor([0.0, reached, reached, 0.0, 0.0]), "maximum")


def test_padding_does_not_beat_minus_infinity() -> None:
    x = torch.full((1, 1, 3), -torch.inf)
    x[..., 0] = torch.nan
    grid = pp.Grid(x, torch.tensor([[0, 1, 1]]))
    out = MaxBlurPool(1, 1, window=3)(grid)
    assert out.values.flatten().tolist() == [0.0, -torch.inf, -torch.inf]


@pytest.mark.parametrize("name", POOLS)
def test_memory_format_and_dtype_are_kept(name: str) -> None:
    pool = POOLS[name]()
    x = normal(2, 3, 6, 8, dtype=torch.float32)
    out = pool(x.contiguous(memory_format=torch.channels_last))
    assert out.is_contiguous(memory_format=torch.channels_last)
    identical(out, pool(x), "memory format")
    assert pool(x).is_contiguous()
    agree(pool(x.mT.contiguous().mT), pool(x), "other strides")
    volume = normal(1, 2, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    assert pool(volume).is_contiguous(memory_format=torch.channels_last_3d)
    for dtype in (torch.float16, torch.bfloat16):
        half = pool(x.to(dtype))
        assert half.dtype == dtype
        identical(half, pool(x.to(dtype).float()).to(dtype), "computed in float32")
    assert pool(torch.full((1, 1, 4, 4), 60000.0, dtype=torch.float16)).isfinite().all()


@pytest.mark.parametrize("name", POOLS)
def test_derivatives(name: str) -> None:
    pool = POOLS[name]()
    x = normal(1, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(pool, x)
    assert torch.autograd.gradgradcheck(pool, x)
    assert torch.autograd.gradcheck(pool, x, check_forward_ad=True, check_backward_ad=False)
    stacked = normal(3, 1, 2, 4, 5)
    agree(torch.func.vmap(pool)(stacked), torch.stack([pool(one) for one in stacked]), "vmap")
    empty = torch.zeros(0, 2, 4, 5)
    assert pool(empty).shape == (0, *pool(x).shape[1:])


def test_derivatives_with_a_mask() -> None:
    mask = torch.tensor([[[1, 1, 0, 1], [0, 1, 1, 1], [0, 0, 0, 0]]])
    weight = normal(1, 3, 4, seed=5).abs()
    for pool in (BlurPool(3), MaxBlurPool(3)):
        assert torch.autograd.gradcheck(
            lambda x, w, pool=pool: pool(pp.Grid(x, mask, weight=w)).values,
            (normal(1, 2, 3, 4).requires_grad_(), weight.clone().requires_grad_()),
        )


@pytest.mark.parametrize(
    "name",
    ["max", pytest.param("blur", marks=pytest.mark.slow), pytest.param("reflect", marks=pytest.mark.slow)],
)
def test_compiled_is_eager(name: str) -> None:
    torch.compiler.reset()
    pool = POOLS[name]()
    compiled = torch.compile(pool, fullgraph=True, backend="aot_eager", dynamic=True)
    for shape in ((2, 3, 6, 8), (4, 3, 9, 5)):
        x = normal(*shape, dtype=torch.float32).requires_grad_()
        y = x.detach().clone().requires_grad_()
        (compiled(x) ** 2).sum().backward()
        (pool(y) ** 2).sum().backward()
        agree(compiled(x), pool(y), "values")
        agree(x.grad, y.grad, "gradients")  # type: ignore[arg-type]
    grid = pp.Grid(normal(2, 3, 6, 8), torch.ones(2, 6, 8, dtype=torch.bool))
    if "reflect" not in repr(pool):
        agree(compiled(grid).values, pool(grid).values, "a grid")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blur", "max"])
def test_inductor_is_eager(name: str) -> None:
    torch.compiler.reset()
    pool = POOLS[name]()
    x = normal(2, 3, 9, 8, dtype=torch.float32).requires_grad_()
    y = x.detach().clone().requires_grad_()
    out = torch.compile(pool, fullgraph=True)(x)
    agree(out, pool(y), "values")
    out.square().sum().backward()
    pool(y).square().sum().backward()
    agree(x.grad, y.grad, "gradients")  # type: ignore[arg-type]


def test_exported_for_any_size() -> None:
    sizes = {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}
    for name, make in POOLS.items():
        pool = make()
        program = torch.export.export(pool, (normal(2, 3, 6, 8),), dynamic_shapes={"x": sizes}).module()
        x = normal(5, 3, 7, 11)
        agree(program(x), pool(x), name)


def test_bitwise_the_same_with_any_number_of_threads() -> None:
    x = normal(4, 8, 33, 31, dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        results = []
        for number in (1, 2):
            torch.set_num_threads(number)
            results.append(BlurPool(5)(x))
    finally:
        torch.set_num_threads(threads)
    identical(results[0], results[1], "one thread and two")


def test_modules_copy_and_print() -> None:
    pool = MaxBlurPool(5, (1, 2), window=3, border="reflect")
    for other in (copy.deepcopy(pool), pickle.loads(pickle.dumps(pool)), pool.half()):
        identical(other(normal(1, 2, 5, 6)), pool(normal(1, 2, 5, 6)), "a copy")
    assert not pool.state_dict()
    assert "kernel=5, stride=(1, 2), border='reflect'" in repr(pool)


@pytest.mark.parametrize("pool", [BlurPool, MaxBlurPool])
@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"kernel": 0}, ValueError, "kernel must be >= 1; found 0"),
        ({"kernel": 2.0}, TypeError, "kernel must be an int; found float"),
        ({"kernel": ()}, ValueError, "kernel must be one int or one per spatial dimension"),
        ({"stride": (2, 0)}, ValueError, "stride must be >= 1; found 0"),
        (
            {"border": "zeros"},
            ValueError,
            "border must be one of renormalise, reflect, circular; found 'zeros'",
        ),
    ],
)
def test_settings_that_make_no_sense(
    pool: Callable[..., nn.Module], settings: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        pool(**settings)


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="kernel must be one int or 2, one per spatial dimension; found 3"):
        BlurPool((3, 3, 3))(normal(1, 2, 4, 4))
    with pytest.raises(ValueError, match=r"values must have shape \(B, C, \*S\)"):
        BlurPool()(normal(4, 4))
    with pytest.raises(TypeError, match="values must be of a floating dtype"):
        MaxBlurPool()(torch.ones(1, 1, 4, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match='found "reflect"'):
        BlurPool(border="reflect")(pp.Grid(normal(1, 1, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)))
