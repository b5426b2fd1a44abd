"""Classes of one kind by name: what the registries of poolings, of blocks and of selects have in common."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from torch import nn

C = TypeVar("C", bound=nn.Module)


class Catalogue(Generic[C]):
    """Classes by name, and other names that stand for one of them with some of its settings.

    Args:
        kind: What messages call one: `"pooling"`.
        base: What all are derived from.
    """

    def __init__(self, kind: str, base: type[C]) -> None:
        self.kind, self.base = kind, base
        self._classes: dict[str, type[C]] = {}
        self._aliases: dict[str, tuple[str, dict[str, Any]]] = {}

    def require_plain(self, names: Iterable[str]) -> None:
        """Refuses names that nobody could type twice in the same way.

        Raises:
            ValueError: One is not lower case letters, digits and underscores.
        """
        for name in names:
            if not name.isascii() or not name.isidentifier() or name != name.lower():
                raise ValueError(
                    f"a name must be lower case letters, digits and underscores; found {name!r}."
                )

    def require_free(self, cls: type[C], names: Iterable[str]) -> None:
        """Refuses what is no class of this kind, and names that another class has.

        Raises:
            TypeError: It is not derived from the base.
            ValueError: A name is taken.
        """
        given: object = cls
        if not (inspect.isclass(given) and issubclass(given, self.base)):
            raise TypeError(f"register decorates a class derived from {self.base.__name__}; found {cls!r}.")
        for name in names:
            owner = self._classes.get(self._aliases.get(name, (name, {}))[0])
            # The same class again is a module that was reloaded, or a cell of a notebook run twice.
            if owner is not None and (owner.__module__, owner.__qualname__) != (
                cls.__module__,
                cls.__qualname__,
            ):
                raise ValueError(f"the name {name!r} is taken by {owner.__module__}.{owner.__qualname__}.")

    def add(self, name: str, cls: type[C], aliases: Mapping[str, Mapping[str, Any]]) -> None:
        """Enters a class under a name and under others, each with the settings that it stands for."""
        self._classes[name] = cls
        self._aliases.update({alias: (name, dict(preset)) for alias, preset in aliases.items()})

    @property
    def classes(self) -> dict[str, type[C]]:
        """The classes by name, sorted, without aliases."""
        return dict(sorted(self._classes.items()))

    @property
    def aliases(self) -> dict[str, str]:
        """Other names, each with the name that it stands for."""
        return {alias: name for alias, (name, _) in sorted(self._aliases.items())}

    def lookup(self, name: str) -> tuple[type[C], dict[str, Any]]:
        """The class of a name and the settings that an alias brings.

        Raises:
            TypeError: The name is no string.
            ValueError: The name is unknown.
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a str; found {type(name).__name__}.")
        target, preset = self._aliases.get(name, (name, {}))
        if target not in self._classes:
            close = get_close_matches(name, [*self._classes, *self._aliases], n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"no {self.kind} is named {name!r}.{hint} There are: {', '.join(self.classes)}.")
        return self._classes[target], dict(preset)

    def settings_of(self, cls: type[C]) -> dict[str, inspect.Parameter]:
        """The settings of a class, without those that it only passes on (`*args`, `**kwargs` of `nn.Module`)."""
        if cls.__init__ is self.base.__init__:
            return {}
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        return {key: p for key, p in inspect.signature(cls).parameters.items() if p.kind in named}

    def make(self, name: str, cls: type[C], settings: Mapping[str, Any]) -> C:
        """Builds a class; `channels` that it does not take are left out.

        Raises:
            TypeError: A setting is unknown or missing.
        """
        accepted = self.settings_of(cls)
        given = {key: value for key, value in settings.items() if key != "channels" or key in accepted}
        unknown = sorted(set(given) - set(accepted))
        if unknown:
            known = ", ".join(accepted) or "none"
            raise TypeError(
                f"{name} has no setting {', '.join(map(repr, unknown))}; its settings are: {known}."
            )
        missing = [
            key for key, p in accepted.items() if p.default is inspect.Parameter.empty and key not in given
        ]
        if missing:
            raise TypeError(f"{name} needs {', '.join(missing)}: build({name!r}, {missing[0]}=...).")
        return cls(**given)
