"""Random programs of caches that share slabs, against a model: who shares, what each counts, whose end is refused."""

from __future__ import annotations

import itertools
import random

import pytest

from haybarn import CacheBusyError, KmemCache, SlabFlags, WrongCacheError

NUMBERS = itertools.count()


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_of_names_against_a_model(seed):
    rng = random.Random(seed)
    # Strides that no other test uses.
    base = 3000 + 32 * seed
    # Oldest first; of each: cache, its stride, whether it shares, its storage's number, its live objects, its calls.
    living, storages = [], 0

    def create():
        nonlocal storages
        size = base + rng.randrange(1, 17)
        keeps = {
            "NO_MERGE": {"flags": SlabFlags.NO_MERGE},
            "ctor": {"ctor": bytearray},
            "sheaf_capacity": {"sheaf_capacity": 20},
            "usersize": {"usersize": 8},
            "TYPESAFE_BY_RCU": {"flags": SlabFlags.TYPESAFE_BY_RCU},
        }
        apart = keeps[rng.choice(list(keeps))] if rng.random() < 0.3 else {}
        cache = KmemCache(f"model-{next(NUMBERS)}", size, **apart)
        stride = -(-size // 8) * 8
        alike = [row["storage"] for row in living if not apart and row["shares"] and row["stride"] == stride]
        storages += not alike
        storage = min(alike) if alike else storages
        row = {"cache": cache, "stride": stride, "shares": not apart, "storage": storage, "live": [], "calls": [0, 0]}
        living.append(row)

    def end(row):
        if row["live"]:
            with pytest.raises(CacheBusyError) as busy:
                row["cache"].destroy()
            assert busy.value.live == len(row["live"])
        else:
            row["cache"].destroy()
            living.remove(row)
            assert (row["cache"].primary, row["cache"].aliases) == (None, ())

    for _ in range(150):
        step = rng.random()
        row = rng.choice(living) if living else None
        if row is None or step < 0.2:
            create()
        elif step < 0.5:
            row["live"] += row["cache"].alloc_bulk(n := rng.randrange(1, 30))
            row["calls"][0] += n
        elif step < 0.7 and row["live"]:
            for obj in [
                row["live"].pop(rng.randrange(len(row["live"]))) for _ in range(rng.randint(1, len(row["live"])))
            ]:
                obj.free()
                row["calls"][1] += 1
        elif step < 0.75 and row["live"]:
            others = [other["cache"] for other in living if other is not row]
            for other in others[:2]:
                with pytest.raises(WrongCacheError):
                    other.free(row["live"][0])
        elif step < 0.9:
            end(row)
        for row in living:
            same = [other["cache"].name for other in living if other["storage"] == row["storage"]]
            cache = row["cache"]
            assert cache.primary == same[0]
            assert cache.aliases == tuple(name for name in same if name != cache.name)
            stats = cache.stats()
            assert (stats["allocated"], stats["freed"], stats["objects"]) == (*row["calls"], len(row["live"]))
    for row in list(living):
        while row["live"]:
            row["live"].pop().free()
        end(row)
