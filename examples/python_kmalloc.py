"""A log of records of any length, each in memory of its own, that grows in place as long as its size class has room.

Run: python examples/python_kmalloc.py
"""

from __future__ import annotations

from haybarn import KmallocObject, kmalloc, kmalloc_size_roundup, krealloc, ksize


class Text:
    """Text that is appended to, in memory of kmalloc."""

    def __init__(self) -> None:
        """Empty, which takes no memory at all."""
        self.memory: KmallocObject = kmalloc(0)
        self.moved = 0

    def append(self, more: bytes) -> None:
        """Appends; where the size class has room nothing moves."""
        end = len(self.memory)
        old, self.memory = self.memory, krealloc(self.memory, end + len(more))
        self.moved += self.memory is not old
        with memoryview(self.memory) as view:
            view[end:] = more


def main() -> None:
    """Appends a hundred words, and says what that cost."""
    text = Text()
    for number in range(100):
        text.append(b"word %d, " % number)
    content = bytes(text.memory)
    assert content.startswith(b"word 0, word 1, ")
    assert content.endswith(b"word 99, ")
    assert ksize(text.memory) == kmalloc_size_roundup(len(content))
    print(f"{len(content)} bytes in {ksize(text.memory)}, appended to 100 times and moved {text.moved} times")


if __name__ == "__main__":
    main()
