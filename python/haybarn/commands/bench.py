"""`haybarn bench`: haybarn and its peers side by side, in one process and one run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import haybarn
from haybarn import _core
from haybarn.output import CommandError, UsageError, progress, table, write_json

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterator

NAME = "bench"
HELP = "measure haybarn and other allocators side by side"

EXECUTABLE = "haybarn-bench"
DEFAULT_ROUNDS = 61
CHILD = "import sys; from haybarn import _core; print(_core._bench_child(*sys.argv[1:]))"
STARTED = re.compile(r"\[(\d+)/(\d+)\] (\S+)$")
WITHOUT_PEERS = (
    f"bench: no {EXECUTABLE} is built here (`nox -s bench` in a checkout builds it): "
    "haybarn is compared with the system's malloc alone, through the wheel\n"
)

Report = dict[str, Any]


class Engine(Protocol):
    """Something that can run rows."""

    def names(self) -> tuple[list[tuple[str, str]], list[str]]:
        """Rows with a line about each, and targets."""

    def run(self, rows: list[str], targets: list[str], rounds: int, started: Callable[[int], object]) -> Report:
        """Runs rows; `started` is told the number of each row as it starts."""


class Wheel:
    """The engine in the extension module: no peers but the system's malloc."""

    def names(self) -> tuple[list[tuple[str, str]], list[str]]:
        """As Engine.names."""
        return _core._bench_names()

    def run(self, rows: list[str], targets: list[str], rounds: int, started: Callable[[int], object]) -> Report:
        """As Engine.run."""
        launcher = [sys.executable, "-c", CHILD]
        report: Report = json.loads(
            _core._bench_run(rows, targets, rounds, launcher, lambda _row, at, _of: started(at))
        )
        return report | {"engine": "wheel"}


class Executable:
    """The executable of rust/lab, which holds the peers."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> tuple[list[tuple[str, str]], list[str]]:
        """As Engine.names."""
        listed = subprocess.run([self.path, "--list"], capture_output=True, text=True, check=False)
        if listed.returncode != 0:
            raise CommandError(f"{self.path} --list: {listed.stderr.strip()}")
        *rows, targets = listed.stdout.splitlines()
        pairs = [line.split(maxsplit=1) for line in rows]
        return [(name, about) for name, about in pairs], targets.removeprefix("targets: ").split(", ")

    def run(self, rows: list[str], targets: list[str], rounds: int, started: Callable[[int], object]) -> Report:
        """As Engine.run."""
        with tempfile.TemporaryDirectory(prefix="haybarn-bench-") as folder:
            result = Path(folder) / "report.json"
            command = [str(self.path), "--rounds", str(rounds), "--json", str(result)]
            command += [part for row in rows for part in ("--row", row)]
            command += [part for target in targets for part in ("--target", target)]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
                said = list(follow(process.stderr or (), started))
            if process.returncode != 0:
                raise CommandError(f"{self.path} ended with {process.returncode}: {' '.join(said)}")
            report: Report = json.loads(result.read_text(encoding="utf-8"))
        return report | {"engine": str(self.path)}


def follow(lines: Any, started: Callable[[int], object]) -> Iterator[str]:  # noqa: ANN401
    """Tells `started` of each row that a line announces, and yields the other lines."""
    for line in lines:
        announced = STARTED.match(line.strip())
        if announced:
            started(int(announced[1]) - 1)
        else:
            yield line.strip()


def built(environ: dict[str, str], folder: Path) -> Path | None:
    """The executable where cargo puts it for the checkout that `folder` lies in, if it is there."""
    for root in (folder, *folder.parents):
        if (root / "rust" / "lab" / "Cargo.toml").is_file():
            target = root / environ.get("CARGO_TARGET_DIR", "target")
            path = target / "release" / EXECUTABLE
            return path if os.access(path, os.X_OK) else None
    return None


def engine() -> Engine:
    """The executable where it is built, else the wheel's own engine."""
    path = built(dict(os.environ), Path.cwd())
    return Wheel() if path is None else Executable(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--row", action="append", default=[], metavar="NAME", help="a row to run (repeatable); all")
    parser.add_argument("--target", action="append", default=[], metavar="NAME", help="an allocator (repeatable); all")
    parser.add_argument(
        "--rounds",
        type=int,
        default=DEFAULT_ROUNDS,
        metavar="N",
        help="rounds of each allocator in each row (%(default)s)",
    )
    parser.add_argument("--list", action="store_true", help="list rows and allocators, and run nothing")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON (- is standard output)")


def run(args: argparse.Namespace) -> int:
    """Runs the rows and shows the table, or the JSON in its place."""
    haybarn.info()  # a backend that is forced but not to be had is an error before anything runs
    chosen = engine()
    rows, targets = chosen.names()
    if args.list:
        table("rows", ["row", "what it does"], rows)
        table("allocators", ["target"], [[target] for target in targets])
        return 0
    known("row", args.row, [name for name, _ in rows])
    known("target", args.target, targets)
    if args.rounds < 1:
        raise UsageError("--rounds: at least 1")
    if isinstance(chosen, Wheel):
        sys.stderr.write(WITHOUT_PEERS)
    with bar(len(set(args.row)) or len(rows)) as started:
        report = chosen.run(args.row, args.target, args.rounds, started)
    if args.json:
        write_json(args.json, report)
    if args.json != "-":
        show(report)
    return 0


def known(what: str, asked: list[str], there: list[str]) -> None:
    """Raises UsageError for a name that does not exist."""
    for name in asked:
        if name not in there:
            raise UsageError(f"unknown {what} {name!r}; there are: {', '.join(there)}")


@contextmanager
def bar(rows: int) -> Iterator[Callable[[int], object]]:
    """A progress bar over rows."""
    with progress(rows, "bench") as shown:
        yield shown.set
        shown.set(rows)


def show(report: Report) -> None:
    """Prints one table per row of the report, and what has to be said beside the figures."""
    lines: list[dict[str, Any]] = report["rows"]
    for row in dict.fromkeys(line["row"] for line in lines):
        own = [line for line in lines if line["row"] == row]
        unit = own[0]["unit"]
        table(
            f"{row} ({unit}; best peer: {own[0]['best_peer'] or 'none'})",
            ["target", unit, "10 %", "90 %", "ratio to best peer"],
            [[line["target"], line["value"], *line["spread"], line["ratio_to_best_peer"]] for line in own],
        )
        sys.stdout.write("\n")
    for note in report["notes"]:
        for target, why in note["missing"].items():
            sys.stdout.write(f"{note['row']}: without {target}: {why}\n")
        for path, counts in note.get("instructions", {}).items():
            counted = ", ".join(f"{count} {what}" for what, count in counts.items())
            sys.stdout.write(f"{note['row']}: {path}: {counted}\n")
        if "uncounted" in note:
            sys.stdout.write(f"{note['row']}: instructions not counted: {note['uncounted']}\n")
        if note["disturbed"]:
            sys.stdout.write(f"{note['row']}: {note['disturbed']} rounds were disturbed by other programs\n")
