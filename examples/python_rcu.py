"""A table of routes that readers look up without a lock, while a writer replaces and frees its entries.

Run: python examples/python_rcu.py
"""

from __future__ import annotations

import struct
import threading

import haybarn
from haybarn import KmemCache, SlabObject, rcu

ROUTES = 64
READERS = 4
UPDATES = 2000
ROUTE = struct.Struct("<QQQ")  # key, hops, and a sum by which a reader tells a whole route from a torn one


def route(cache: KmemCache, key: int, hops: int) -> SlabObject:
    """A new route, written in full before anybody can see it."""
    obj = cache.alloc()
    with memoryview(obj) as view:
        ROUTE.pack_into(view, 0, key, hops, key ^ hops)
    return obj


def look_up(table: list[SlabObject], key: int) -> int:
    """The hops to `key`. What the table shows here stays as it is until the section is left."""
    while True:
        with rcu.read_lock():
            try:
                with memoryview(table[key]) as view:
                    found, hops, check = ROUTE.unpack_from(view)
            except haybarn.UseAfterFreeError:
                continue  # it was replaced between the look and the view: look again
        assert (found, check) == (key, key ^ hops)
        return hops


def read(table: list[SlabObject], stop: threading.Event, counts: list[int]) -> None:
    """Looks up every route again and again."""
    done = 0
    while not stop.is_set():
        look_up(table, done % ROUTES)
        done += 1
    counts.append(done)


def main() -> None:
    """Readers and one writer at once; at the end every object is back."""
    cache = KmemCache("route", ROUTE.size)
    table = [route(cache, key, 0) for key in range(ROUTES)]
    stop, counts = threading.Event(), []
    readers = [threading.Thread(target=read, args=(table, stop, counts)) for _ in range(READERS)]
    for thread in readers:
        thread.start()
    for n in range(UPDATES):
        key = n % ROUTES
        old, table[key] = table[key], route(cache, key, n)  # out of sight first,
        old.free_rcu()  # then freed: reused after the readers that saw it
    stop.set()
    for thread in readers:
        thread.join()

    rcu.call(lambda: print("and a function ran after a grace period"))
    rcu.barrier()
    assert len(counts) == READERS
    assert min(counts) > 0
    print(f"{UPDATES} routes replaced under {READERS} readers, {cache.stats()['objects']} objects are live")
    for obj in table:
        obj.free_rcu()
    cache.destroy()  # waits for what is pending


if __name__ == "__main__":
    main()
