"""What a subcommand raises when the user, and not the program, has to change something."""


class UserError(Exception):
    """Shown as one line on standard error, with exit code 2."""
