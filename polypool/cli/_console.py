"""Where the subcommands print."""

import os
import sys

from rich.console import Console

PIPED_WIDTH = 120


def console() -> Console:
    """Standard output; wide enough to keep a table's rows whole where it goes into a file or a pipe."""
    fixed = None if sys.stdout.isatty() or "COLUMNS" in os.environ else PIPED_WIDTH
    return Console(width=fixed, highlight=False)
