"""`haybarn stress`: drives the allocator from many threads while an oracle watches."""

from __future__ import annotations

import argparse
import random
import sys
from typing import TYPE_CHECKING, Any

from haybarn import output
from haybarn.lab import stress

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "stress"
HELP = "drive the allocator from many threads and check every object"
EPILOG = "exit code: 0 clean, 1 violations or a path that a scenario must reach and did not, 2 called wrongly"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares threads, time, seed, scenarios, backend and outputs."""
    parser.epilog = EPILOG
    parser.add_argument("--threads", type=_between(int, 1, 1024), default=4, metavar="N", help="threads (default: 4)")
    parser.add_argument(
        "--seconds",
        type=_between(float, 0.001, 1e8),
        default=10.0,
        metavar="S",
        help="time of the whole run, shared by its scenarios (default: 10)",
    )
    parser.add_argument(
        "--seed",
        type=_between(int, 0, 2**64 - 1),
        metavar="K",
        help="gives every thread the same operations again (default: a new one, which is shown)",
    )
    parser.add_argument(
        "--scenario",
        nargs="+",
        action="extend",
        choices=list(stress.scenarios()),
        default=[],
        metavar="NAME",
        help=f"run these only: {', '.join(stress.scenarios())}",
    )
    parser.add_argument(
        "--backend", metavar="B", help="rseq, locked or virtual (default: HAYBARN_BACKEND, or the best)"
    )
    parser.add_argument(
        "--form",
        metavar="F",
        help="double or packed: words of 128 or 64 bits that change by one swap (default: the best)",
    )
    parser.add_argument(
        "--ops", type=_between(int, 1, 2**62), metavar="N", help="stop each thread after N allocations and frees"
    )
    parser.add_argument(
        "--campaign",
        action="store_true",
        help=f"also ask for the counters of races, as a scenario of {stress.LONG:.0f} s or more does",
    )
    parser.add_argument(
        "--inject",
        type=_between(float, 0, 1),
        default=0.0,
        metavar="P",
        help="let memory and objects fail with probability P in spells of the run (default: 0, none)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the report to FILE (- for standard output)")


def run(args: argparse.Namespace) -> int:
    """Runs the campaign, shows the table, writes the JSON."""
    seed = random.getrandbits(32) if args.seed is None else args.seed
    with output.progress(args.seconds, "stress") as bar:
        report = stress.campaign(
            args.scenario,
            threads=args.threads,
            seconds=args.seconds,
            seed=seed,
            backend=args.backend,
            form=args.form,
            ops=args.ops,
            long_campaign=args.campaign,
            inject=args.inject,
            progress=lambda _name, seconds: bar.set(seconds),
        )
    for name, row in report["scenarios"].items():
        if row["missing_counters"]:
            sys.stderr.write(f"{name}: never moved on {report['backend']}: {', '.join(row['missing_counters'])}\n")
    if args.json:
        output.write_json(args.json, report)
    if args.json != "-":
        _show(report)
    return 0 if stress.passed(report) else 1


def _show(report: dict[str, Any]) -> None:
    title = (
        f"stress on {report['backend']}: {report['threads']} threads, seed {report['seed']}, "
        f"{report['ops_per_second'] / 1e6:.2f} million operations a second"
    )
    if report["inject"]:
        title += f", {report['faults']} requests made to fail"
    scenarios = report["scenarios"]
    # A counter that no scenario moved is no column.
    counters = [name for name in stress.COUNTERS if any(row["counters"][name] for row in scenarios.values())]
    rows = [
        (name, row["ops"], row["violations"], *(row["counters"][counter] for counter in counters))
        for name, row in scenarios.items()
    ]
    output.table(title, ("scenario", "ops", "violations", *counters), rows)


def _between(kind: type[int | float], low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not between {low:,} and {high:,}")
        return value

    parse.__name__ = kind.__name__
    return parse
