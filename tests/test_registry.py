"""Poolings by name: what exists, how it is built, and how a user adds one."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

import polypool as pp
from polypool import registry
from tests.support import close, forgets, identical, normal

FIRST = (
    *("attention", "attentive_stats", "first", "gated_attention", "gem", "last", "logsumexp", "max", "mean"),
    *(
        "mean_sqrt_len",
        "median",
        "min",
        "moments",
        "position_weighted",
        "power",
        "quantile",
        "softmax",
        "std",
    ),
    *("sum", "top_k", "trimmed", "var"),
)
ALIASES = {
    "avg": "mean",
    "cls": "first",
    "last_token": "last",
    "lasttoken": "last",
    "lse": "logsumexp",
    "mean_sqrt_len_tokens": "mean_sqrt_len",
    "rms": "power",
    "weighted_mean": "position_weighted",
    "weightedmean": "position_weighted",
}
ORDER = {"median", "quantile", "trimmed", "top_k"}


@pytest.fixture(autouse=True)
def _registry_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone with it."""
    forgets(monkeypatch, registry._poolings)


def fresh() -> type[pp.Pooling]:
    """A class that nobody has registered."""

    class Range(pp.Pooling):
        """The largest minus the smallest.

        Longer.
        """

        stats = (pp.Max(), pp.Min())

        def finish(self, s: Any) -> Tensor:
            return s[pp.Max()] - s[pp.Min()]

    return Range


def test_names() -> None:
    assert set(FIRST) <= set(pp.names())
    assert list(pp.names()) == sorted(pp.names())
    assert not set(ALIASES) & set(pp.names())


def test_aliases_are_those_of_sentence_transformers_and_others() -> None:
    assert ALIASES.items() <= registry.aliases().items()
    for alias, name in ALIASES.items():
        assert type(pp.build(alias)) is type(pp.build(name))
        assert pp.card(alias) == pp.card(name)
    x = pp.Nodes(normal(5, 2))
    identical(pp.build("rms")(x), pp.build("power", p=2.0)(x), "rms")
    identical(pp.build("rms", p=3.0)(x), pp.build("power", p=3.0)(x), "an alias's settings may be changed")
    identical(pp.build("lse", t=0.5)(x), pp.build("logsumexp", t=0.5)(x), "lse")


def test_names_for_a_layout() -> None:
    x, t = normal(5, 2), normal(2, 3, 2)
    for layout in (
        pp.Grid,
        pp.Tokens,
        pp.Packed,
        pp.Nodes,
        pp.Clusters,
        "grid",
        "clusters",
        pp.Nodes(x),
        pp.Tokens(t),
    ):
        assert set(FIRST) <= set(pp.names(layout))


def test_names_for_a_layout_with_weights_leave_order_statistics_out() -> None:
    x, w = normal(5, 2), torch.ones(5)
    picture = normal(1, 2, 5, 5)
    weighted = [
        pp.Nodes(x, weight=w),
        pp.Packed(x, torch.tensor([0, 5]), weight=w),
        pp.Tokens(x[None], weight=w[None]),
        pp.Grid(picture, weight=torch.ones(1, 5, 5)),
        pp.Grid(picture, weight=torch.ones(1, 5, 5)).windows(2),
        pp.Grid(picture).bins(2),
        pp.Clusters(x, torch.zeros(5, dtype=torch.long), weight=w),
        pp.Clusters(x, torch.ones(5, 2)),
        pp.Tokens(x[None], weight=w[None]).spans(torch.tensor([[0, 0, 2]])),
    ]
    for layout in weighted:
        assert set(pp.names()) - set(pp.names(layout)) == ORDER, layout
        for name in pp.names(layout):
            pp.build(name, channels=2).double()(layout)
        for name in ORDER:
            with pytest.raises(NotImplementedError, match=f"{name} cannot pool a layout with weights"):
                pp.build(name)(layout)
    for layout in (pp.Nodes(x), pp.Grid(picture).bins(5), pp.Grid(picture).windows(2)):
        assert set(pp.names(layout)) == set(pp.names())


def test_names_for_what_is_no_layout() -> None:
    with pytest.raises(
        ValueError, match=r"no layout is named 'images'. There are: grid, tokens, packed, nodes, clusters"
    ):
        pp.names("images")
    with pytest.raises(TypeError, match="layout must be"):
        pp.names(3)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FIRST)
def test_every_card_is_complete(name: str) -> None:
    card = pp.card(name)
    assert card.name == name
    assert card.layouts == ("grid", "tokens", "packed", "nodes", "clusters")
    assert re.search(r"\d{4}", card.source), "a year"
    assert card.summary.endswith((".", ":", "`"))
    assert "\n" not in card.summary
    assert card.homogeneity in (0, 1, 2, None)
    assert card.takes_weights == (name not in ORDER)
    cls = registry.lookup(name)[0]
    assert card.decomposable == bool(cls.stats)
    assert card.has_weights == (cls.weigh is not pp.Pooling.weigh)
    assert pp.build(name, channels=4).card.name == name


