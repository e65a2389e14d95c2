"""Where objects come from: a burst goes down from the CPU's sheaf to new slabs, the next one is served from sheaves.

Run: python examples/python_levels.py
"""

from __future__ import annotations

import haybarn
from haybarn import KmemCache

COUNTERS = ("sheaf_refill", "sheaf_flush", "barn_get", "barn_put", "alloc_slab", "free_slab")


def main() -> None:
    """Allocates and frees bursts, and shows what each one moved."""
    print(f"backend {haybarn.info()['backend']}, {haybarn.info()['cpus']} CPUs")
    with KmemCache("level", 256) as cache:
        print(f"a slab has {cache.objs_per_slab} objects, a sheaf {cache.sheaf_capacity}\n")
        print(f"{'':24}" + "".join(f"{name:>14}" for name in (*COUNTERS, "slabs")))
        for burst in (10, 100, 1000, 1000, 10):
            before = cache.stats()
            objects = [cache.alloc() for _ in range(burst)]
            top = cache.stats()["slabs"]
            for obj in objects:
                obj.free()
            after = cache.stats()
            moved = [after[name] - before[name] for name in COUNTERS]
            print(f"{burst:6} out and back     " + "".join(f"{n:14}" for n in (*moved, top)))
        print(f"\nshrink() gave {cache.shrink()} slabs back, {cache.stats()['slabs']} are left")


if __name__ == "__main__":
    main()
