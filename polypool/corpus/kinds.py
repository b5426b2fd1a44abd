"""Adapters by name, or as `module:Class`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Mapping
from typing import Any

from polypool.corpus.adapter import Adapter
from polypool.corpus.errors import CorpusError, first_line

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
    module_name, _, name = KINDS.get(kind, kind).partition(":")
    if not module_name or not name:
        raise CorpusError(f"kind is written module:Class; found {kind!r}.")
    here = os.getcwd()
    if kind not in KINDS and here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise CorpusError(
            f"cannot import {module_name}: {type(error).__name__}: {first_line(error)}."
        ) from error
    found = getattr(module, name, None)
    if not (inspect.isclass(found) and issubclass(found, Adapter)):
        raise CorpusError(
            f"{module_name} has no adapter {name!r}; derive the class from polypool.corpus.Adapter."
        )
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
