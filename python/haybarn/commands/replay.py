"""`haybarn replay`: a recorded kernel allocation stream served by haybarn or by the system's malloc, checked."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from haybarn import HaybarnError, UnavailableError, _core
from haybarn.output import CommandError, UsageError, table, write_json

if TYPE_CHECKING:
    import argparse

NAME = "replay"
HELP = "serve a recorded kernel allocation trace and check every object"

DESIGNS = ("sheaves", "system")
BACKENDS = ("rseq", "locked", "virtual")
LEVELS = ("sheaf", "barn", "partial", "new_slab", "page_run")

Report = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="a trace: ftrace text or perf script text, gzip or plain"
    )
    parser.add_argument("--design", choices=DESIGNS, default="sheaves", help="what serves the trace (%(default)s)")
    parser.add_argument(
        "--cpus", default="recorded", metavar="recorded|N", help="threads as recorded, or the recorded CPU modulo N"
    )
    parser.add_argument("--backend", choices=BACKENDS, help="virtual: one thread, in recorded order, repeatable")
    parser.add_argument("--nodes", type=int, metavar="N", help="nodes of the virtual CPUs (1); only with virtual")
    parser.add_argument("--caches", metavar="SYSFS.json", help="shapes of the caches, from a copy of /sys/kernel/slab")
    parser.add_argument("--strict", action="store_true", help="stop at the first malformed line, with exit code 2")
    parser.add_argument("--json", metavar="FILE", help="write the report as JSON (- is standard output)")


def run(args: argparse.Namespace) -> int:
    """Replays the files and shows what came out; 1 if an object was not as it must be."""
    if args.nodes is not None and not 1 <= args.nodes <= 64:
        raise UsageError("--nodes: 1 to 64")
    report, malformed, seconds = replay(args)
    for line in malformed:
        sys.stderr.write(f"{line}\n")
    if report["malformed"] > len(malformed):
        sys.stderr.write(f"... and {report['malformed'] - len(malformed)} more malformed lines\n")
    if args.json:
        write_json(args.json, report)
    if args.json != "-":
        show(report, seconds)
    for text in report["violation_texts"]:
        sys.stderr.write(f"violation: {text}\n")
    return 1 if report["violations"] else 0


def replay(args: argparse.Namespace) -> tuple[Report, list[str], tuple[float, float]]:
    """The report, the malformed lines, and the seconds of reading and replaying.

    Raises:
        UsageError: options that do not go together, an unreadable file, a backend that is not to be had.
        CommandError: the replay stopped before its end.
    """
    try:
        text, malformed, seconds = _core._replay(
            args.files,
            design=args.design,
            cpus=args.cpus,
            backend=args.backend,
            nodes=args.nodes,
            caches=args.caches,
            strict=args.strict,
        )
    except (MemoryError, OSError, ValueError, HaybarnError) as error:
        wrong_call = isinstance(error, OSError | ValueError | UnavailableError)
        raise (UsageError if wrong_call else CommandError)(str(error)) from error
    report: Report = json.loads(text)
    return report, malformed, seconds


def show(report: Report, seconds: tuple[float, float]) -> None:
    """Prints the caches, the totals, and a line on how it ran."""
    caches = sorted(report["caches"].items(), key=lambda item: (-item[1]["allocs"], item[0]))
    columns = ["cache", "size", "allocs", "frees", "live", *LEVELS, "peak objects", "peak slabs", "peak KiB", "waste %"]
    rows = [row(name, cache) for name, cache in caches]
    totals = [report[f"served_{level}"] for level in LEVELS]
    rows.append(
        ["total", None, report["allocs"], report["frees"], report["live_at_end"], *totals, None, None, None, None]
    )
    table(f"{', '.join(report['files'])}: served by {report['design']}", columns, rows)
    counted = ("events", "implied_frees", "null_frees", "unmatched_frees", "failed_allocs", "ignored", "lost_events")
    facts = [(name.replace("_", " "), report[name]) for name in (*counted, "malformed", "violations")]
    table("lines and objects", [name for name, _ in facts], [[value for _, value in facts]])
    for name, cache in caches:
        for note in cache["notes"]:
            sys.stdout.write(f"note: {name}: {note}\n")
    sys.stdout.write(how(report, seconds) + "\n")


def row(name: str, cache: dict[str, Any]) -> list[object]:
    """One cache's line of the table."""
    served = [cache[f"served_{level}"] for level in LEVELS]
    peak, waste = cache["peak_bytes"], cache["waste_bytes"]
    return [
        name,
        cache["bytes_req"],
        cache["allocs"],
        cache["frees"],
        cache["live_at_end"],
        *served,
        cache["peak_objects"],
        cache["peak_slabs"],
        None if peak is None else peak // 1024,
        round(100 * waste / peak, 1) if peak else None,
    ]


def how(report: Report, seconds: tuple[float, float]) -> str:
    """How it ran, in one line."""
    read, replayed = seconds
    steps = report["allocs"] + report["frees"]
    cpus = f"{len(report['cpus'])} CPUs"
    if report["backend"] == "virtual":
        where = f"{cpus} as virtual CPUs of one thread"
    else:
        backend = f" on backend {report['backend']}" if report["backend"] else ""
        where = f"{report['threads']} threads for {cpus} ({report['pinned']} pinned){backend}"
    rate = f", {steps / replayed / 1e6:.1f} million steps a second" if replayed > 0 else ""
    return f"{where}: read in {1e3 * read:.1f} ms, replayed in {1e3 * replayed:.1f} ms{rate}"
