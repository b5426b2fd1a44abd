"""`module:Class` from the folder where the user stands."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from polypool import Pooling


def import_class(text: str) -> type[Pooling] | Pooling:
    """Import what `module:Class` names; the current folder is searched first.

    Raises:
        UserError: the module does not import, has no such name, or the name is no pooling.
    """
    import polypool as pp

    module_name, _, name = text.partition(":")
    if not module_name or not name:
        raise UserError(f"a class is written module:Class; found {text!r}.")
    module = _import_module(module_name)
    found = getattr(module, name, None)
    if found is None:
        there = [key for key, value in vars(module).items() if _is_pooling(value)]
        raise UserError(f"{module_name} has no {name!r}. Poolings in it: {', '.join(there) or 'none'}.")
    if not (_is_pooling(found) or isinstance(found, pp.Pooling)):
        raise UserError(f"{text} is not a pooling; derive the class from polypool.Pooling.")
    return found


def _import_module(name: str) -> Any:
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:  # the module is the user's, and may raise anything
        raise UserError(f"cannot import {name}: {type(error).__name__}: {error}") from error


def _is_pooling(value: object) -> bool:
    import polypool as pp

    return isinstance(value, type) and issubclass(value, pp.Pooling) and value is not pp.Pooling
