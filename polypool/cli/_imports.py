"""`module:Class` from the folder where the user stands."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from polypool._named import NotThere, from_here, split
from polypool.cli._errors import UserError

if TYPE_CHECKING:
    from polypool import Pooling


def import_class(text: str) -> type[Pooling] | Pooling:
    """Import what `module:Class` names; the current folder is searched first.

    Raises:
        UserError: the module does not import, has no such name, or the name is no pooling.
    """
    import polypool as pp

    module, name = import_home(text, "a class is written module:Class")
    found = getattr(module, name, None)
    if found is None:
        there = [key for key, value in vars(module).items() if _is_pooling(value)]
        raise UserError(f"{module.__name__} has no {name!r}. Poolings in it: {', '.join(there) or 'none'}.")
    if not (_is_pooling(found) or isinstance(found, pp.Pooling)):
        raise UserError(f"{text} is not a pooling; derive the class from polypool.Pooling.")
    return found


def import_home(text: str, said: str) -> tuple[ModuleType, str]:
    """The module of `module:name`, and the name.

    Args:
        text: What the user wrote.
        said: How it must be written, for the message.

    Raises:
        UserError: It is written in another way, or the module does not import.
    """
    try:
        module, name = split(text, said)
        return from_here(module), name
    except NotThere as error:
        raise UserError(f"{error}.") from error


def _is_pooling(value: object) -> bool:
    import polypool as pp

    return isinstance(value, type) and issubclass(value, pp.Pooling) and value is not pp.Pooling
