"""What a user names as `module:name`: a class, a callable, a model."""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType

from polypool._errors import first_line


class NotThere(ValueError):
    """Why there is nothing of that name, in one line without a full stop."""


def split(text: str, said: str) -> tuple[str, str]:
    """The two halves of `module:name`.

    Args:
        text: What the user wrote.
        said: How it must be written, for the message: `"a class is written module:Class"`.

    Raises:
        NotThere: It is written in another way.
    """
    module, _, name = text.partition(":")
    if not module or not name:
        raise NotThere(f"{said}; found {text!r}")
    return module, name


def from_here(module: str) -> ModuleType:
    """The module of a name; the folder where the user stands is searched first.

    Raises:
        NotThere: It does not import, whatever it raises: it is the user's.
    """
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(module)
    except Exception as error:
        raise NotThere(f"cannot import {module}: {type(error).__name__}: {first_line(error)}") from error
