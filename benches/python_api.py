"""What a Python program pays for an object, beside the builtin that it would use otherwise."""

import time

from haybarn import KmemCache

SIZES = (64, 4096)
PAIRS = 1000
ROUNDS = 301
# Not in a setup: asv runs that before every call, which would then time a cache's first use.
CACHES = {size: KmemCache(f"asv-{size}", size) for size in SIZES}


class Objects:
    """Each call makes a thousand."""

    params = (SIZES,)
    param_names = ("bytes",)
    version = "2"

    def time_1000_alloc_free(self, size):
        alloc = CACHES[size].alloc
        for _ in range(PAIRS):
            alloc().free()

    def time_1000_alloc_drop(self, size):
        alloc = CACHES[size].alloc
        for _ in range(PAIRS):
            alloc()

    def time_bulk_of_1000(self, size):
        cache = CACHES[size]
        cache.free_bulk(cache.alloc_bulk(PAIRS))

    def time_1000_bytearrays(self, size):
        for _ in range(PAIRS):
            bytearray(size)

    def track_ratio_to_bytearray(self, size):
        return median_ratio(self.time_1000_alloc_free, self.time_1000_bytearrays, size)

    def track_drop_ratio_to_bytearray(self, size):
        return median_ratio(self.time_1000_alloc_drop, self.time_1000_bytearrays, size)

    track_ratio_to_bytearray.unit = "x"
    track_drop_ratio_to_bytearray.unit = "x"


def median_ratio(ours, theirs, size):
    """Of rounds that take turns, so that what disturbs one disturbs the other."""
    ratios = sorted(took(ours, size) / took(theirs, size) for _ in range(ROUNDS))
    return ratios[len(ratios) // 2]


def took(work, size):
    start = time.perf_counter_ns()
    work(size)
    return time.perf_counter_ns() - start
