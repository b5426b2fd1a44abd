"""Where other libraries fall short: their own cases, run through polypool.

Where the other library is installed its result is computed too, and noted with the test (`--junit-xml` shows it): a
peer that mends its ways must not break our tests.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import polypool as pp
from polypool.testing.tolerances import LARGE_OFFSET
from tests.support import Tolerance, close, identical, integers, normal

NAN, INF = float("nan"), float("inf")
# The six modes of sentence-transformers, by its own names.
MODES = ["cls", "lasttoken", "max", "mean", "mean_sqrt_len_tokens", "weightedmean"]

Note = Callable[[str, object], None]


def module(name: str) -> Any:
    """A peer, without what it warns of when it is imported."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(name)


@pytest.fixture(scope="module")
def sbert() -> Callable[..., Tensor]:
    """sentence-transformers' own pooling of states and mask in one mode."""
    modules = module("sentence_transformers.sentence_transformer.modules")

    def pool(mode: str, states: Tensor, mask: Tensor) -> Tensor:
        layer = modules.Pooling(states.shape[-1], pooling_mode=mode)
        features = {"token_embeddings": states.clone(), "attention_mask": mask}
        pooled: Tensor = layer(features)["sentence_embedding"]
        return pooled

    return pool


@pytest.fixture(scope="module")
def aggr() -> Any:
    """PyG's aggregations."""
    return module("torch_geometric.nn.aggr")


def note(record: Note, peer: str, wrong: bool) -> None:
    record(peer, "wrong" if wrong else "right")


states = normal(3, 5, 4, dtype=torch.float32)
mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_agrees_where_it_is_right(mode: str, sbert: Callable[..., Tensor]) -> None:
    """Right padding, no empty row, no NaN: the same numbers."""
    close(pp.build(mode)(states, mask=mask), sbert(mode, states, mask), mode)


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_nan_in_padding(
    mode: str, sbert: Callable[..., Tensor], record_property: Note
) -> None:
    """It multiplies by the mask: NaN times 0 is NaN."""
    spoilt = states.masked_fill(mask[..., None] == 0, NAN).requires_grad_()
    pooled = pp.build(mode)(spoilt, mask=mask)
    identical(pooled, pp.build(mode)(states, mask=mask), mode)
    (gradient,) = torch.autograd.grad(pooled.sum(), spoilt)
    assert not gradient[mask == 0].any()
    assert bool(gradient.isfinite().all())
    note(record_property, "sentence-transformers", bool(sbert(mode, spoilt.detach(), mask).isnan().any()))


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_row_without_tokens(
    mode: str, sbert: Callable[..., Tensor], record_property: Note
) -> None:
    """-inf, a padding token, or zeros there; here zeros, with gradient 0."""
    nothing = mask.clone()
    nothing[2] = 0
    x = states.clone().requires_grad_()
    pooled = pp.build(mode)(x, mask=nothing)
    assert not pooled[2].any()
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert not gradient[2].any()
    note(record_property, "sentence-transformers", bool(sbert(mode, states, nothing)[2].any()))


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_packed_row_without_tokens(mode: str) -> None:
    """The next or the previous row's token, or an IndexError; here zeros, first, in between and last."""
    rows = normal(5, 4)
    pooled = pp.build(mode)(rows, offsets=torch.tensor([0, 0, 2, 2, 5, 5]))
    assert not pooled[[0, 2, 4]].any()
    alone = pp.build(mode)(rows, offsets=torch.tensor([0, 2, 5]))
    identical(pooled[[1, 3]], alone, mode)
    none = pp.build(mode)(rows[:0], offsets=torch.tensor([0, 0]))
    assert none.tolist() == [[0.0] * 4]


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_packed_modes(mode: str) -> None:
    """Packed rows give what padded ones give."""
    rows = states[mask == 1]
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), mask.sum(1).cumsum(0)]).int()
    close(pp.build(mode)(rows, offsets=offsets), pp.build(mode)(states, mask=mask), mode)


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_mask_of_wrong_width(
    mode: str, sbert: Callable[..., Tensor], record_property: Note
) -> None:
    """It is replaced by all ones without a word."""
    wrong = mask[:, :3]
    with pytest.raises(ValueError, match=r"mask must have shape \(B, T\) = \(3, 5\); found \(3, 3\)"):
        pp.build(mode)(states, mask=wrong)
    try:
        sbert(mode, states, wrong)
    except (RuntimeError, ValueError):
        note(record_property, "sentence-transformers", wrong=False)
    else:
        note(record_property, "sentence-transformers", wrong=True)


