"""Keeps objects near the CPUs that use them: whose memory they are, what a full node may borrow, and where a free goes.

Four fake nodes stand in for a machine with four memories; on a real one leave the variable out.
"""

import os

os.environ.setdefault("HAYBARN_FAKE_NODES", "4")

from haybarn import KmemCache, SlabFlags, info, sysfs

nodes = info()["nodes"]
print(f"{nodes} nodes: {info()['nodes_why']}")

cache = KmemCache("shard", 512, flags=SlabFlags.NO_MERGE)

# A shard of a table for each node: its rows are that node's memory, whatever CPU fills it.
shards = [[cache.alloc(node=node) for _ in range(100 * (node + 1))] for node in range(nodes)]
print("rows by node:", *({row.node for row in shard} for shard in shards))
print("total_objects:", sysfs.read("/shard/total_objects").strip())

# Without a node the CPU's own memory is what comes; thisnode insists on it.
here = cache.alloc(thisnode=True)
print("thisnode is one of them:", here.node in range(nodes))
here.free()

# A row of another node's memory is no use to this CPU's sheaves: it goes straight back to its slab.
before = cache.stats()
for shard in shards:
    for row in shard:
        row.free()
after = cache.stats()
far = after["free_slowpath"] - before["free_slowpath"]
print(f"of {sum(map(len, shards))} frees {far} went straight to their slabs")

# The nodes' parts add up to the whole; a shrink gives all of it back.
parts = cache.node_stats()
print("parts add up:", sum(part["slabs"] for part in parts) == after["slabs"])
cache.shrink()
print("slabs left:", [part["slabs"] for part in cache.node_stats()])

# Refills that find this node's slabs used up take another node's before they make new ones: 100 of 100, here none.
cache.remote_node_defrag_ratio = 0
print("remote_node_defrag_ratio:", sysfs.read("/shard/remote_node_defrag_ratio").strip())
cache.destroy()
