"""Packets through a socket into NumPy without a copy: each buffer is an object of one cache.

Run: python examples/python_packets.py
"""

from __future__ import annotations

import socket
import threading

import numpy as np

from haybarn import KmemCache

PACKETS = 10_000
SIZE = 1500


def send(into: socket.socket) -> None:
    """Sends packets whose every byte is the packet's number."""
    with into:
        for number in range(PACKETS):
            into.sendall(bytes([number & 255]) * SIZE)


def receive(source: socket.socket, cache: KmemCache) -> int:
    """Receives each packet into an object of the cache and adds up its bytes; returns the sum."""
    total = 0
    for _ in range(PACKETS):
        with cache.alloc() as packet:
            with memoryview(packet) as view:
                filled = 0
                while filled < SIZE:
                    filled += source.recv_into(view[filled:])
            # The array looks into the packet: it must be gone before the packet is.
            total += int(np.frombuffer(memoryview(packet), dtype=np.uint8).sum(dtype=np.uint64))
    return total


def main() -> None:
    """Sends and receives in two threads, and says what the cache did."""
    sender, receiver = socket.socketpair()
    with KmemCache("packet", SIZE, align=64) as cache, receiver:
        thread = threading.Thread(target=send, args=(sender,))
        thread.start()
        total = receive(receiver, cache)
        thread.join()
        assert total == sum(number & 255 for number in range(PACKETS)) * SIZE
        stats = cache.stats()
        print(f"{PACKETS} packets received, {stats['slabs']} slab(s) of {cache.objs_per_slab} objects were enough")
        print(f"{stats['alloc_fastpath']} allocations, of which {stats['sheaf_refill']} objects came out of slabs")


if __name__ == "__main__":
    main()
