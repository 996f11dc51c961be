"""The command line. `./kizu` installs and then runs it; `app.cli.main` is the whole of it."""

from app.cli.commands import main

__all__ = ["main"]
