"""Poolings by name."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from polypool.card import PropertyCard
from polypool.catalogue import Catalogue
from polypool.layouts import KINDS, Layout
from polypool.pooling import Pooling, derived

_poolings = Catalogue("pooling", Pooling)

P = TypeVar("P", bound=type[Pooling])


def register(
    name: str,
    *,
    source: str = "",
    homogeneity: int | None = None,
    permutation_invariant: bool = True,
    learnable: bool = False,
    constant_preserving: bool = False,
    takes_weights: bool = True,
    layouts: Iterable[str] = KINDS,
    aliases: Iterable[str] | Mapping[str, Mapping[str, Any]] = (),
) -> Callable[[P], P]:
    """Gives a pooling class a name and its property card.

    Args:
        name: The name for `build`: lower case, digits and underscores.
        source: Authors, year and equation.
        homogeneity: The degree k of `pool(a x) = a^k pool(x)` for a > 0.
        permutation_invariant: Whether the order inside a cell does not matter.
        learnable: Whether it has parameters.
        constant_preserving: Whether a cell of equal elements gives that element.
        takes_weights: Whether it can pool layouts with weights.
        layouts: The kinds of layout that it can pool.
        aliases: Other names; a mapping gives each alias its settings.

    Raises:
        TypeError: What is decorated is not a `Pooling` class.
        ValueError: The name is taken by another class, is not a plain name, or a layout is unknown.

    Example:
        >>> import polypool as pp
        >>> @pp.register("midrange", homogeneity=1, constant_preserving=True)
        ... class Midrange(pp.Pooling):
        ...     stats = (pp.Max(), pp.Min())
        ...
        ...     def finish(self, s):
        ...         return (s[pp.Max()] + s[pp.Min()]) / 2
        >>> pp.card("midrange").decomposable
        True
    """
    if isinstance(aliases, str):
        raise TypeError(f"aliases must be a sequence of names or a mapping; found the string {aliases!r}.")
    others = dict(aliases) if isinstance(aliases, Mapping) else {alias: {} for alias in aliases}
    own = (name, *others)
    _poolings.require_plain(own)
    if "concat" in own:
        raise ValueError("the name 'concat' is taken: build joins poolings under it.")
    if isinstance(layouts, str):
        raise TypeError(f"layouts must be a sequence of names; found the string {layouts!r}.")
    kinds = tuple(layouts)
    for kind in kinds:
        _require_kind(kind)

    def decorate(cls: P) -> P:
        _poolings.require_free(cls, own)
        cls.card = PropertyCard(
            name,
            layouts=kinds,
            permutation_invariant=permutation_invariant,
            homogeneity=homogeneity,
            learnable=learnable,
            constant_preserving=constant_preserving,
            takes_weights=takes_weights,
            source=source,
            **derived(cls),
        )
        _poolings.add(name, cls, others)
        return cls

    return decorate


def build(name: str, **settings: Any) -> Pooling:
    """Builds a pooling by name.

    Args:
        name: A registered name, an alias, or several joined by `+`, which concatenates their channels and measures
            their statistics in one pass.
        **settings: What the operator's class takes. `channels` is always accepted; operators with parameters need it.

    Raises:
        TypeError: A setting is unknown or missing.
        ValueError: The name is unknown, or a setting has a wrong value.

    Example:
        >>> import torch, polypool as pp
        >>> pp.build("mean+max")(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 6])
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a str; found {type(name).__name__}.")
    if "+" in name:
        unknown = sorted(set(settings) - {"channels"})
        if unknown:
            raise TypeError(
                f"{name!r} takes no settings but channels; found {', '.join(unknown)}. "
                f'Use build("concat", pools=[...]) with poolings that have them.'
            )
        settings = {"pools": [build(part.strip(), **settings) for part in name.split("+")]}
        name = "concat"
    cls, preset = lookup(name)
    return _poolings.make(name, cls, preset | settings)


def names(layout: Layout | type[Layout] | str | None = None) -> tuple[str, ...]:
    """The registered names, sorted; with a layout only those that can pool it.

    Args:
        layout: A layout (one with weights leaves out the order statistics), its class, or the name of its kind.

    Example:
        >>> import torch, polypool as pp
        >>> "median" in pp.names("tokens")
        True
        >>> "median" in pp.names(pp.Tokens(torch.ones(1, 2, 3), weight=torch.ones(1, 2)))
        False
    """
    if layout is None:
        return tuple(_poolings.classes)
    given: object = layout
    if not isinstance(given, str | Layout) and not (inspect.isclass(given) and issubclass(given, Layout)):
        raise TypeError(f"layout must be a layout, its class or a name; found {type(layout).__name__}.")
    kind = layout if isinstance(layout, str) else layout.kind
    _require_kind(kind)
    weighted = isinstance(layout, Layout) and layout.weighted
    return tuple(name for name, cls in _poolings.classes.items() if cls.card.refusal(kind, weighted) is None)


def card(name: str) -> PropertyCard:
    """The property card of a registered name; of a `+` string when its parts need no settings."""
    return build(name).card if "+" in name else lookup(name)[0].card


def aliases() -> dict[str, str]:
    """Other names, each with the name that it stands for."""
    return _poolings.aliases


def lookup(name: str) -> tuple[type[Pooling], dict[str, Any]]:
    """The class of a name and the settings that an alias brings.

    Raises:
        ValueError: The name is unknown.
    """
    if name == "concat":
        from polypool.poolings.concat import Concat

        return Concat, {}
    return _poolings.lookup(name)


def settings_of(cls: type[Pooling]) -> dict[str, inspect.Parameter]:
    """The settings of a class, without those that it only passes on (`*args`, `**kwargs` of `nn.Module`)."""
    return _poolings.settings_of(cls)


def _require_kind(kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"no layout is named {kind!r}. There are: {', '.join(KINDS)}.")
