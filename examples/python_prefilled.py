"""A trie whose insertion cannot fail half-way: the nodes that a word may need are set aside before the tree is touched.

Run: python examples/python_prefilled.py
"""

from __future__ import annotations

import haybarn
from haybarn import KmemCache, SlabObject, fault_inject


class Trie:
    """Words as paths of nodes; a node is an object with a place of 8 bytes for each letter's child."""

    def __init__(self, cache: KmemCache) -> None:
        """Nodes lie in objects of the cache, which are 27 times 8 bytes: the last place counts words that end here."""
        self.cache = cache
        self.nodes: dict[int, SlabObject] = {}
        root = cache.alloc(zero=True)
        self.root = root.address
        self.nodes[self.root] = root

    def places(self, node: int) -> memoryview:
        """The places of a node."""
        return memoryview(self.nodes[node]).cast("Q")

    def path(self, word: str) -> list[int]:
        """The nodes of the word that are there, from the root down."""
        found = [self.root]
        for letter in word:
            child = self.places(found[-1])[ord(letter) - ord("a")]
            if not child:
                break
            found.append(child)
        return found

    def insert(self, word: str) -> None:
        """Adds the word, or raises OutOfMemoryError and the tree is as it was."""
        path = self.path(word)
        missing = word[len(path) - 1 :]
        if missing:
            # The only line that can fail.
            with self.cache.prefill(len(missing)) as sheaf:
                node = path[-1]
                for letter in missing:
                    child = sheaf.alloc(zero=True)
                    self.nodes[child.address] = child
                    self.places(node)[ord(letter) - ord("a")] = child.address
                    node = child.address
            path.append(node)
        self.places(path[-1])[26] += 1

    def __contains__(self, word: str) -> bool:
        """Whether the word was added."""
        path = self.path(word)
        return len(path) == len(word) + 1 and self.places(path[-1])[26] > 0


WORDS = [
    *("sheaf", "sheaves", "barn", "barns", "slab", "slabs", "spare", "main", "object", "objects"),
    *("refill", "flush", "prefill", "return", "node", "nodes", "page", "pages"),
]


def main() -> None:
    """Adds words while many requests for objects fail, and looks whether any was added in part."""
    with KmemCache("trie", 27 * 8) as cache:
        trie = Trie(cache)
        refused = []
        with fault_inject.fail_slab(cache, probability=0.4):
            for word in WORDS:
                try:
                    trie.insert(word)
                except haybarn.OutOfMemoryError:
                    refused.append(word)
        assert all((word in trie) != (word in refused) for word in WORDS)
        # Every prefix of an added word is a node, and there is no other one: nothing was added in part.
        prefixes = {""} | {word[:n] for word in WORDS if word not in refused for n in range(len(word) + 1)}
        assert len(trie.nodes) == len(prefixes) == cache.stats()["objects"]
        print(f"{len(WORDS) - len(refused)} words added, {len(refused)} refused as a whole, none added in part")
        for word in refused:
            trie.insert(word)
        counters = cache.stats()
        print(
            f"{counters['alloc_prefilled']} nodes came from prefilled sheaves, {counters['prefilled']} sheaves are out"
        )
        trie.nodes.clear()


if __name__ == "__main__":
    main()
