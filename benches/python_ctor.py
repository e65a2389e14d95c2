"""What a payload that stays with its slot saves, beside making it anew for each object.

Also by itself: `python benches/python_ctor.py` prints each figure with its spread.
"""

import threading
import time

from haybarn import KmemCache

OBJECTS = 500
ROUNDS = 101


class Session:
    """A lock, a buffer and a small table: what a server keeps for a connection."""

    def __init__(self):
        self.lock = threading.Lock()
        self.scratch = bytearray(4096)
        self.table = {number: str(number) for number in range(16)}


KEPT = KmemCache("asv-kept", 256, ctor=lambda _: Session())
PLAIN = KmemCache("asv-anew", 256)


def kept():
    alloc = KEPT.alloc
    for _ in range(OBJECTS):
        obj = alloc()
        with obj.payload.lock:
            pass
        obj.free()


def anew():
    alloc = PLAIN.alloc
    for _ in range(OBJECTS):
        obj = alloc()
        with Session().lock:
            pass
        obj.free()


def bare():
    """The loop of `kept` on a cache without a constructor, and one payload for all."""
    alloc, session = PLAIN.alloc, Session()
    for _ in range(OBJECTS):
        obj = alloc()
        _ = obj.payload
        with session.lock:
            pass
        obj.free()


class Payloads:
    """Each call makes five hundred."""

    version = "1"

    def time_500_payloads_kept(self):
        kept()

    def time_500_payloads_made_anew(self):
        anew()

    def track_ratio_to_making_anew(self):
        return ratios(kept, anew)[1]

    def track_ratio_to_no_constructor(self):
        return ratios(kept, bare)[1]

    track_ratio_to_making_anew.unit = "x"
    track_ratio_to_no_constructor.unit = "x"


def ratios(ours, theirs):
    """The 10th percentile, the median and the 90th of rounds that take turns."""
    seen = sorted(took(ours) / took(theirs) for _ in range(ROUNDS))
    return seen[ROUNDS // 10], seen[ROUNDS // 2], seen[-ROUNDS // 10]


def took(work):
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


if __name__ == "__main__":
    for row in (kept, anew, bare):
        each = sorted(took(row) / OBJECTS for _ in range(ROUNDS))
        low, median, high = each[ROUNDS // 10], each[ROUNDS // 2], each[-ROUNDS // 10]
        print(f"{row.__name__}: {median:.1f} ns each ({low:.1f} to {high:.1f})")
    for name, other in (("making anew", anew), ("no constructor", bare)):
        low, median, high = ratios(kept, other)
        print(f"kept to {name}: {median:.3f} ({low:.3f} to {high:.3f})")
