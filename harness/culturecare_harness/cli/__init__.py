"""The command line. It reads arguments, calls one function and prints; everything heavy is imported where it is used."""

from __future__ import annotations

import sys

import typer
from typer.exceptions import TyperException

# isort: off
# In the order in which `--help` lists their commands; importing a module hangs them into the app.
from culturecare_harness.cli import run, annotate, report, judge, human, adapt, board, catalogue, data  # noqa: F401
from culturecare_harness.cli._app import app
# isort: on

__all__ = ["app", "main"]


_INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def _one_line(error: TyperException) -> str:
    describe = getattr(error, "format_message", error.__str__)
    return " ".join(str(describe()).split())


def main() -> None:
    """Runs the command line; what a user can mend is said in one line, with exit code 2."""
    from culturecare import CultureCareError

    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:
            typer.echo("Stopped. The same command goes on from here.", err=True)
        sys.exit(code)
    except typer.Abort:
        sys.exit(1)
    except TyperException as error:
        # Click would print a usage, a hint and a panel; one line says it.
        context = getattr(error, "ctx", None)
        if message := _one_line(error):  # Empty where a command was called without arguments and has shown its help.
            end = "" if message.endswith("?") else "."
            typer.echo(f"error: {message.rstrip('.')}{end} See {context.command_path if context else 'culturecare'} --help.", err=True)
        sys.exit(2)
    except CultureCareError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        typer.echo(f"error: {error.filename or 'the operating system'}: {error.strerror or error}", err=True)
        sys.exit(2)
