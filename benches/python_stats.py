"""What polling the statistics of 500 caches costs, beside making as many dicts of as many numbers in Python.

Also by itself: `python benches/python_stats.py` prints each figure with its spread.
"""

import threading
import time

import haybarn
from haybarn import KmemCache, SlabFlags, sysfs

CACHES = 500
ROUNDS = 101
# Half of them share storage with others, as caches of a program do.
MADE = [KmemCache(f"polled-{n}", 64 + 8 * (n % 50), flags=SlabFlags.NO_MERGE if n % 2 else 0) for n in range(CACHES)]
HELD = [cache.alloc_bulk(100) for cache in MADE]
EXAMPLE = haybarn.stats()["polled-0"]


def poll():
    haybarn.stats()


def dicts():
    """What a report of the same numbers costs that are at hand already."""
    keys, values = list(EXAMPLE), [1000 + n for n in range(len(EXAMPLE))]
    return {f"{n}": dict(zip(keys, values, strict=True)) for n in range(CACHES)}


def all_attributes():
    sysfs.as_dict("/")


def one_attribute():
    for _ in range(100):
        sysfs.read("/polled-0/order")


class Statistics:
    """Each call looks at 500 caches."""

    version = "1"

    def time_stats_of_500_caches(self):
        poll()

    def time_attributes_of_500_caches(self):
        all_attributes()

    def time_100_reads_of_an_attribute(self):
        one_attribute()

    def track_ratio_to_dicts_of_as_many_numbers(self):
        return spread([took(poll) / took(dicts) for _ in range(ROUNDS)])[1]

    track_ratio_to_dicts_of_as_many_numbers.unit = "x"


def took(work):
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


def spread(values):
    """The 10th percentile, the median and the 90th."""
    values = sorted(values)
    return values[len(values) // 10], values[len(values) // 2], values[-1 - len(values) // 10]


def beside_a_busy_thread(work):
    """The same while another thread wants the interpreter all the time."""
    done = threading.Event()

    def spin():
        while not done.is_set():
            pass

    other = threading.Thread(target=spin)
    other.start()
    try:
        return [took(work) / 1e6 for _ in range(ROUNDS)]
    finally:
        done.set()
        other.join()


def main():
    figures = {
        "stats() of 500 caches, ms": [took(poll) / 1e6 for _ in range(ROUNDS)],
        "the same beside a busy thread, ms": beside_a_busy_thread(poll),
        "its ratio to dicts of as many numbers": [took(poll) / took(dicts) for _ in range(ROUNDS)],
        "sysfs.as_dict('/') of 500 caches, ms": [took(all_attributes) / 1e6 for _ in range(ROUNDS)],
        "a read of one attribute, us": [took(one_attribute) / 100 / 1e3 for _ in range(ROUNDS)],
    }
    for what, values in figures.items():
        low, median, high = spread(values)
        print(f"{what:40} {median:8.3f}  ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
