"""What commands show: tables, progress, JSON, and errors that carry their exit code.

rich is used where it is installed and a terminal is there; without it everything is plain text of the same content.
Progress goes to standard error and only to a terminal, so that standard output stays what the command printed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import Progress as Bars
    from rich.progress import TaskID


class CommandError(Exception):
    """A command failed: its text goes to standard error on one line, `exit_code` to the shell."""

    exit_code = 1


class UsageError(CommandError):
    """Called in a way that cannot work: bad arguments, an unreadable file, a backend that is not to be had."""

    exit_code = 2


class Progress(Protocol):
    """How far a command is."""

    def update(self, n: float = 1) -> None:
        """Goes on by `n`."""

    def set(self, n: float) -> None:
        """Stands at `n`."""


def has_rich() -> bool:
    """Whether rich can be imported and is wanted (NO_COLOR unset)."""
    if os.environ.get("NO_COLOR"):
        return False
    try:
        import rich  # noqa: F401
    except ImportError:
        return False
    return True


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.2f}"
    return str(value)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints a table to standard output. Numbers go to the right; None shows as "-"."""
    right = [
        any(isinstance(row[i], int | float) for row in rows)
        and all(row[i] is None or (isinstance(row[i], int | float) and not isinstance(row[i], bool)) for row in rows)
        for i in range(len(columns))
    ]
    texts = [[cell(value) for value in row] for row in rows]
    if sys.stdout.isatty() and has_rich():
        _rich_table(title, columns, texts, right)
    else:
        _plain_table(title, columns, texts, right)


def _rich_table(title: str, columns: Sequence[str], texts: list[list[str]], right: list[bool]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=title, title_justify="left")
    for name, to_right in zip(columns, right, strict=True):
        shown.add_column(name, justify="right" if to_right else "left")
    for row in texts:
        shown.add_row(*(Text(text) for text in row))
    Console().print(shown)


def _plain_table(title: str, columns: Sequence[str], texts: list[list[str]], right: list[bool]) -> None:
    widths = [max(len(row[i]) for row in [list(columns), *texts]) for i in range(len(columns))]

    def line(row: Sequence[str]) -> str:
        placed = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(row, widths, right, strict=True)
        ]
        return "  ".join(placed).rstrip()

    lines = [title, line(columns), "  ".join("-" * width for width in widths), *(line(row) for row in texts)]
    sys.stdout.write("\n".join(lines) + "\n")


class _Silent:
    def update(self, n: float = 1) -> None: ...

    def set(self, n: float) -> None: ...


class _Plain:
    """One line that rewrites itself, at most ten times a second."""

    def __init__(self, stream: TextIO, total: float, label: str) -> None:
        self._stream, self._total, self._label = stream, total, label
        self._at = 0.0
        self._next = 0.0

    def update(self, n: float = 1) -> None:
        self.set(self._at + n)

    def set(self, n: float) -> None:
        self._at = n
        now = time.monotonic()
        if now >= self._next:
            self._next = now + 0.1
            self.show()

    def show(self) -> None:
        part = min(1.0, self._at / self._total) if self._total > 0 else 1.0
        filled = round(30 * part)
        bar = "#" * filled + "." * (30 - filled)
        self._stream.write(f"\r{self._label} [{bar}] {part:4.0%}")
        self._stream.flush()


class _Rich:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def update(self, n: float = 1) -> None:
        self._bars.update(self._task, advance=n)

    def set(self, n: float) -> None:
        self._bars.update(self._task, completed=n)


@contextmanager
def progress(total: float, label: str) -> Iterator[Progress]:
    """A progress bar up to `total` (any unit) on standard error; nothing where that is no terminal."""
    stream = sys.stderr
    if not stream.isatty():
        yield _Silent()
    elif has_rich():
        from rich.console import Console
        from rich.progress import Progress as Bars

        with Bars(console=Console(file=stream), transient=True) as bars:
            yield _Rich(bars, bars.add_task(label, total=total))
    else:
        plain = _Plain(stream, total, label)
        try:
            yield plain
        finally:
            plain.show()
            stream.write("\n")


def check_json(destination: str | None) -> None:
    """Finds out before a long run whether `write_json` will be able to write.

    Raises:
        UsageError: the file cannot be written.
    """
    if destination in (None, "-"):
        return
    path = Path(destination)
    place = path if path.exists() else path.absolute().parent
    if path.is_dir() or not os.access(place, os.W_OK):
        why = "it is a folder" if path.is_dir() else "its folder is not there or may not be written to"
        raise UsageError(f"cannot write {destination}: {why}")


def write_json(destination: str, value: object) -> None:
    """Writes `value` as JSON to a file, which it overwrites, or to standard output for "-".

    Raises:
        UsageError: the file cannot be written.
    """
    text = json.dumps(value, indent=2) + "\n"
    if destination == "-":
        sys.stdout.write(text)
        return
    try:
        Path(destination).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {destination}: {error.strerror}") from error