class WithoutPrompt(nn.Module):
    """`include_prompt=False`: the first tokens of each row are instructions and are left out."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.pool = pp.build(mode)

    def forward(self, states: Tensor, mask: Tensor, prompt: Tensor) -> Tensor:
        place = mask.cumsum(1)  # padding on the left must not shorten the prompt
        pooled: Tensor = self.pool(states, mask=(mask == 1) & (place > prompt[:, None]))
        return pooled


@pytest.mark.parametrize("mode", MODES)
def test_sentence_transformers_include_prompt_false(mode: str) -> None:
    """Compiles in one graph and exports, in 6 of 6 modes."""
    program, prompt = WithoutPrompt(mode), torch.tensor([1, 2, 1])
    wanted = torch.zeros(3, 4)
    wanted[0] = pp.build(mode)(pp.Nodes(states[0, 1:3]))[0]
    wanted[1] = pp.build(mode)(pp.Nodes(states[1, 2:]))[0]
    close(program(states, mask, prompt), wanted, "eager")
    torch.compiler.reset()
    compiled = torch.compile(program, fullgraph=True, backend="eager", dynamic=True)
    close(compiled(states, mask, prompt), wanted, "compiled")
    dynamic = torch.export.Dim.DYNAMIC
    both = {0: dynamic, 1: dynamic}
    exported = torch.export.export(
        program, (states, mask, prompt), dynamic_shapes=(both, both, {0: dynamic})
    ).module()
    close(exported(states, mask, prompt), wanted, "exported")
    close(
        exported(states[:2, :4], mask[:2, :4], prompt[:2]),
        program(states[:2, :4], mask[:2, :4], prompt[:2]),
        "others",
    )


def test_gritlm_empty_row() -> None:
    """Instructions are masked out, and a text of nothing else is a division by 0 there."""
    empty = torch.zeros(1, 5, dtype=torch.long)
    for mode in MODES:
        assert pp.build(mode)(states[:1], mask=empty).tolist() == [[0.0] * 4]


def test_flag_embedding_half_sums() -> None:
    """A sum of 3,000 states near 50 overflows float16; the mean is 50."""
    long = torch.full((1, 3000, 2), 50.0, dtype=torch.float16)
    ones = torch.ones(1, 3000, dtype=torch.long)
    assert (long * ones[..., None]).sum(1).isinf().all()
    for mode in ("mean", "weightedmean"):
        close(pp.build(mode)(long, mask=ones), torch.full((1, 2), 50.0), mode)
    close(pp.build("mean_sqrt_len_tokens")(long, mask=ones), torch.full((1, 2), 50 * 3000**0.5), "sqrt len")


def test_tevatron_left_padding_decided_per_batch() -> None:
    """Those recipes look whether the last column is all ones, and pool every row of the batch as if it were so."""
    left = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]])
    mixed = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    for one in (left, mixed):
        for mode in MODES:
            pooled = pp.build(mode)(states, mask=one)
            alone = torch.cat([pp.build(mode)(states[r : r + 1], mask=one[r : r + 1]) for r in range(3)])
            close(pooled, alone, f"{mode}, row by row")
    last = pp.build("lasttoken")(states, mask=mixed)
    identical(last, torch.stack([states[0, 4], states[1, 4], states[2, 1]]), "last tokens")


def test_pyg_variance_of_large_mean(aggr: Any, record_property: Note) -> None:
    """N(1e4, 1) in float32 has variance 1 and not -88."""
    x, batch = (1e4 + normal(20_000, 2)).float(), torch.arange(20_000) % 4
    wanted = torch.stack([x[batch == g].double().var(0, correction=0) for g in range(4)])
    close(pp.build("var")(x, batch=batch), wanted, "var", LARGE_OFFSET)
    close(pp.build("std")(x, batch=batch), wanted.sqrt(), "std", LARGE_OFFSET)
    theirs = aggr.VarAggregation()(x, batch, dim_size=4)
    note(record_property, "PyG", bool(((theirs - wanted).abs() > 0.1).any()))


def test_pyg_mean_of_70000_half_rows(aggr: Any, record_property: Note) -> None:
    """Neither NaN nor inf: sums and counts are not kept in float16."""
    ones, batch = torch.ones(70_000, 2, dtype=torch.float16), torch.zeros(70_000, dtype=torch.long)
    assert pp.build("mean")(ones, batch=batch).tolist() == [[1.0, 1.0]]
    theirs = aggr.MeanAggregation()(ones, batch)
    note(record_property, "PyG", not bool((theirs == 1).all()))


def test_pyg_mean_of_21_million_rows() -> None:
    """A running float32 sum of ones stops at 2^24: a quarter is missing there."""
    many = 21_000_000
    ones = torch.ones(1, 1).expand(many, 1)
    running = torch.full((1,), 2.0**24) + torch.ones(1)
    assert running.item() == 2.0**24
    assert pp.build("mean")(pp.Nodes(ones)).item() == 1.0
    assert pp.build("sum")(pp.Nodes(ones)).item() == many


def test_pyg_ptr_turns_inf_into_zero(aggr: Any, record_property: Note) -> None:
    """An infinity is a value, with offsets as with a batch."""
    x, ptr = torch.tensor([[INF], [1.0], [-INF], [-INF], [2.0]]), torch.tensor([0, 2, 4, 5])
    assert pp.build("max")(x, offsets=ptr).flatten().tolist() == [INF, -INF, 2.0]
    assert pp.build("min")(x, offsets=ptr).flatten().tolist() == [1.0, -INF, 2.0]
    batch = torch.tensor([0, 0, 1, 1, 2])
    identical(pp.build("max")(x, batch=batch), pp.build("max")(x, offsets=ptr), "batch")
    theirs = aggr.MaxAggregation()(x, ptr=ptr).flatten().tolist()
    note(record_property, "PyG", theirs != [INF, -INF, 2.0])


def test_pyg_ptr_that_does_not_end_at_n(aggr: Any, record_property: Note) -> None:
    """The rows that are left over are not forgotten in silence."""
    x, ptr = torch.ones(5, 1), torch.tensor([0, 2, 4])
    for name in pp.names():
        with pytest.raises(
            ValueError, match=r"offsets must end at N = 5; found 4\. Use Packed\.from_lengths"
        ):
            pp.build(name, channels=1)(x, offsets=ptr)
    with pytest.raises(ValueError, match=r"offsets must end at N = 5; found 9"):
        pp.build("sum")(x, offsets=torch.tensor([0, 2, 9]))
    try:
        aggr.SumAggregation()(x, ptr=ptr)
    except (RuntimeError, ValueError):
        note(record_property, "PyG", wrong=False)
    else:
        note(record_property, "PyG", wrong=True)


def test_pyg_median_beyond_1e5_rows(aggr: Any, record_property: Note) -> None:
    """Places are counted in integers and float64: float32 has two digits after the point at 100,000."""
    n, q = 150_000, 0.123_456
    batch = (torch.arange(n) >= 100_001).long()
    x = torch.arange(float(n), dtype=torch.float64)[:, None]
    wanted = torch.tensor([[q * 100_000], [100_001 + q * 49_998]], dtype=torch.float64)
    close(pp.build("quantile", q=q)(x, batch=batch), wanted, "quantile")
    middle = torch.tensor([[50_000.0], [100_001 + 24_999.0]], dtype=torch.float64)
    close(pp.build("median")(x, batch=batch), middle, "median")
    theirs = aggr.QuantileAggregation(q)(x, batch)
    note(record_property, "PyG", bool(((theirs - wanted).abs() > 1e-6).any()))


@pytest.mark.parametrize("name", pp.names())
def test_pyg_readouts_that_see_other_graphs(name: str) -> None:
    """LSTM, GRU, LCM and Equilibrium readouts pad to the largest graph of the batch: a graph's vector depends on it."""
    pool = pp.build(name, channels=4).double()
    graph, others = normal(5, 4), 1e3 * normal(40, 4, seed=1)
    alone = pool(pp.Nodes(graph))
    x = torch.cat([others[:30], graph, others[30:]])
    batch = torch.cat([torch.zeros(30), torch.ones(5), torch.full((10,), 2.0)]).long()
    close(pool(x, batch=batch, num_graphs=4)[1:2], alone, name)
    order = torch.randperm(45, generator=torch.Generator().manual_seed(0))
    x, batch = x[order], batch[order]
    close(
        pool(x, batch=batch, num_graphs=4)[1:2], pool(pp.Nodes(x[batch == 1])), f"{name}, nodes in any order"
    )


