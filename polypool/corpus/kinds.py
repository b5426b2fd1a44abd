"""Adapters by name, or as `module:Class`."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from polypool._errors import first_line
from polypool._named import NotThere, from_here, split
from polypool.corpus.adapter import Adapter
from polypool.corpus.errors import CorpusError

KINDS = {
    "text": "polypool.corpus.texts:TextAdapter",
    "images": "polypool.corpus.images:ImageAdapter",
    "graphs": "polypool.corpus.graphs:GraphAdapter",
}


def adapter_class(kind: str) -> type[Adapter]:
    """The class of a kind.

    Raises:
        CorpusError: There is no such kind, the module does not import, or the class is no `Adapter`.
    """
    if kind not in KINDS and ":" not in kind:
        raise CorpusError(f"kind must be one of {', '.join(KINDS)}, or module:Class; found {kind!r}.")
    try:
        module, name = split(KINDS.get(kind, kind), "kind is written module:Class")
        home = importlib.import_module(module) if kind in KINDS else from_here(module)
    except NotThere as error:
        raise CorpusError(f"{error}.") from error
    found = getattr(home, name, None)
    if not (inspect.isclass(found) and issubclass(found, Adapter)):
        raise CorpusError(f"{module} has no adapter {name!r}; derive the class from polypool.corpus.Adapter.")
    return found


def make_adapter(kind: str, settings: Mapping[str, Any]) -> Adapter:
    """An adapter with settings; the model is not loaded.

    Raises:
        CorpusError: There is no such kind or setting, or a setting is out of range.
    """
    found = adapter_class(kind)
    known = [
        name
        for name, parameter in inspect.signature(found).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise CorpusError(f"kind {kind} has no setting {unknown[0]!r}; it has {', '.join(known)}.")
    try:
        return found(**settings)
    except (TypeError, ValueError) as error:
        raise CorpusError(f"{first_line(error)}.") from error
