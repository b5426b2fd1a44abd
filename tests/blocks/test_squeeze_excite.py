"""Squeeze-and-Excitation over every pooling, on every layout."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import polypool as pp
from polypool.testing.tolerances import HALF_NETWORK
from tests.layouts.known import KNOWN, Known
from tests.support import close, identical, normal, of_gradients

NAN = float("nan")
C = 4
PADDED = {name: known for name, known in KNOWN.items() if not bool(known.real().all()) and known.cells}
DISJOINT = {name: known for name, known in KNOWN.items() if known.disjoint and known.cells}


def block_over(
    pool: str | pp.Pooling = "mean", channels: int = C, **settings: Any
) -> pp.blocks.SqueezeExcite:
    """A block whose every parameter is drawn, in float64."""
    block = pp.blocks.SqueezeExcite(channels, channels // 2, pool, **settings).double()
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=source, dtype=torch.float64))
    return block


def gates_by_hand(block: pp.blocks.SqueezeExcite, pooled: Tensor) -> Tensor:
    return torch.sigmoid(block.excite(torch.relu(block.squeeze(pooled))))


def by_loops(block: pp.blocks.SqueezeExcite, known: Known) -> Tensor:
    """Rows of `x * gate(W2 relu(W1 mean(x)))`, 0 outside of all cells."""
    return known.rows(known.values) * known.lifted(
        gates_by_hand(block, known.integral(known.values, mean=True))
    )


@pytest.mark.parametrize("name", KNOWN)
def test_against_the_formula_on_every_layout(name: str) -> None:
    known = KNOWN[name]
    channels = known.layout.channels
    block = pp.blocks.SqueezeExcite(channels, 1).double()
    out = block(known.layout)
    assert type(out) is type(known.layout)
    assert out.values.shape == known.values.shape
    close(known.rows(out.values), by_loops(block, known), name)
    identical(out.counts, known.layout.counts, "the structure is kept")


@pytest.mark.parametrize("pool", pp.names())
def test_every_pooling_squeezes_every_layout(pool: str) -> None:
    """Wider results, like moments, widen the first map; a pooling that takes no weights says so."""
    blocks = {channels: block_over(pool, channels) for channels in (2, 3)}
    for name, known in KNOWN.items():
        layout = known.layout
        block = blocks[layout.channels]
        assert block.squeeze.in_features == block.pool.out_channels(layout.channels)
        if layout.weighted and not pp.card(pool).takes_weights:
            with pytest.raises(NotImplementedError, match=f"{pool} cannot pool a layout with weights"):
                block(layout)
            continue
        out = block(layout).values
        assert out.shape == known.values.shape
        gates = gates_by_hand(block, known.matrix(block.pool(layout)))
        close(known.rows(out), known.rows(known.values) * known.lifted(gates), f"{pool} on {name}")
        assert not known.rows(out)[~known.real()].any()


SOME = ["mean", "max", "std", "gem", "attention", "mean+max+std", "moments", "logsumexp", "first"]


@pytest.mark.parametrize("pool", SOME)
def test_nan_in_padding_reaches_nothing(pool: str) -> None:
    """The output is 0 there, and no gradient is NaN: not that of the values, not that of any parameter."""
    blocks = {channels: block_over(pool, channels) for channels in (2, 3)}
    for name, known in PADDED.items():
        block = blocks[known.layout.channels]
        results = []
        for fill in (0.0, NAN, float("inf")):
            values = known.spoilt(fill).requires_grad_()
            out = block(known.layout.with_values(values)).values
            grads = torch.autograd.grad((out * normal(*out.shape)).sum(), (values, *block.parameters()))
            results.append((out, *grads))
            assert not known.rows(out)[~known.real()].any()
            assert not known.rows(grads[0])[~known.real()].any()
        for clean, nan, inf in zip(*results, strict=True):
            assert bool(clean.isfinite().all())
            identical(nan, clean, f"{pool} on {name}, NaN in padding")
            identical(inf, clean, f"{pool} on {name}, inf in padding")


@pytest.mark.parametrize("pool", SOME)
def test_masked_is_unpadded_alone(pool: str) -> None:
    """Each row of a padded batch, each picture of a masked one and each cluster as if it were by itself."""
    blocks = {channels: block_over(pool, channels) for channels in (2, 3)}
    for name, known in DISJOINT.items():
        block = blocks[known.layout.channels]
        rows, values = known.rows(block(known.layout).values), known.rows(known.values)
        for cell in known.cells:
            index = [element for element, weight in cell if weight > 0]
            weight = torch.tensor([weight for _, weight in cell if weight > 0], dtype=torch.float64)
            alone = block(pp.Nodes(values[index], weight=weight if known.layout.weighted else None))
            close(rows[index], alone.values, f"{pool} on {name}")


STORED: dict[str, tuple[Tensor, torch.memory_format]] = {
    "nchw": (normal(2, C, 5, 6), torch.contiguous_format),
    "channels_last": (normal(2, C, 5, 6).contiguous(memory_format=torch.channels_last), torch.channels_last),
    "ncdhw": (normal(2, C, 3, 5, 6), torch.contiguous_format),
    "channels_last_3d": (
        normal(2, C, 3, 5, 6).contiguous(memory_format=torch.channels_last_3d),
        torch.channels_last_3d,
    ),
}


@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
@pytest.mark.parametrize("name", STORED)
def test_the_memory_format_is_kept(name: str, masked: bool) -> None:
    x, stored = STORED[name]
    block = block_over()
    mask = normal(2, *x.shape[2:], seed=2) > 0 if masked else None
    out = block(x, mask=mask)
    assert out.is_contiguous(memory_format=stored)
    assert out.stride() == x.stride()
    close(out, block(x.contiguous(), mask=mask), "the same numbers")
    values = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(block(values, mask=mask).sum(), values)
    assert gradient.shape == x.shape


@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
def test_channels_last_in_the_shape(masked: bool) -> None:
    x = normal(2, 5, 6, C)
    mask = normal(2, 5, 6, seed=2) > 0 if masked else None
    block = block_over()
    out = block(pp.Grid(x, mask, channels_last=True))
    assert out.values.is_contiguous()
    wanted = block(pp.Grid(x.permute(0, 3, 1, 2), mask)).values
    close(out.values.permute(0, 3, 1, 2), wanted, "channels last")


def test_tensor_in_tensor_out() -> None:
    block = block_over()
    mask, ends = torch.tensor([[1, 1, 0], [0, 1, 1]]), torch.tensor([0, 2, 5])
    calls: list[tuple[Tensor, dict[str, Any], pp.Layout]] = [
        (p := normal(2, C, 3, 3), {}, pp.Grid(p)),
        (t := normal(2, 3, C), {"mask": mask}, pp.Tokens(t, mask)),
        (t, {"lengths": torch.tensor([2, 3])}, pp.Tokens.from_lengths(t, torch.tensor([2, 3]))),
        (n := normal(5, C), {"offsets": ends}, pp.Packed(n, ends)),
        (
            n,
            {"batch": torch.tensor([0, 2, 0, 1, 1]), "num_graphs": 4},
            pp.Nodes(n, torch.tensor([0, 2, 0, 1, 1]), 4),
        ),
    ]
    for x, arguments, layout in calls:
        out = block(x, **arguments)
        assert isinstance(out, Tensor)
        assert out.shape == x.shape
        of_layout = block(layout)
        assert isinstance(of_layout, type(layout))
        identical(out, of_layout.values, repr(layout))


def test_layouts_go_from_block_to_block() -> None:
    """And into any pooling: structure is found once."""
    layout = pp.Nodes(normal(9, C), torch.arange(9) % 2)
    out = nn.Sequential(block_over("max"), block_over("std"))(layout)
    assert out.members is layout.members
    assert pp.build("mean")(out).shape == (2, C)


def test_gradients_are_those_of_finite_differences() -> None:
    block = block_over("std")
    x, mask = normal(2, 4, C).requires_grad_(), torch.tensor([[1, 0, 1, 1], [0, 1, 1, 0]])
    assert torch.autograd.gradcheck(lambda x: block(x, mask=mask), x)
    assert torch.autograd.gradgradcheck(lambda x: block(x, mask=mask), x)


def one_of_each(dtype: torch.dtype) -> list[pp.Layout]:
    x, mask = normal(12, C, dtype=dtype), normal(2, 6) > -0.5
    return [
        pp.Grid(x.view(2, 2, 3, C), mask.view(2, 2, 3), channels_last=True),
        pp.Tokens(x.view(2, 6, C), mask),
        pp.Packed(x, torch.tensor([0, 5, 5, 12])),
        pp.Nodes(x, torch.arange(12) % 3),
        pp.Clusters(x, normal(12, 2, seed=1, dtype=dtype).abs()),
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("pool", ["mean", "std", "gem", "attention"])
def test_half_precision(pool: str, dtype: torch.dtype) -> None:
    """A half block on half values; its squeeze is in float32 all the same.

    By the reference: kernels for half precision are tested with the poolings, and take ten seconds to compile.
    """
    block = block_over(pool)
    half = copy.deepcopy(block).to(dtype)
    for layout in one_of_each(dtype):
        with pp.kernels("reference"):
            out = half(layout).values
        assert out.dtype == dtype
        close(out, block(layout.to(torch.float64)).values, f"{pool} on {layout}", HALF_NETWORK)


def test_70_000_ones_in_half_precision() -> None:
    block = pp.blocks.SqueezeExcite(C, 1).half()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.fill_(0.125)
    ones = torch.ones(70_000, C, dtype=torch.float16)
    close(block(pp.Nodes(ones)).values, block(pp.Nodes(ones[:2])).values[:1].expand(70_000, C), "as two ones")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("pool", ["mean", "std", "attention"])
def test_autocast(pool: str, dtype: torch.dtype) -> None:
    """The linear maps follow autocast; the values and the result keep their dtype."""
    block = block_over(pool).float()
    for layout in one_of_each(dtype):
        values = layout.values.clone().requires_grad_()
        with pp.kernels("reference"), torch.autocast("cpu", dtype=torch.bfloat16):
            out = block(layout.with_values(values)).values
        assert out.dtype == dtype
        (gradient,) = torch.autograd.grad(out.sum(), values)
        assert gradient.dtype == dtype
        wanted = copy.deepcopy(block).double()(layout.to(torch.float64)).values
        close(out, wanted, f"{pool} on {layout}", HALF_NETWORK)


def test_values_of_another_dtype_than_the_parameters() -> None:
    """torch's own error: a block casts no more than a linear layer does."""
    with pytest.raises(RuntimeError, match="dtype"):
        pp.blocks.SqueezeExcite(C, 1)(normal(2, C, 3, 3))