def test_pyg_multi_aggregation_var_var(aggr: Any, record_property: Note) -> None:
    """Twice the same operator is twice the same columns."""
    x, batch = normal(20, 3, dtype=torch.float32), integers(3, 20).sort().values
    var = pp.build("var")(x, batch=batch, num_graphs=3)
    close(pp.build("var+var")(x, batch=batch, num_graphs=3), torch.cat([var, var], 1), "var+var")
    theirs = aggr.MultiAggregation(["var", "var"])(x, batch, dim_size=3)
    note(record_property, "PyG", not torch.allclose(theirs, torch.cat([var, var], 1), atol=1e-4))


def test_tgp_results_of_another_graph() -> None:
    """`cached=True` gives the previous graph's result there; here what is kept is the layout's own structure."""
    pool = pp.build("mean+max+std")
    ids = torch.tensor([0, 1, 0, 1, 0])
    first = pp.Clusters(normal(5, 3), ids)
    before = pool(first)
    second = pp.Clusters(normal(5, 3, seed=1), 1 - ids)
    identical(pool(second), pool(pp.Clusters(normal(5, 3, seed=1), 1 - ids)), "another graph")
    identical(pool(first), before, "the first again")
    identical(pool(first.with_values(second.values)), pool(pp.Clusters(second.values, ids)), "other values")


