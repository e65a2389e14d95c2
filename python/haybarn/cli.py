"""The command line: finds the command, turns errors into one line and an exit code.

Exit codes: 0 done, 1 the command found or had a failure, 2 called wrongly or asked for what is not to be had here,
130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, NoReturn, Protocol, cast

import haybarn
from haybarn.commands import COMMANDS
from haybarn.output import CommandError, UsageError, check_json

if TYPE_CHECKING:
    from collections.abc import Sequence


class Command(Protocol):
    """What a module of haybarn.commands has."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declares the command's arguments."""

    def run(self, args: argparse.Namespace) -> int:
        """Does the command's work and returns the exit code."""


class Parser(argparse.ArgumentParser):
    """argparse, but an error is one line and an exception."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError with a pointer to the help."""
        raise UsageError(f"{message} (see: {self.prog} --help)")


def load(name: str) -> Command:
    """Imports a command's module."""
    return cast("Command", importlib.import_module(f"haybarn.commands.{name}"))


def make_parser(names: Sequence[str] = COMMANDS) -> Parser:
    """The parser of the commands in `names`; only their modules are imported."""
    parser = Parser(
        prog="haybarn",
        description="Object caches with per-CPU sheaves over lock-free slabs, and a lab to watch them work.",
    )
    parser.add_argument("-V", "--version", action="version", version=f"haybarn {version('haybarn')}")
    choices = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name in names:
        command = load(name)
        own = choices.add_parser(command.NAME, help=command.HELP, description=command.HELP)
        command.add_arguments(own)
        own.set_defaults(run=command.run)
    return parser


def run(arguments: Sequence[str]) -> int:
    """Parses and runs one command line.

    Raises:
        CommandError: the command failed or was called wrongly.
    """
    first = arguments[0] if arguments else ""
    parser = make_parser((first,) if first in COMMANDS else COMMANDS)
    args = parser.parse_args(arguments)
    check_json(getattr(args, "json", None))
    return int(args.run(args))


def failed(text: str, code: int) -> int:
    """Says on one line of standard error what went wrong, and hands the exit code back."""
    sys.stderr.write(f"haybarn: {' '.join(text.split())}\n")
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code; errors go to standard error as one line."""
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except CommandError as error:
        return failed(str(error), error.exit_code)
    except (haybarn.UnavailableError, haybarn.BadArgumentError) as error:
        return failed(str(error), UsageError.exit_code)
    except haybarn.HaybarnError as error:
        return failed(str(error), CommandError.exit_code)
    except KeyboardInterrupt:
        return failed("interrupted", 130)
    except BrokenPipeError:
        # The reader has seen enough (`haybarn ... | head`). What is still buffered must not fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code
