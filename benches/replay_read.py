"""Reading and parsing a recorded trace, beside `gzip -dc` of the same file (the goal is at most 3 times)."""

import shutil
import subprocess
import time
from pathlib import Path

from haybarn import _core

EXAMPLES = Path(__file__).parent.parent / "examples"
TRACES = ("kmem-gcc.ftrace.txt.gz", "kmem-git.ftrace.txt.gz", "kmem-ls.perf-script.txt.gz")
ROUNDS = 31


class Reading:
    """One file."""

    params = (TRACES,)
    param_names = ("trace",)
    version = "1"

    def setup(self, trace):
        if shutil.which("gzip") is None:
            raise NotImplementedError

    def track_ratio_to_gzip(self, trace):
        return spread(trace)[1]

    track_ratio_to_gzip.unit = "x"


def spread(trace):
    """10th percentile, median and 90th of rounds that take turns."""
    path = str(EXAMPLES / trace)
    ratios = sorted(_core._replay_read([path])[0] / unpacked(path) for _ in range(ROUNDS))
    return ratios[ROUNDS // 10], ratios[ROUNDS // 2], ratios[-1 - ROUNDS // 10]


def unpacked(path):
    start = time.perf_counter()
    subprocess.run(["gzip", "-dc", path], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


if __name__ == "__main__":
    for name in TRACES:
        low, median, high = spread(name)
        print(f"{name:<28} {median:.2f} of gzip -dc [{low:.2f} .. {high:.2f}]")