def test_tgp_unknown_settings() -> None:
    """Dropped without a word there."""
    with pytest.raises(TypeError, match="mean has no setting 'cached'; its settings are: none"):
        pp.build("mean", cached=True)
    with pytest.raises(TypeError, match="no setting 'q'; its settings are: k"):
        pp.build("top_k", q=0.1)


def test_timm_attention_blocks_are_built_and_run() -> None:
    """One of timm's cannot be constructed. Every block that we list can be, and runs."""
    assert pp.blocks.__all__
    for name in pp.blocks.__all__:
        block = getattr(pp.blocks, name)(32)
        assert block(normal(2, 32, 5, 5, dtype=torch.float32)).shape == (2, 32, 5, 5)


def test_timm_max_ties() -> None:
    """`max` and `fastmax` there give different gradients on ties; here the first winner takes it, on every layout."""
    x = torch.tensor([[1.0, 2.0], [3.0, 2.0], [3.0, 2.0], [0.0, 2.0]])
    wanted = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    makers: dict[str, Callable[[Tensor], pp.Layout]] = {
        "grid": lambda v: pp.Grid(v.t()[None, :, None, :]),
        "channels last": lambda v: pp.Grid(v[None, None], channels_last=True),
        "tokens": lambda v: pp.Tokens(v[None]),
        "masked": lambda v: pp.Tokens(v[None], torch.ones(1, 4, dtype=torch.bool)),
        "packed": lambda v: pp.Packed(v, torch.tensor([0, 4])),
        "nodes": pp.Nodes,
        "clusters": lambda v: pp.Clusters(v, torch.zeros(4, dtype=torch.long)),
        "soft": lambda v: pp.Clusters(v, torch.ones(4, 1)),
        "windows": lambda v: pp.Grid(v.t()[None, :, None, :]).windows((1, 4)),
        "spans": lambda v: pp.Tokens(v[None]).spans(torch.tensor([[0, 0, 4]])),
    }
    for what, make in makers.items():
        for sign, name in ((1, "max"), (-1, "min")):
            v = (sign * x).requires_grad_()
            (gradient,) = torch.autograd.grad(pp.build(name)(make(v)).sum(), v)
            identical(gradient, wanted, f"{name}, {what}")


