"""`haybarn info`: which backend runs here and why, and what the machine has."""

from __future__ import annotations

import os
import platform
import sys
import sysconfig
from typing import TYPE_CHECKING, Any

import haybarn
from haybarn import output

if TYPE_CHECKING:
    import argparse

NAME = "info"
HELP = "show the backend and why it was chosen, and what this machine offers"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares --json."""
    parser.add_argument("--json", metavar="FILE", help="write the same as JSON to FILE (- for standard output)")


def libc() -> str:
    """Name and version of the C library."""
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or "unknown"
    except (ValueError, OSError):
        return "not glibc"


def gather() -> dict[str, Any]:
    """Everything that a report of a problem should have."""
    gil = getattr(sys, "_is_gil_enabled", lambda: True)()
    return dict(haybarn.info()) | {
        "kernel": platform.release(),
        "libc": libc(),
        "machine": platform.machine(),
        "python": platform.python_version() + (" free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""),
        "gil": bool(gil),
    }


def shown(name: str, value: object) -> object:
    """A fact as the table shows it: bytes in the largest unit that keeps them whole, everything else as it is."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, list):
        return "\n".join(value) or "none"
    if name.endswith("_bytes") and isinstance(value, int) and value:
        power = min((value & -value).bit_length() - 1, 30) // 10
        return f"{value >> 10 * power} {('bytes', 'KiB', 'MiB', 'GiB')[power]}"
    return str(value)  # no thousands separators: these are identities and settings, not amounts to compare


def run(args: argparse.Namespace) -> int:
    """Prints the table or the JSON."""
    facts = gather()
    if args.json:
        output.write_json(args.json, facts)
    if args.json != "-":
        rows = [(name.replace("_", " "), shown(name, value)) for name, value in facts.items()]
        output.table("haybarn", ("what", "here"), rows)
    return 0
