"""A program that keeps its promise when memory runs out, and the test of it: each allocation made to fail in turn.

Run: python examples/python_out_of_memory.py
"""

from __future__ import annotations

import haybarn
from haybarn import KmemCache, SlabObject, fault_inject


class Mailbox:
    """Keeps messages whole: `post` takes a message of several parts, or raises and has taken none of it."""

    def __init__(self, cache: KmemCache) -> None:
        """Messages lie in objects of the cache."""
        self.cache = cache
        self.messages: list[list[SlabObject]] = []

    def post(self, *parts: bytes) -> None:
        """Takes a message, all parts of it or none."""
        taken: list[SlabObject] = []
        try:
            for part in parts:
                obj = self.cache.alloc()
                taken.append(obj)
                memoryview(obj)[: len(part)] = part
        except haybarn.OutOfMemoryError:
            self.cache.free_bulk(taken)
            raise
        self.messages.append(taken)

    def clear(self) -> None:
        """Gives everything back."""
        for message in self.messages:
            self.cache.free_bulk(message)
        self.messages.clear()


def main() -> None:
    """Posts a message of five parts while the first, the second, .. allocation fails."""
    with KmemCache("mail", 256) as cache:
        box = Mailbox(cache)
        for at in range(1, 7):
            with fault_inject.fail_slab(cache, interval=at, times=1) as fault:
                try:
                    box.post(b"to", b"from", b"subject", b"text", b"name")
                    outcome = "posted"
                except haybarn.OutOfMemoryError as error:
                    outcome = f"refused ({error})"
            live = cache.stats()["objects"]
            assert live == 5 * len(box.messages), "a part of a message was left behind"
            print(f"allocation {at} fails: {outcome}, {live} objects live, {fault.fired} failures")
        box.clear()

        # No memory from the system: many at once come all, or none and nothing is left behind.
        with fault_inject.fail_page_alloc():
            try:
                cache.alloc_bulk(10_000)
            except haybarn.OutOfMemoryError as error:
                print(f"no pages to be had: {error}, {cache.stats()['objects']} objects live")
        print(f"after the block: {len(cache.alloc_bulk(10_000))} objects at once")


if __name__ == "__main__":
    main()
