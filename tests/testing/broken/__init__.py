"""Operators that break the contract, one clause each: `BROKEN` maps a check to those that it has to catch."""

from tests.testing.broken import cells, explained, modules, numerics, unread
from tests.testing.broken.catalogue import BROKEN

__all__ = ["BROKEN", "cells", "explained", "modules", "numerics", "unread"]
