"""What is true of every registered block, in every variant, on every layout that it declares."""

from __future__ import annotations

import copy
import io
import pickle
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.blocks import Block, registry
from polypool.layouts import KINDS
from polypool.testing.tolerances import HALF_NETWORK
from tests.blocks.every import (
    SPACES,
    VARIANTS,
    C,
    Variant,
    dimensions,
    layouts,
    made,
    named,
    padding,
    spoilt,
    twin,
)
from tests.support import close, forgets, identical, normal, of_gradients, uniform

every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=named)


def gradients(block: Block, layout: pp.Layout, values: Tensor) -> tuple[Tensor, ...]:
    """The new values, and the gradients of the old ones and of all parameters."""
    values = values.clone().requires_grad_()
    out = block(layout.with_values(values)).values
    into = (out * normal(*out.shape, seed=7, dtype=out.dtype)).sum()
    return (out, *torch.autograd.grad(into, (values, *block.parameters())))


def test_the_registry_holds_every_block() -> None:
    """And each can be built by its channels alone, as `pp.blocks.__all__` promises."""
    classes = {type(pp.blocks.build(name, 32)).__name__ for name in pp.blocks.names()}
    assert classes | {"Gate"} == set(pp.blocks.__all__)
    for name in pp.blocks.names():
        card = pp.blocks.card(name)
        assert card.name == name
        assert card.summary
        assert card.source
        assert {} in card.variants
        assert set(card.layouts) <= set(KINDS)


@every_variant
def test_every_declared_layout_is_tried(variant: Variant) -> None:
    block = made(variant)
    assert {layout.kind for layout in layouts(block).values()} == set(block.layouts)


@every_variant
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_forward_and_backward(variant: Variant, training: bool) -> None:
    """Layout in, layout out; NaN and inf in padding reach neither the result nor a gradient."""
    reached: set[int] = set()
    for what, layout in layouts(made(variant)).items():
        results = []
        for fill in (0.0, float("nan"), float("inf")):
            block = made(variant, training=training)
            results.append(gradients(block, layout, spoilt(layout, fill)))
            out = results[-1][0]
            assert out.shape == layout.values.shape
            assert not out.masked_select(padding(layout).expand_as(out)).any(), f"{what}: padding is 0"
            of_values = results[-1][1]
            assert not of_values.masked_select(padding(layout).expand_as(out)).any(), (
                f"{what}: its gradient too"
            )
        for number, (clean, nan, inf) in enumerate(zip(*results, strict=True)):
            assert bool(clean.isfinite().all()), what
            identical(nan, clean, f"{what}, NaN in padding, {number}")
            identical(inf, clean, f"{what}, inf in padding, {number}")
        reached |= {number for number, gradient in enumerate(results[0]) if bool(gradient.any())}
        after = block(layout)
        assert type(after) is type(layout)
        identical(after.counts, layout.counts, "the structure is kept")
    assert len(reached) == 2 + len(list(made(variant).parameters())), "every parameter takes part"


@every_variant
def test_gradients_are_those_of_finite_differences(variant: Variant) -> None:
    """In one random direction; of second order as well."""
    block = made(variant)
    last = list(layouts(block).values())[-1]
    layout = last.with_values(last.values + 0.05 * normal(*last.values.shape, seed=8))
    checked = block.requires_grad_(False)

    def run(values: Tensor) -> Tensor:
        out: Tensor = checked(layout.with_values(values)).values
        return out

    values = layout.values.clone().requires_grad_()
    with pp.kernels("reference"):
        assert torch.autograd.gradcheck(run, values, fast_mode=True)
        assert torch.autograd.gradgradcheck(run, values, fast_mode=True)


