"""The application: finds the subcommands, and turns a user's mistake into one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from polypool.cli._errors import UserError

app = typer.Typer(
    name="polypool",
    help="One pooling interface over images, token sequences and graphs.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

# typer's own complaints (an unknown option, a missing argument); it gives their class no public name
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def _show_version(wanted: bool) -> None:
    if wanted:
        from polypool import __version__

        typer.echo(f"polypool {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _add_commands() -> None:
    package = __package__ or "polypool.cli"
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if not found.name.startswith("_"):
            module = importlib.import_module(f"{package}.{found.name}")
            if hasattr(module, "group"):
                app.add_typer(module.group, name=found.name)
            if hasattr(module, "command"):
                app.command(found.name.rstrip("_").replace("_", "-"))(module.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: the words after `polypool`; those of this process where left out.

    Returns:
        The exit code: 0; 1 where a check failed; 2 where the user asked for something that does not exist.
    """
    if not app.registered_commands:
        _add_commands()
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = app(args=words, prog_name="polypool", standalone_mode=False)
    except UsageError as error:
        return _complain(error.format_message() if hasattr(error, "format_message") else str(error))
    except UserError as error:
        return _complain(str(error))
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:  # `polypool list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code if isinstance(code, int) else 0


def _complain(message: str) -> int:
    sys.stderr.write(f"polypool: {' '.join(message.split())}\n")
    return 2