def program(make: Callable[..., pp.Layout], block: nn.Module) -> Callable[..., Tensor]:
    def run(x: Tensor, *rest: Tensor) -> Tensor:
        out: Tensor = block(make(x, *rest)).values
        return out

    return run


FORMS: dict[str, tuple[Callable[..., pp.Layout], Callable[[int], tuple[Tensor, ...]]]] = {
    "grid": (pp.Grid, lambda n: (normal(n, C, 3, n + 2), normal(n, 3, n + 2) > 0)),
    "tokens": (pp.Tokens, lambda n: (normal(n, 5 + n, C), normal(n, 5 + n, seed=1) > 0)),
    "packed": (pp.Packed, lambda n: (normal(n + 4, C), torch.tensor([0, 2, n + 4]))),
    "nodes": (lambda x, batch: pp.Nodes(x, batch, 3), lambda n: (normal(n + 4, C), torch.arange(n + 4) % 3)),
}


@pytest.mark.parametrize("form", FORMS)
def test_compiled(form: str) -> None:
    torch.compiler.reset()
    make, inputs = FORMS[form]
    block = block_over("max")
    eager = program(make, block)
    x, *rest = inputs(3)
    results = []
    for run in (torch.compile(eager, fullgraph=True, backend="aot_eager"), eager):
        values = x.clone().requires_grad_()
        out = run(values, *rest)
        results.append((out, *torch.autograd.grad(out.square().sum(), (values, *block.parameters()))))
    for found, wanted in zip(*results, strict=True):
        close(found, wanted, form, of_gradients(torch.float64))