@pytest.mark.parametrize("name", pp.names())
def test_simpool_row_that_depends_on_the_batch(name: str) -> None:
    """The authors' gamma shifts by the smallest value of the whole batch."""
    pool = pp.build(name, channels=3).double()
    x = normal(3, 3, 4, 4)
    together = pool(torch.cat([x, -1e4 * x.abs()]))
    for row in range(3):
        close(together[row], pool(x[row : row + 1])[0], f"{name}, row {row}")


def test_gem_half_overflow() -> None:
    """50 ** 3 is beyond float16."""
    fifty = torch.full((2, 3, 4, 4), 50.0, dtype=torch.float16)
    assert fifty.pow(3).isinf().all()
    close(pp.build("gem", p=3.0, learn=False)(fifty), torch.full((2, 3), 50.0), "gem")
    close(pp.build("power", p=3.0)(fifty), torch.full((2, 3), 50.0), "power")


def test_gem_negative_inputs() -> None:
    """A fractional power of a negative number is NaN; the clamp, the absolute value and the signed form are not."""
    x = normal(2, 3, 4, 4)
    assert x.pow(2.5).isnan().any()
    for pool in (pp.build("gem", p=2.5), pp.build("power", p=2.5), pp.build("power", p=2.5, signed=True)):
        assert bool(pool.double()(x).isfinite().all())
    close(
        pp.build("power", p=3.0, signed=True)(-x),
        -pp.build("power", p=3.0, signed=True)(x),
        "an odd function",
    )


def test_gem_large_p() -> None:
    """p = 60 in float32: 50 ** 60 is infinite."""
    x = 50 * (0.9 + 0.1 * normal(2, 3, 8, 8, dtype=torch.float32).abs().clamp(max=1.0))
    assert x.pow(60).isinf().any()
    wanted = x.double().pow(60).mean((2, 3)).pow(1 / 60)
    close(pp.build("gem", p=60.0, learn=False)(x), wanted, "gem")


def test_lse_small_r() -> None:
    """`log(mean(exp(r x))) / r` is NaN at r = 0 and noise near it; here t = 1 / r tends to the mean."""
    x = normal(2, 3, 8, 8, dtype=torch.float32)
    mean = x.double().mean((2, 3))
    for r in (1e-6, 1e-9, 1e-12):
        textbook = (r * x).exp().mean((2, 3)).log() / r
        assert bool(((textbook - mean).abs() > 1e-3).any())
        close(pp.build("logsumexp", t=1 / r)(x), mean, f"r = {r:g}", Tolerance(2e-5, 2e-6 + r))


def test_lse_large_r() -> None:
    x = 200 * normal(2, 3, 8, 8, dtype=torch.float32)
    assert bool((x / 0.1).exp().mean((2, 3)).log().isinf().any())
    for t in (0.1, 1.0):
        wanted = t * ((x.double() / t).flatten(2).logsumexp(-1) - torch.tensor(64.0).double().log())
        close(pp.build("logsumexp", t=t)(x), wanted, f"t = {t}")


def test_softpool_x_100() -> None:
    """e^100 is infinite in float32, and inf / inf is NaN."""
    x = torch.full((1, 2, 4, 4), 100.0)
    assert (x.exp() * x / x.exp()).isnan().all()
    close(pp.build("softmax")(x), torch.full((1, 2), 100.0), "global")
    close(pp.build("softmax")(pp.Grid(x).windows(2)), torch.full((1, 2, 2, 2), 100.0), "windows")
    mixed = 100 + normal(1, 2, 4, 4, dtype=torch.float32)
    wanted = (mixed.double().flatten(2).softmax(-1) * mixed.double().flatten(2)).sum(-1)
    close(pp.build("softmax")(mixed), wanted, "mixed")