def test_cards_are_data() -> None:
    with pytest.raises(AttributeError):
        pp.card("mean").name = "other"  # type: ignore[misc]
    assert pp.card("mean") == pp.build("mean").card
    assert len({pp.card(name) for name in pp.names()}) == len(pp.names())


def test_a_card_may_depend_on_settings() -> None:
    assert pp.build("power", signed=True).card.constant_preserving
    assert not pp.build("power").card.constant_preserving
    assert pp.card("power").constant_preserving is False


def test_unknown_cards() -> None:
    with pytest.raises(ValueError, match=r"no pooling is named 'maen'. Did you mean 'mean'"):
        pp.card("maen")


def test_concat_is_listed_where_it_is_asked_for() -> None:
    assert "concat" not in pp.names()
    card = pp.card("concat")
    assert card.name == "concat"


@pytest.mark.parametrize("name", FIRST)
def test_every_name_builds_with_channels_alone(name: str) -> None:
    pool = pp.build(name, channels=6).double()
    assert pool(pp.Nodes(normal(5, 6))).shape == (1, pool.out_channels(6))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("meen", "mean"),
        ("maximum", "max"),
        ("gemm", "gem"),
        ("log_sum_exp", "logsumexp"),
        ("atention", "attention"),
        ("last_tokn", "last_token"),
    ],
)
def test_unknown_names_suggest_and_list(wrong: str, right: str) -> None:
    with pytest.raises(ValueError, match=f"no pooling is named '{wrong}'") as caught:
        pp.build(wrong)
    message = str(caught.value)
    assert f"Did you mean '{right}'?" in message
    assert ", ".join(pp.names()) in message


def test_names_like_no_other_suggest_nothing() -> None:
    with pytest.raises(ValueError, match=r"no pooling is named 'xyzzy'. There are: attention,"):
        pp.build("xyzzy")
    with pytest.raises(ValueError, match="no pooling is named ''"):
        pp.build("")
    with pytest.raises(ValueError, match=r"no pooling is named 'Mean'. Did you mean 'mean'"):
        pp.build("Mean")


@pytest.mark.parametrize("name", [3, None, pp.poolings.MeanPool, pp.build("mean"), ["mean", "max"]])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(TypeError, match="name must be a str; found"):
        pp.build(name)


def test_unknown_settings_list_those_that_exist() -> None:
    with pytest.raises(
        TypeError, match="gem has no setting 'power'; its settings are: p, learn, per_channel, channels, eps"
    ):
        pp.build("gem", power=3)
    with pytest.raises(TypeError, match="mean has no setting 'p'; its settings are: none"):
        pp.build("mean", p=3)
    with pytest.raises(TypeError, match="quantile has no setting 'a', 'b'; its settings are: q"):
        pp.build("quantile", b=3, a=1, q=0.1)
    with pytest.raises(TypeError, match="rms has no setting 'q'"):
        pp.build("rms", q=3)


def test_unknown_settings_of_a_class_without_init() -> None:
    """`inspect.signature` of it shows `*args, **kwargs` of `nn.Module`, which would swallow them."""
    pp.register("range_of")(fresh())
    with pytest.raises(TypeError, match="range_of has no setting 'args'; its settings are: none"):
        pp.build("range_of", args=1)
    with pytest.raises(TypeError, match="range_of has no setting 'kwargs', 'scale'"):
        pp.build("range_of", kwargs=1, scale=2)
    assert pp.build("range_of", channels=4).card.name == "range_of"


def test_unknown_settings_of_a_class_that_passes_some_on() -> None:
    @pp.register("passes_on")
    class PassesOn(pp.Pooling):
        def __init__(self, q: float = 1.0, **rest: Any) -> None:
            super().__init__()
            self.q = q

    with pytest.raises(TypeError, match="passes_on has no setting 'p'; its settings are: q"):
        pp.build("passes_on", p=1)


def test_settings_that_are_missing() -> None:
    with pytest.raises(
        TypeError, match=re.escape("attention needs channels: build('attention', channels=...)")
    ):
        pp.build("attention")


def test_an_operator_of_ones_own() -> None:
    cls = pp.register("range_of", homogeneity=1, source="Somebody 2020", aliases=("spread_of",))(fresh())
    assert "range_of" in pp.names()
    card = pp.card("range_of")
    assert card.decomposable
    assert not card.has_weights
    assert card.homogeneity == 1
    assert card.summary == "The largest minus the smallest."
    x = normal(6, 2)
    wanted = (x.amax(0) - x.amin(0))[None]
    for pool in (pp.build("range_of"), pp.build("spread_of"), cls()):
        close(pool(pp.Nodes(x)), wanted, "range")
    close(
        pp.build("mean+range_of")(pp.Nodes(x)),
        torch.cat([x.mean(0, keepdim=True), wanted], -1),
        "in a + string",
    )