class Exported(nn.Module):
    def __init__(self, make: Callable[..., pp.Layout], block: nn.Module) -> None:
        super().__init__()
        self.make = make
        self.block = block

    def forward(self, x: Tensor, rest: Tensor) -> Tensor:
        out: Tensor = self.block(self.make(x, rest)).values
        return out


@pytest.mark.parametrize("form", FORMS)
def test_exported(form: str) -> None:
    make, inputs = FORMS[form]
    module = Exported(make, block_over("mean+max").requires_grad_(False))
    dynamic = torch.export.Dim.DYNAMIC
    x, rest = inputs(3)
    places = [0, 3] if form == "grid" else [0, 1] if form == "tokens" else [0]
    shapes = (
        dict.fromkeys(places, dynamic),
        {d: dynamic for d in range(rest.dim()) if (form, d) != ("grid", 1)},
    )
    if form == "packed":
        shapes = (shapes[0], {})  # the number of sequences is the same below
    exported = torch.export.export(module, (x, rest), dynamic_shapes=shapes).module()
    for n in (3, 6):
        close(exported(*inputs(n)), module(*inputs(n)), f"{form}, n = {n}")


def test_a_module_like_any_other() -> None:
    block = block_over("gem")
    assert sorted(block.state_dict()) == [
        "excite.bias",
        "excite.weight",
        "pool.p",
        "squeeze.bias",
        "squeeze.weight",
    ]
    other = pp.blocks.SqueezeExcite(C, 2, "gem").double()
    other.load_state_dict(block.state_dict())
    x = normal(2, C, 3, 3)
    for twin in (other, copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        identical(twin(x), block(x), "twin")
    assert "MeanPool" in repr(pp.blocks.SqueezeExcite(C, 2))


GATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "hard_sigmoid": nn.functional.hardsigmoid,
    "tanh": torch.tanh,
    "double_sigmoid": lambda x: 1 + torch.tanh(x / 2),
}