@every_variant
def test_tensor_in_tensor_out(variant: Variant) -> None:
    block = made(variant)
    given = layouts(block)
    for dims in (d for d in dimensions(block) if d > 1):
        masked = given[f"grid-{dims}d-mask"]
        assert isinstance(masked, pp.Grid)
        out = block(masked.values, mask=masked.mask)
        assert isinstance(out, Tensor)
        identical(out, block(masked).values, f"grid {dims}")
    if "tokens" in given:
        tokens, packed, nodes = given["tokens"], given["packed"], given["nodes"]
        assert isinstance(tokens, pp.Tokens)
        assert isinstance(packed, pp.Packed)
        assert isinstance(nodes, pp.Nodes)
        identical(block(tokens.values, mask=tokens.mask), block(tokens).values, "tokens")
        identical(block(packed.values, offsets=packed.offsets), block(packed).values, "packed")
        identical(block(nodes.values, batch=nodes.batch, num_graphs=4), block(nodes).values, "nodes")
        nested = torch.nested.nested_tensor_from_jagged(packed.values, packed.offsets)
        identical(block(nested).values(), block(packed).values, "nested")


@every_variant
@pytest.mark.parametrize("masked", [False, True], ids=["", "mask"])
def test_the_memory_format_is_kept(variant: Variant, masked: bool) -> None:
    block = made(variant)
    for dims in (d for d in dimensions(block) if d > 1):
        stored = torch.channels_last if dims == 2 else torch.channels_last_3d
        x = normal(2, C, *SPACES[dims])
        mask = uniform(2, *SPACES[dims]) > 0.3 if masked else None
        out = block(x, mask=mask)
        assert out.stride() == x.stride()
        there = x.contiguous(memory_format=stored)
        last = block(there, mask=mask)
        assert last.stride() == there.stride()
        close(last, out, "the same numbers")
        close(
            block(pp.Grid(x.movedim(1, -1), mask, channels_last=True)).values.movedim(-1, 1),
            out,
            "channels last in the shape",
        )
        crop = F.pad(normal(2, C, *(size + 2 for size in SPACES[dims])), (-1,) * (2 * dims))
        close(block(crop), block(crop.contiguous()), "a view of something larger")


@every_variant
def test_each_cell_as_if_it_were_alone(variant: Variant) -> None:
    """An image in the first corner of a padded batch, a row of tokens, a packed sequence, a graph."""
    block = made(variant)
    for dims in dimensions(block):
        space = SPACES[dims]
        small = normal(1, C, *(size - 1 for size in space), seed=3)
        batch, mask = normal(2, C, *space), torch.zeros(2, *space, dtype=torch.bool)
        batch[0] = F.pad(small[0], (0, 1) * dims)
        mask[0] = F.pad(torch.ones(small.shape[2:]), (0, 1) * dims).bool()
        mask[1] = True
        out = block(pp.Grid(batch, mask)).values
        close(F.pad(out[:1], (0, -1) * dims), block(pp.Grid(small)).values, f"{dims}d")
        close(out[1:], block(pp.Grid(batch[1:])).values, f"{dims}d, the other image")
    if "tokens" in block.layouts:
        rows, ends = normal(9, C), [0, 2, 2, 9]
        together = block(pp.Packed(rows, torch.tensor(ends))).values
        order = torch.tensor([4, 0, 8, 3, 1, 7, 2, 6, 5])
        graph = torch.bucketize(order, torch.tensor(ends[1:]), right=True)
        shuffled = block(pp.Nodes(rows[order], graph, 3)).values
        close(shuffled, together[order], "nodes in any order")
        padded = torch.full((3, 8, C), float("nan"), dtype=torch.float64)
        mask = torch.zeros(3, 8, dtype=torch.bool)
        for b, (start, end) in enumerate(pairwise(ends)):
            padded[b, 8 - (end - start) :] = rows[start:end]
            mask[b, 8 - (end - start) :] = True
            alone = block(pp.Tokens(rows[None, start:end])).values[0]
            close(together[start:end], alone, f"sequence {b}")
        close(block(pp.Tokens(padded, mask)).values[mask], together, "tokens, padded on the left")


@every_variant
def test_half_precision(variant: Variant) -> None:
    """A half block on half values; statistics are in float32 all the same.

    By the reference: kernels for half precision are tested with the poolings, and take long to compile.
    """
    block = made(variant)
    for dtype in (torch.float16, torch.bfloat16):
        half = twin(block, dtype)
        for what, layout in layouts(block, dtype).items():
            with pp.kernels("reference"):
                trained = gradients(twin(half, dtype).train(), layout, layout.values)
                assert all(t.dtype == dtype and bool(t.isfinite().all()) for t in trained)
                out, *of = gradients(half, layout, layout.values)
                wanted = twin(half, torch.float64)(layout.to(torch.float64)).values
            assert out.dtype == dtype
            assert all(g.dtype == dtype and bool(g.isfinite().all()) for g in of)
            close(out, wanted, f"{dtype} {what}", HALF_NETWORK)


