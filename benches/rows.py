"""The engine's rows, in the extension module: haybarn's targets and the system's malloc, in turns in one run."""

import json
import sys

from haybarn import _core

ROWS = (
    "pair-inlined",
    "pair-call",
    "lifo1000",
    "fifo1000",
    "random1000",
    "mixed",
    "remote-ring",
    "threads64",
    "threads64-resident",
)
TARGETS = ("haybarn-static", "haybarn", "haybarn-252", "haybarn-packed")
PEER = "system"
ROUNDS = 31
CHILD = "import sys; from haybarn import _core; print(_core._bench_child(*sys.argv[1:]))"


class Rows:
    params = (ROWS, TARGETS)
    param_names = ("row", "target")
    version = "1"
    timeout = 300

    def setup_cache(self):
        asked = [row for row in ROWS if row != "threads64-resident"]
        launcher = [sys.executable, "-c", CHILD]
        report = json.loads(_core._bench_run(asked, [*TARGETS, PEER], ROUNDS, launcher, lambda *_: None))
        return {(line["row"], line["target"]): line for line in report["rows"]}

    setup_cache.timeout = 300

    def setup(self, lines, row, target):
        if (row, target) not in lines:
            # A static cache has one size: the rows of mixed sizes have no such target.
            raise NotImplementedError

    def track_value(self, lines, row, target):
        return lines[row, target]["value"]

    track_value.unit = "ns (resident: MiB)"

    def track_ratio_to_system(self, lines, row, target):
        return lines[row, target]["ratio_to_best_peer"]

    track_ratio_to_system.unit = "x"