def test_softpool_is_one_function() -> None:
    """Windows are the definition on each crop, on whatever device."""
    x = normal(1, 2, 6, 6)
    found = pp.build("softmax")(pp.Grid(x).windows(3))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        crop = x[:, :, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
        close(found[:, :, i, j], pp.build("softmax")(crop), f"window {i}, {j}")


def test_adaptive_avg_pool_uneven() -> None:
    """torch counts pixels that two bins share in both: they weigh more than the others. Areas are exact here."""
    shares = {}
    for name, pool in (
        ("torch", lambda v: F.adaptive_avg_pool2d(v, (3, 4))),
        ("ours", lambda v: pp.build("mean")(pp.Grid(v).bins((3, 4)))),
    ):
        x = torch.zeros(1, 1, 5, 7, dtype=torch.float64, requires_grad=True)
        (shares[name],) = torch.autograd.grad(pool(x).mean(), x)
    assert shares["torch"].amax() / shares["torch"].amin() > 1.5
    close(shares["ours"], torch.full((1, 1, 5, 7), 1 / 35, dtype=torch.float64), "each pixel's share")


class InBins(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = pp.build("mean")(pp.Grid(x).bins((3, 4)))
        return pooled


def test_adaptive_avg_pool_uneven_exports() -> None:
    """Which ONNX export refuses for torch's."""
    x = normal(2, 3, 5, 7, dtype=torch.float32)
    exported = torch.export.export(InBins(), (x,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},)).module()
    close(exported(x[:1]), InBins()(x[:1]), "exported")


def test_torchmil_empty_bag() -> None:
    """One empty bag zeroes the whole batch there."""
    bags, real = normal(3, 4, 6), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
    for name in pp.names():
        pool = pp.build(name, channels=6).double()
        pooled = pool(bags, mask=real)
        assert not pooled[1].any()
        close(pooled[[0, 2]], pool(bags[[0, 2]], mask=real[[0, 2]]), name)
        assert pooled[[0, 2]].any()


def test_attentive_statistics_std_cancels() -> None:
    """`sqrt(E[x^2] - E[x]^2)` of N(10, 0.01) is 0.0003 or 0.25 in float32; the true spread is 0.01."""
    x = (10 + 0.01 * normal(1, 400, 4)).float()
    pool = pp.build("attentive_stats", channels=4)
    with torch.no_grad():
        for parameter in pool.parameters():
            parameter.zero_()  # equal weights, so that the spread is known
    spread = x.double().std(1, correction=0)
    squares = (x.square().mean(1) - x.mean(1).square()).clamp(min=1e-12).sqrt()
    assert bool(((squares - spread).abs() > 1e-4).any())
    # The mean near 10 is known to 1e-6.
    close(pool(pp.Tokens(x))[:, 4:], spread, "spread", Tolerance(2e-5, 1e-6))
    half = pool(pp.Tokens(x.half()))[:, 4:]
    close(half, x.half().double().std(1, correction=0), "float16 input")


DEGREE_1 = [name for name in pp.names() if pp.card(name).homogeneity == 1]


@pytest.mark.parametrize("name", DEGREE_1)
def test_grad_cam_gradient_times_activation_is_exact_for_degree_1(name: str) -> None:
    """Signed, on its own scale, and it sums to the logit minus the bias."""
    x = (1 + normal(2, 3, 4, 4).abs()).requires_grad_()
    pool = pp.build(name, channels=3).double()
    head = nn.Linear(pool.out_channels(3), 1).double()
    logit = head(pool(x))
    (gradient,) = torch.autograd.grad(logit.sum(), x)
    close((gradient * x).sum((1, 2, 3)), (logit - head.bias)[:, 0], name)


def test_grad_cam_of_second_order_is_off_by_2() -> None:
    x = normal(2, 3, 4, 4).requires_grad_()
    pooled = pp.build("var")(x)
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    close((gradient * x).sum((1, 2, 3)), 2 * pooled.sum(1), "twice the variance")


@pytest.mark.parametrize("name", [name for name in pp.names() if pp.card(name).has_weights])
def test_contributions_with_the_weights_detached_are_exact(name: str) -> None:
    """softmax, attention and SoftPool too, for which gradient times activation is not."""
    x = normal(2, 4, 3, 3)
    pool = pp.build(name, channels=4).double()
    layout = pp.Grid(x)
    close((pool.weights(layout).detach() * x).sum((2, 3)), pool(layout), name)