@pytest.mark.parametrize("gate", GATES)
def test_gates(gate: str) -> None:
    block = block_over(gate=gate)
    x = normal(2, C, 3, 3)
    inner = block.excite(torch.relu(block.squeeze(x.mean((2, 3)))))
    close(block(x), x * GATES[gate](inner)[:, :, None, None], gate)


def test_a_gate_and_a_pooling_of_ones_own() -> None:
    block = block_over(pp.build("quantile", q=0.9), gate=nn.Softplus())
    x = normal(2, C, 3, 3)
    inner = block.excite(torch.relu(block.squeeze(pp.build("quantile", q=0.9)(x))))
    close(block(x), x * nn.functional.softplus(inner)[:, :, None, None], "softplus")


def test_widths() -> None:
    block = pp.blocks.SqueezeExcite(64)
    assert (block.squeeze.in_features, block.squeeze.out_features, block.excite.out_features) == (64, 4, 64)
    assert pp.blocks.SqueezeExcite(64, 4, "mean+max").squeeze.in_features == 128
    assert pp.blocks.SqueezeExcite(7, 7).squeeze.out_features == 1
    assert pp.blocks.SqueezeExcite(7, 2).squeeze.out_features == 3


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((2.0,), TypeError, "channels must be an int; found float"),
        ((True,), TypeError, "channels must be an int; found bool"),
        ((0,), ValueError, "channels must be"),
        ((-4,), ValueError, "channels must be"),
        ((8, 2.0), TypeError, "reduction must be an int; found float"),
        ((8, 0), ValueError, "reduction must leave at least one of 8 channels; found 0. Use at most 8"),
        ((8, -2), ValueError, "reduction must leave at least one of 8 channels; found -2"),
        ((8,), ValueError, "reduction must leave at least one of 8 channels; found 16. Use at most 8"),
        ((8, 2, "meen"), ValueError, "no pooling is named 'meen'. Did you mean 'mean'"),
        ((8, 2, nn.ReLU()), TypeError, "pool must be a name or a Pooling; found ReLU"),
        ((8, 2, pp.poolings.MeanPool), TypeError, "pool must be a name or a Pooling; found"),
        ((8, 2, pp.build("attention", channels=4)), ValueError, "channels"),
        (
            (8, 2, "mean", "relu"),
            ValueError,
            "gate must be one of sigmoid, hard_sigmoid, tanh, double_sigmoid, a class or a module; found 'relu'",
        ),
        ((8, 2, "mean", 3), TypeError, "gate must be a name, a class of torch.nn or a module; found 3"),
        ((8, 2, "mean", Tensor), TypeError, "gate must be a name, a class of torch.nn or a module; found"),
    ],
    ids=str,
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        pp.blocks.SqueezeExcite(*arguments)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        (
            {"rd_ratio": 0.01, "rd_divisor": 1},
            ValueError,
            "rd_ratio must leave at least one of 8 channels; found 0.01",
        ),
        ({"rd_ratio": 0}, ValueError, "rd_ratio must be > 0"),
        ({"rd_channels": 0}, ValueError, "rd_channels must be > 0"),
        ({"rd_ratio": 0.5, "rd_channels": 4}, ValueError, "three ways to say one thing; found 16, 0.5 and 4"),
        ({"reduction": 2, "rd_channels": 4}, ValueError, "three ways to say one thing; found 2, None and 4"),
        (
            {"reduction": 0.5},
            TypeError,
            "reduction must be an int; found float. Pass rd_ratio for a fraction",
        ),
        ({"reduction": 2, "gate": "tanh", "gate_layer": "tanh"}, ValueError, "two names of one thing"),
        ({"reduction": 2, "gate_layer": "sigmoyd"}, ValueError, "found 'sigmoyd'. Did you mean 'sigmoid'?"),
        ({"reduction": 2, "act_layer": "rellu"}, ValueError, "act_layer must be one of relu"),
        ({"reduction": 2, "act_layer": 3}, TypeError, "act_layer must be a name"),
    ],
    ids=str,
)
def test_wrong_settings(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        pp.blocks.SqueezeExcite(8, **settings)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_timm_calls_it() -> None:
    block = pp.blocks.SqueezeExcite(
        32, rd_ratio=1 / 4, act_layer=nn.SiLU, gate_layer="hard_sigmoid", dtype=torch.float64, device="cpu"
    )
    x = normal(2, 32, 3, 3)
    inner = block.excite(nn.functional.silu(block.squeeze(x.mean((2, 3)))))
    close(block(x), x * nn.functional.hardsigmoid(inner)[:, :, None, None], "silu, hard sigmoid")
    named = pp.blocks.SqueezeExcite(32, rd_ratio=1 / 4, act_layer="silu", gate_layer=nn.Hardsigmoid).double()
    named.load_state_dict(block.state_dict())
    close(named(x), block(x), "by name")


def test_a_block_that_starts_as_identity() -> None:
    """And can leave it: the gate's slope is largest there."""
    block = pp.blocks.SqueezeExcite(C, 1, gate="double_sigmoid", init_last_zero=True)
    x = normal(2, C, 3, 3, dtype=torch.float32)
    identical(block(x), x, "identity")
    block(x).square().sum().backward()
    assert block.excite.weight.grad is not None
    assert bool(block.excite.weight.grad.any())


def test_another_number_of_channels() -> None:
    with pytest.raises(
        ValueError, match="values must have the 4 channels that the block was built for; found 3"
    ):
        block_over()(normal(2, 3, 5, 5))
    with pytest.raises(
        ValueError, match="values must have the 4 channels that the block was built for; found 3"
    ):
        block_over()(pp.Nodes(normal(5, 3)))


def test_a_block_trains() -> None:
    """It learns to let one channel through, on padded values with NaN in padding."""
    torch.manual_seed(0)
    block = pp.blocks.SqueezeExcite(C, 1)
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]])
    x = normal(2, 5, C, dtype=torch.float32)
    target = x * mask[..., None] * torch.tensor([1.0, 0.0, 0.0, 0.0])
    spoilt = x.masked_fill(mask[..., None] == 0, NAN)
    optimiser = torch.optim.Adam(block.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (block(spoilt, mask=mask) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 10
