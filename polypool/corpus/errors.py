"""What ends a job: what the user has to change, and what happened on the way."""

from __future__ import annotations


class CorpusError(ValueError):
    """What the user has to change, in one line; nothing was written over. Exit code 2 of the command."""


class StoppedError(RuntimeError):
    """Why a job stopped before its end, in one line; the same call continues it. Exit code 3 of the command."""
