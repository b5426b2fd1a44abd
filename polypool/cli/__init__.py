"""The command `polypool`.

Each file of this folder that has a function `command` is one subcommand, by the file's name without a trailing
underscore; adding a file is all there is to adding one. What the user has to change is raised as `UserError`. The files
import what is heavy inside their functions, so that `polypool --help` stays quick.
"""

from polypool.cli._app import app, main

__all__ = ["app", "main"]