def test_settings_of_aliases() -> None:
    @pp.register("scaled", aliases={"doubled": {"by": 2.0}, "tripled": {"by": 3.0}})
    class Scaled(pp.Pooling):
        def __init__(self, by: float = 1.0) -> None:
            super().__init__()
            self.by = by

        def reduce(self, cells: pp.Cells) -> Tensor:
            return self.by * cells.mean(cells.rows)

    x = pp.Nodes(torch.ones(3, 1))
    assert [pp.build(name)(x).item() for name in ("scaled", "doubled", "tripled")] == [1.0, 2.0, 3.0]


def test_layouts_that_an_operator_refuses() -> None:
    pp.register("for_pictures", layouts=("grid",))(fresh())
    assert "for_pictures" in pp.names("grid")
    assert "for_pictures" not in pp.names("tokens")
    with pytest.raises(
        NotImplementedError, match="for_pictures cannot pool the layout nodes; it can pool: grid"
    ):
        pp.build("for_pictures")(pp.Nodes(normal(3, 2)))
    assert pp.build("mean+for_pictures").card.layouts == ("grid",)


@pytest.mark.parametrize("name", ["Mean", "two words", "a-b", "a+b", "", "1st", "ünicode Ä", "concat"])
def test_names_that_are_none(name: str) -> None:
    """`concat` is taken too, though it is not in the list: `build` would never find another one."""
    with pytest.raises(ValueError, match="name"):
        pp.register(name)(fresh())


@pytest.mark.parametrize("alias", ["a+b", "Two Words", "", "concat"])
def test_aliases_that_are_none(alias: str) -> None:
    with pytest.raises(ValueError, match="name"):
        pp.register("range_of", aliases=(alias,))(fresh())
    assert "range_of" not in pp.names()


def test_aliases_are_a_sequence_of_names() -> None:
    """One string would be taken letter by letter."""
    with pytest.raises(TypeError, match="aliases must"):
        pp.register("range_of", aliases="spread_of")(fresh())


def test_names_that_are_taken() -> None:
    with pytest.raises(ValueError, match=r"the name 'mean' is taken by polypool\.poolings\.mean\.MeanPool"):
        pp.register("mean")(fresh())
    with pytest.raises(ValueError, match="the name 'cls' is taken by"):
        pp.register("cls")(fresh())
    with pytest.raises(ValueError, match="the name 'max' is taken by"):
        pp.register("range_of", aliases=("max",))(fresh())
    assert "range_of" not in pp.names()
    assert pp.card("mean").summary.startswith("The average")


def test_the_same_class_again_replaces_it() -> None:
    """A cell of a notebook that is run twice."""
    pp.register("range_of")(fresh())
    again = pp.register("range_of", homogeneity=1)(fresh())
    assert type(pp.build("range_of")) is again
    assert pp.card("range_of").homogeneity == 1


def test_unknown_layouts() -> None:
    with pytest.raises(ValueError, match=r"no layout is named 'trees'. There are: grid,"):
        pp.register("range_of", layouts=("trees",))


@pytest.mark.parametrize(
    "thing",
    [torch.nn.ReLU, object, pp.build("mean"), len, 3],
    ids=["module", "object", "instance", "function", "int"],
)
def test_what_is_no_pooling(thing: Any) -> None:
    with pytest.raises(TypeError, match="register decorates a class derived from Pooling; found"):
        pp.register("other")(thing)
    assert "other" not in pp.names()


def test_unknown_properties() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        pp.register("range_of", homogenity=1)  # type: ignore[call-arg]


def test_a_class_that_is_not_registered_has_a_card_too() -> None:
    cls = fresh()
    assert cls.card.name == "Range"
    assert cls.card.decomposable
    assert cls.card.summary == "The largest minus the smallest."
    close(cls()(pp.Nodes(torch.tensor([[1.0], [4.0]]))), torch.tensor([[3.0]]), "range")


def test_what_a_subclass_has_to_define() -> None:
    class Nothing(pp.Pooling):
        pass

    class Unfinished(pp.Pooling):
        stats = (pp.Mean(),)

    with pytest.raises(NotImplementedError, match="Nothing has to define stats and finish, weigh, or reduce"):
        Nothing()(pp.Nodes(normal(3, 2)))
    with pytest.raises(NotImplementedError, match="Unfinished declares stats and has to define finish"):
        Unfinished()(pp.Nodes(normal(3, 2)))


@pytest.mark.parametrize("name", [name for name in FIRST if not pp.card(name).has_weights])
def test_operators_without_weights_say_so(name: str) -> None:
    with pytest.raises(NotImplementedError, match=f"{name} is not a weighted sum of its elements"):
        pp.build(name, channels=2).double().weights(pp.Nodes(normal(3, 2)))