@every_variant
def test_autocast(variant: Variant) -> None:
    """Linear maps and convolutions follow autocast; the values and the result keep their dtype."""
    block = made(variant, torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        for what, layout in layouts(block, dtype).items():
            values = layout.values.clone().requires_grad_()
            with pp.kernels("reference"), torch.autocast("cpu", dtype=torch.bfloat16):
                out = block(layout.with_values(values)).values
            assert out.dtype == dtype
            (gradient,) = torch.autograd.grad(out.sum(), values)
            assert gradient.dtype == dtype
            assert bool(gradient.isfinite().all())
            wanted = twin(block, torch.float64)(layout.to(torch.float64)).values
            close(out, wanted, f"{dtype} {what}", HALF_NETWORK)


class Program(nn.Module):
    """A block on all layouts that it declares, from plain tensors: one program to compile or to export."""

    def __init__(self, block: Block, grids_alone: bool = False) -> None:
        super().__init__()
        self.block = block
        self.grids_alone = grids_alone or block.layouts == ("grid",)

    def forward(self, x: Tensor, mask: Tensor, rows: Tensor, graph: Tensor, offsets: Tensor) -> list[Tensor]:
        outs = [self.block(pp.Grid(x)).values, self.block(pp.Grid(x, mask)).values]
        if not self.grids_alone:
            sequences = x.flatten(2).mT
            outs += [
                self.block(pp.Tokens(sequences, mask.flatten(1))).values,
                self.block(pp.Packed(rows, offsets)).values,
                self.block(pp.Nodes(rows, graph, 3)).values,
                self.block(pp.Clusters(rows, graph, 3)).values,
            ]
        return outs


def inputs(block: Block, n: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Arguments of a `Program`; with another n every dynamic size is another one."""
    space = tuple(size + n for size in SPACES[block.dims or 2])
    x, mask = normal(n, C, *space, dtype=dtype), uniform(n, *space) > 0.3
    rows = normal(n + 6, C, seed=1, dtype=dtype)
    return x, mask, rows, torch.arange(n + 6) % 3, torch.tensor([0, 4, 4, n + 6])


def compiled_is_eager(program: Program, backend: str, dtype: torch.dtype) -> None:
    torch.compiler.reset()
    x, mask, rows, graph, offsets = inputs(program.block, 3, dtype)
    results = []
    for run in (torch.compile(program, fullgraph=True, backend=backend), program):
        values, nodes = x.clone().requires_grad_(), rows.clone().requires_grad_()
        outs = run(values, mask, nodes, graph, offsets)
        of = [values, *([] if program.grids_alone else [nodes]), *program.parameters()]
        grads = torch.autograd.grad(sum(out.square().sum() for out in outs), of)
        results.append((*outs, *grads))
    for found, wanted in zip(*results, strict=True):
        close(found, wanted, "compiled", of_gradients(dtype))


# The defaults of each block in `make test`, what changes a program in `make test-all`.
some_variants = pytest.mark.parametrize(
    "variant",
    [pytest.param(v, id=named(v), marks=[] if not v[1] else [pytest.mark.slow]) for v in VARIANTS],
)


@some_variants
def test_compiled(variant: Variant) -> None:
    compiled_is_eager(Program(made(variant)), "aot_eager", torch.float64)


def test_compiled_with_inductor() -> None:
    block = made(("squeeze_excite", {}), torch.float32)
    compiled_is_eager(Program(block, grids_alone=True), "inductor", torch.float32)


@pytest.mark.slow
@every_variant
def test_every_block_compiled_with_inductor(variant: Variant) -> None:
    compiled_is_eager(Program(made(variant, torch.float32)), "inductor", torch.float32)


@some_variants
def test_exported(variant: Variant) -> None:
    """With dynamic batch, height, width and number of nodes."""
    block = made(variant).requires_grad_(False)
    program = Program(block)
    auto = torch.export.Dim.DYNAMIC
    given = inputs(block, 3)
    x, mask = given[:2]
    shapes: tuple[Any, ...] = (
        dict.fromkeys([0, *range(2, x.dim())], auto),
        dict.fromkeys(range(mask.dim()), auto),
        *(({}, {}) if program.grids_alone else ({0: auto}, {0: auto})),
        {},
    )
    module = torch.export.export(program, given, dynamic_shapes=shapes).module()
    for n in (3, 5):
        others = inputs(block, n)
        if program.grids_alone:
            others = (*others[:2], *given[2:])  # which the program does not read
        for found, wanted in zip(module(*others), program(*others), strict=True):
            close(found, wanted, f"n = {n}")


@every_variant
def test_vmap_is_a_loop(variant: Variant) -> None:
    block = made(variant).requires_grad_(False)
    dims = dimensions(block)[-1]
    many = normal(2, 2, C, *SPACES[dims])
    at_once = torch.func.vmap(lambda x: block(pp.Grid(x)).values)(many)
    close(at_once, torch.stack([block(pp.Grid(x)).values for x in many]), "vmap")


@every_variant
def test_forward_mode_and_jacobians(variant: Variant) -> None:
    """The directional derivative forward is the one backward, on a masked layout of each kind."""
    block = made(variant).requires_grad_(False)
    for what, layout in layouts(block).items():
        direction = normal(*layout.values.shape, seed=6)

        def run(values: Tensor, layout: pp.Layout = layout) -> Tensor:
            out: Tensor = block(layout.with_values(values)).values
            return out

        forward = torch.func.jvp(run, (layout.values,), (direction,))[1]
        into = normal(*layout.values.shape, seed=7)
        pull = torch.func.vjp(run, layout.values)[1]
        close((forward * into).sum(), (direction * pull(into)[0]).sum(), what, of_gradients(torch.float64))


@every_variant
def test_nothing_to_change(variant: Variant) -> None:
    """No images, no sequences, no nodes, in training and evaluation: the shape is kept and gradients are 0."""
    for training in (False, True):
        block = made(variant, training=training)
        none: list[pp.Layout] = [pp.Grid(normal(0, C, *SPACES[dims])) for dims in dimensions(block)]
        if "tokens" in block.layouts:
            none += [
                pp.Tokens(normal(0, 4, C)),
                pp.Packed(normal(0, C), torch.tensor([0, 0, 0])),
                pp.Nodes(normal(0, C), torch.zeros(0, dtype=torch.long), 2),
            ]
        for layout in none:
            out, *of = gradients(block, layout, layout.values)
            assert out.shape == layout.values.shape
            assert not any(bool(g.any()) for g in of)


@every_variant
def test_a_module_like_any_other(variant: Variant) -> None:
    block, (name, settings) = made(variant), variant
    other = pp.blocks.build(name, C, dtype=torch.float64, **settings).eval()
    file = io.BytesIO()
    torch.save(block.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    layout = next(iter(layouts(block).values()))
    loaded = pp.blocks.load_state(
        pp.blocks.build(name, C, dtype=torch.float64, **settings), block.state_dict()
    )
    for same in (other, loaded.eval(), copy.deepcopy(block), pickle.loads(pickle.dumps(block))):
        identical(same(layout).values, block(layout).values, "twin")
    assert type(block).__name__ in repr(block)
    empty = pp.blocks.build(name, C, device="meta", dtype=torch.bfloat16, **settings)
    for tensor in (*empty.parameters(), *empty.buffers()):
        assert tensor.is_meta
        assert tensor.dtype in (torch.bfloat16, torch.int64)


@every_variant
def test_what_does_not_fit(variant: Variant) -> None:
    block = made(variant)
    dims = dimensions(block)[-1]
    with pytest.raises(ValueError, match=f"values must have the {C} channels .* found 3. Build it for 3"):
        block(pp.Grid(normal(2, 3, *SPACES[dims])))
    if block.dims is not None:
        other = 1 if block.dims != 1 else 2
        with pytest.raises(ValueError, match=f"the {block.dims} spatial dimensions .* found {other}"):
            block(pp.Grid(normal(2, C, *SPACES[other])))
    if block.layouts == ("grid",):
        name = type(block).__name__
        with pytest.raises(NotImplementedError, match=f"{name} does not run on the layout tokens; .*: grid"):
            block(pp.Tokens(normal(2, 5, C)))
        with pytest.raises(NotImplementedError, match=f"{name} needs a whole Grid"):
            block(pp.Grid(normal(2, C, *SPACES[dims])).windows(2))
    with pytest.raises(TypeError, match="has no setting 'reducktion'; its settings are"):
        pp.blocks.build(variant[0], C, reducktion=4)
    for wrong, error in ((0, ValueError), (2.0, TypeError), (True, TypeError)):
        with pytest.raises(error, match="channels must be"):
            pp.blocks.build(variant[0], wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "settings", "text"),
    [
        ("eca", {"kernel_size": 4}, "kernel_size must be odd, to have a middle; found 4. Use 5"),
        (
            "eca",
            {"pool": pp.build("attention", channels=4)},
            "pool must be built for channels = 32; found one for 4",
        ),
        (
            "cbam",
            {"spatial_kernel_size": 2},
            "spatial_kernel_size must be odd, to have a middle; found 2. Use 3",
        ),
        ("cbam", {"spatial_pool": "attention"}, "must need no channels itself; found attention"),
        ("cbam", {"dims": 4}, "dims must be 1, 2 or 3; found 4"),
        ("coordinate_attention", {"dims": 0}, "dims must be > 0; found 0"),
        ("coordinate_attention", {"rd_ratio": -1.0}, "rd_ratio must be > 0"),
        ("global_context", {"fuse_scale": False}, "fuse_add or fuse_scale must be True"),
        ("global_context", {"rd_ratio": 0.01}, "rd_ratio must leave at least one of 32 channels; found 0.01"),
        ("gather_excite", {"extent": -1}, "extent must be >= 0; found -1"),
        ("gather_excite", {"extent": 3, "extra_params": True}, "extent must be 0 or a power of two above 1"),
        ("gather_excite", {"extra_params": True}, "feat_size must be given for extent=0 with extra_params"),
        ("gather_excite", {"feat_size": 7}, "feat_size goes with extra_params=True; found it alone"),
        ("gather_excite", {"extent": 2, "extra_params": True, "pool": "max"}, 'pool must be left at "mean"'),
        ("gather_excite", {"extent": 2, "extra_params": True, "dims": 4}, "dims must be 1, 2 or 3; found 4"),
        ("gather_excite", {"pool": "mean+max"}, "pool must give 32 channels"),
        ("style_recalibration", {"gate_layer": "relu"}, "gate must be one of sigmoid"),
    ],
    ids=str,
)
def test_wrong_settings(name: str, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        pp.blocks.build(name, C, **settings)
    assert "\n" not in str(caught.value)


def test_names() -> None:
    assert type(pp.blocks.build("se", C)) is pp.blocks.SqueezeExcite
    with pytest.raises(
        ValueError, match=r"no block is named 'squeeze_exite'. Did you mean 'squeeze_excite'\? There are"
    ):
        pp.blocks.build("squeeze_exite", C)
    with pytest.raises(TypeError, match="name must be a str; found type"):
        pp.blocks.build(pp.blocks.ECA, C)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no layout is named 'token'. There are: grid, tokens"):
        pp.blocks.names("token")
    assert set(pp.blocks.names("grid")) == set(pp.blocks.names())


def test_registering(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is registered is found by name, and then by every test of this file."""
    forgets(monkeypatch, registry._blocks)

    @pp.blocks.register("own_gate", aliases=("own",), source="nobody")
    class OwnGate(pp.blocks.Gate):
        """A gate of one's own."""

    assert type(pp.blocks.build("own", 3)) is OwnGate
    assert pp.blocks.card("own_gate").summary == "A gate of one's own."
    for wrong in ("squeeze_excite", "se"):
        with pytest.raises(ValueError, match=f"the name '{wrong}' is taken by .*SqueezeExcite"):
            pp.blocks.register(wrong)(OwnGate)
    with pytest.raises(ValueError, match="a name must be lower case letters"):
        pp.blocks.register("Own gate")
    with pytest.raises(TypeError, match="register decorates a class derived from Block"):
        pp.blocks.register("linear")(nn.Linear)  # type: ignore[type-var]
