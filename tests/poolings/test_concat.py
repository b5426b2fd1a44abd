"""Several poolings side by side, their statistics in one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import polypool as pp
from tests.support import close, counted_passes, identical, integers, normal

x, batch = normal(30, 4), integers(3, 30)
nodes = pp.Nodes(x, batch, 3)


def side_by_side(*pools: pp.Pooling) -> torch.Tensor:
    return torch.cat([pool(nodes) for pool in pools], -1)


@pytest.mark.parametrize(
    "names",
    [
        ("mean", "max", "std"),
        ("var", "var"),
        ("max", "mean", "max", "min"),
        ("median", "mean", "top_k"),
        ("median", "trimmed"),
        ("moments", "std", "sum", "mean_sqrt_len"),
        ("attention", "mean", "gem"),
        ("mean",) * 5,
    ],
    ids="+".join,
)
def test_a_plus_string_is_its_parts_side_by_side(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    pool = pp.build("+".join(names), channels=4).double()
    assert isinstance(pool, pp.poolings.Concat)
    with pp.kernels("reference"):
        identical(pool(nodes), side_by_side(*pool.parts), "+".join(names))
    close(pool(nodes), side_by_side(*pool.parts), "kernels, which measure higher moments another way")
    assert pool.out_channels(4) == pool(nodes).shape[1]
    assert pool.card.name == "+".join(names)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mean+max+std", {"mean", "max", "m2"}),
        ("var+var", {"mean", "m2"}),
        ("var+std+moments", {"mean", "m2", "m3", "m4"}),
        ("median+mean+trimmed+max", {"mean", "max"}),
        ("mean+median", {"mean"}),
    ],
)
def test_statistics_are_measured_in_one_pass(name: str, wanted: set[str]) -> None:
    """The union of what the parts declare, asked for once."""
    pool = pp.build(name)
    assert isinstance(pool, pp.poolings.Concat)
    with counted_passes() as passes:
        pool(nodes)
    assert len(passes) == 1
    assert passes[0] - {"n", "mass"} <= wanted
    with counted_passes() as passes:
        side_by_side(*pool.parts)
    assert len(passes) == sum(part.card.decomposable for part in pool.parts)


def test_each_statistic_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    for statistic in (pp.Mean, pp.M2, pp.Max, pp.Min):
        original = statistic.measure

        def counted(self: Any, cells: Any, found: Any, original: Any = original) -> Any:
            measured.append(self.key)
            return original(self, cells, found)

        monkeypatch.setattr(statistic, "measure", counted)
    with pp.kernels("reference"):
        pp.build("mean+var+std+max+max+min+mean")(nodes)
    assert sorted(measured) == ["m2", "max", "mean", "min"]


def test_nested() -> None:
    inner = pp.build("mean+std")
    outer = pp.build("concat", pools=[inner, "max", pp.build("var+mean")])
    identical(outer(nodes), side_by_side(inner, pp.build("max"), pp.build("var"), pp.build("mean")), "nested")
    assert outer.card.name == "mean+std+max+var+mean"
    assert outer.card.decomposable
    with counted_passes() as passes:
        outer(nodes)
    assert len(passes) == 1
    state = outer.state(nodes)
    close(outer.finalize(state), outer(nodes), "state of nested")


def test_a_nested_part_without_statistics_of_its_own_shares_too() -> None:
    """`mean+median` inside of something: still one pass for every mean."""
    outer = pp.build("concat", pools=[pp.build("mean+median"), "max"])
    identical(outer(nodes), side_by_side(*map(pp.build, ("mean", "median", "max"))), "nested")
    with counted_passes() as passes:
        outer(nodes)
    assert len(passes) == 1


def test_settings_of_parts() -> None:
    pool = pp.build("concat", pools=[pp.build("quantile", q=0.1), pp.build("quantile", q=0.9), "rms"])
    wanted = side_by_side(pp.build("quantile", q=0.1), pp.build("quantile", q=0.9), pp.build("power", p=2.0))
    identical(pool(nodes), wanted, "settings")


def test_spaces_and_aliases_in_a_plus_string() -> None:
    identical(pp.build("avg + cls")(nodes), side_by_side(pp.build("mean"), pp.build("first")), "aliases")


def test_state_merge_and_finalize() -> None:
    pool = pp.build("mean+max+std")
    half = torch.arange(30) < 11
    a, b = (pool.state(pp.Nodes(x[part], batch[part], 3)) for part in (half, ~half))
    assert {"mean", "m2", "max", "n", "mass"} <= set(a)
    close(pool.finalize(pool.merge(a, b)), pool(nodes), "merged")
    with pytest.raises(NotImplementedError, match="mean\\+median has no state: it is not decomposable"):
        pp.build("mean+median").state(nodes)


def test_the_card_is_that_of_its_parts() -> None:
    card = pp.build("mean+max").card
    assert card == pp.card("mean+max")
    assert (card.decomposable, card.permutation_invariant, card.constant_preserving, card.takes_weights) == (
        True,
    ) * 4
    assert card.homogeneity == 1
    assert card.has_weights is False
    assert card.layouts == pp.card("mean").layouts
    assert pp.card("mean").source in card.source
    assert pp.card("mean+var").homogeneity is None
    assert pp.card("var+var").homogeneity == 2
    assert pp.card("mean+std").constant_preserving is False
    assert pp.card("mean+first").permutation_invariant is False
    assert pp.card("mean+median").decomposable is False
    assert pp.card("mean+median").takes_weights is False
    assert pp.build("mean+gem").card.learnable is True


def test_the_card_of_an_instance_is_its_own() -> None:
    """Building one does not change another, nor the class."""
    before = pp.build("mean+max").card
    pp.build("median+var")
    assert pp.build("mean+max").card == before
    assert pp.poolings.Concat([pp.build("gem", learn=False)]).card.learnable is False
    assert pp.poolings.Concat([pp.build("gem")]).card.learnable is True


def test_a_part_that_takes_no_weights() -> None:
    with pytest.raises(NotImplementedError, match=r"mean\+median cannot pool a layout with weights"):
        pp.build("mean+median")(pp.Nodes(x, weight=torch.ones(30)))


def test_parameters_of_parts_are_its_own() -> None:
    pool = pp.build("attention+gem+attention", channels=4)
    assert isinstance(pool, pp.poolings.Concat)
    assert len(list(pool.parameters())) == sum(len(list(part.parameters())) for part in pool.parts) >= 3
    other = pp.build("attention+gem+attention", channels=4)
    other.load_state_dict(pool.state_dict())
    identical(other(pp.Nodes(x.float())), pool(pp.Nodes(x.float())), "state_dict")
    assert pool.half()(pp.Nodes(x.half())).dtype == torch.float16


def test_half_precision_is_rounded_once() -> None:
    found = pp.build("mean+std")(pp.Nodes(x.half(), batch, 3))
    assert found.dtype == torch.float16
    close(found, pp.build("mean+std")(pp.Nodes(x.half().double(), batch, 3)), "half")


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({}, TypeError, "concat needs pools"),
        ({"pools": []}, ValueError, "pools must hold at least one pooling; found none"),
        ({"pools": ()}, ValueError, "pools must hold at least one pooling; found none"),
        ({"pools": [3]}, TypeError, "pools must hold poolings or names; found int"),
        ({"pools": [torch.nn.ReLU()]}, TypeError, "pools must hold poolings or names; found ReLU"),
        ({"pools": [pp.poolings.MeanPool]}, TypeError, "pools must hold poolings or names; found"),
        ({"pools": ["mean", "maxx"]}, ValueError, "no pooling is named 'maxx'. Did you mean 'max'"),
        ({"pools": "mean+max"}, TypeError, "pools must be"),
        ({"pools": "mean"}, TypeError, "pools must be"),
        ({"pools": 3}, TypeError, "pools must"),
        ({"pools": ["attention"]}, TypeError, "attention needs channels"),
        ({"pools": ["mean"], "p": 2}, TypeError, "concat has no setting 'p'; its settings are: pools"),
    ],
    ids=str,
)
def test_wrong_parts(settings: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error) as caught:
        pp.build("concat", **settings)
    assert text in str(caught.value)


@pytest.mark.parametrize("name", ["mean+", "+mean", "mean++max", "+"])
def test_missing_names(name: str) -> None:
    with pytest.raises(ValueError, match="no pooling is named ''"):
        pp.build(name)


def test_parts_for_other_numbers_of_channels() -> None:
    """No values fit both, so it cannot be built."""
    with pytest.raises(ValueError, match="channels"):
        pp.build("concat", pools=[pp.build("attention", channels=4), pp.build("attention", channels=8)])


def test_plus_strings_take_no_settings_but_channels() -> None:
    with pytest.raises(
        TypeError, match=r"takes no settings but channels; found p. Use build\(\"concat\", pools=\[...\]\)"
    ):
        pp.build("gem+mean", p=2.0)
    assert pp.build("attention+mean", channels=4).out_channels(4) == 8
