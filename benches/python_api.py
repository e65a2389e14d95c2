"""What a Python program pays for an object, beside the builtin that it would use otherwise."""

import time

from haybarn import KmemCache

SIZES = (64, 4096)
PAIRS = 20_000
ROUNDS = 15


class Objects:
    params = (SIZES,)
    param_names = ("bytes",)
    version = "1"

    def setup(self, size):
        self.cache = KmemCache(f"asv-{size}", size)

    def teardown(self, size):
        self.cache.destroy()

    def time_alloc_free(self, size):
        self.cache.alloc().free()

    def time_alloc_drop(self, size):
        self.cache.alloc()

    def time_bulk_64(self, size):
        self.cache.free_bulk(self.cache.alloc_bulk(64))

    def time_bytearray(self, size):
        bytearray(size)

    def track_ratio_to_bytearray(self, size):
        alloc = self.cache.alloc
        ratios = []
        for _ in range(ROUNDS):
            ours = per_pair(lambda: alloc().free())
            theirs = per_pair(lambda: bytearray(size))
            ratios.append(ours / theirs)
        return sorted(ratios)[len(ratios) // 2]

    track_ratio_to_bytearray.unit = "x"


def per_pair(work):
    start = time.perf_counter_ns()
    for _ in range(PAIRS):
        work()
    return (time.perf_counter_ns() - start) / PAIRS
