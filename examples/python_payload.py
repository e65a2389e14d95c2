"""What is costly to make is made once per slot: lock, scratch buffer and table outlive the objects that use them.

Run: python examples/python_payload.py
"""

from __future__ import annotations

import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

from haybarn import KmemCache, SlabObject

REQUESTS = 20_000
WORKERS = 4


class Session:
    """The payload of one slot. It serves many requests, one after the other."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.scratch = memoryview(bytearray(4096))
        self.table = {byte: zlib.crc32(bytes([byte])) for byte in range(64)}
        self.served = 0

    def serve(self, request: int, record: memoryview) -> None:
        """Writes the answer into the object's own bytes."""
        with self.lock:
            self.scratch[:8] = request.to_bytes(8, "little")
            record[:8] = (self.table[request % 64] ^ zlib.crc32(self.scratch)).to_bytes(8, "little")
            self.served += 1


def open_session(slot: SlabObject) -> Session:
    """The constructor: `slot` is valid until it returns; what it returns belongs to the slot from then on."""
    with memoryview(slot) as record:
        record[:] = bytes(len(record))
    return Session()


def close_session(slot: SlabObject) -> None:
    """The destructor: the last that sees the payload, when the slab's pages go."""
    closed.append(slot.payload.served)


closed: list[int] = []


def main() -> None:
    """Serves requests in threads, gives memory back, and says how many sessions it took."""
    with KmemCache("session", 256, ctor=open_session, dtor=close_session) as cache:

        def request(number: int) -> None:
            with cache.alloc() as obj, memoryview(obj) as record:
                obj.payload.serve(number, record)

        with ThreadPoolExecutor(WORKERS) as pool:
            for _ in pool.map(request, range(REQUESTS)):
                pass
        made = cache.stats()["ctor_object"]
        print(f"{REQUESTS} requests were served by {made} sessions")
        slabs = cache.shrink()
        print(f"shrink gave {slabs} slab(s) back and closed {len(closed)} sessions")
    assert len(closed) == made
    assert sum(closed) == REQUESTS


if __name__ == "__main__":
    main()
