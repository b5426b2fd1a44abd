"""How our modules are taken for those of sentence-transformers, which polypool neither needs nor imports."""

from __future__ import annotations

import sys

_MODULES = "sentence_transformers.base.modules"
_POOLINGS = "sentence_transformers.sentence_transformer.modules"


def adopt_module(cls: type) -> None:
    """Makes `isinstance(ours, Module)` true, where sentence-transformers is imported.

    It asks so to call `on_model_ready`, and to load the best checkpoint of a training without `trust_remote_code`.
    """
    _adopt(cls, _MODULES, "Module")


def adopt_pooling(cls: type) -> None:
    """Makes `isinstance(ours, Pooling)` true too, which `set_pooling_include_prompt` asks."""
    _adopt(cls, _POOLINGS, "Pooling")


def _adopt(cls: type, module: str, name: str) -> None:
    base = getattr(sys.modules.get(module), name, None)
    register = getattr(base, "register", None)  # their base class is abstract since version 5
    if register is not None and not issubclass(cls, base):  # type: ignore[arg-type]
        register(cls)
