"""caches() and stats() are of the whole process: Python's caches, kmalloc's size classes, hidden primaries."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

import haybarn
from haybarn import CacheView, KmemCache, SlabFlags, kmalloc, krealloc, sysfs

BACKENDS = ["rseq", "locked", "virtual"]


def run(script: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "is not available" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.parametrize("backend", BACKENDS)
def test_kmallocs_calls_are_counted_by_class(backend):
    run(
        """
import haybarn
from haybarn import kmalloc, krealloc, sysfs

assert haybarn.caches() == {} and haybarn.stats() == {}
blocks = [kmalloc(n % 29 + 100) for n in range(500)]
whole = kmalloc(10_000), kmalloc(0)
view = haybarn.caches()["kmalloc-128"]
assert list(haybarn.caches()) == list(haybarn.stats()) == sysfs.listdir("/") == ["kmalloc-128"]
stats = view.stats()
assert stats == haybarn.stats()["kmalloc-128"]
assert (stats["allocated"], stats["freed"], stats["objects"]) == (500, 0, 500), stats
assert stats["alloc_fastpath"] + stats["alloc_slowpath"] == 500, stats
assert sysfs.as_dict("/kmalloc-128")["alloc_fastpath"]["total"] == stats["alloc_fastpath"] > 0
for block in blocks[:200]:
    block.free()
moved = krealloc(blocks[200], 1000)
kept = krealloc(blocks[201], 10)
del blocks[300:]
stats = haybarn.stats()
assert {name: (s["allocated"], s["freed"], s["objects"]) for name, s in stats.items()} == {
    "kmalloc-128": (500, 401, 99),
    "kmalloc-1k": (1, 0, 1),
}, stats
assert stats["kmalloc-128"]["free_fastpath"] + stats["kmalloc-128"]["free_slowpath"] == 401
assert stats["kmalloc-128"]["in_sheaves"] > 0
""",
        HAYBARN_BACKEND=backend,
    )


def test_a_class_is_known_by_the_name_that_it_got():
    run("""
import haybarn
from haybarn import KmemCache, kmalloc

mine = KmemCache("kmalloc-64", 64)
block = kmalloc(64)
caches = haybarn.caches()
assert caches["kmalloc-64"] is mine and type(caches["kmalloc-64:2"]) is haybarn.CacheView
assert haybarn.stats()["kmalloc-64:2"]["objects"] == 1 and mine.stats()["objects"] == 0
""")


def test_a_view_has_what_the_tree_shows_and_nothing_that_changes_objects():
    block = kmalloc(64)
    view = haybarn.caches()["kmalloc-64"]
    assert type(view) is CacheView
    shown = sysfs.as_dict("/kmalloc-64")
    for name in ("object_size", "slab_size", "align", "order", "objs_per_slab", "min_partial", "sheaf_capacity"):
        assert getattr(view, name) == shown[name], name
    assert view.remote_node_defrag_ratio == shown["remote_node_defrag_ratio"]
    assert (view.name, view.primary, view.aliases) == ("kmalloc-64", "kmalloc-64", ())
    assert SlabFlags.NO_MERGE in view.flags
    assert repr(view) == "<haybarn.CacheView 'kmalloc-64', 64 bytes>"
    assert sum(node["slabs"] for node in view.node_stats()) == view.stats()["slabs"] >= 1
    again = haybarn.caches()["kmalloc-64"]
    assert again == view
    assert hash(again) == hash(view)
    assert view != haybarn.caches()
    assert view != "kmalloc-64"
    for name in ("alloc", "free", "destroy", "prefill"):
        assert not hasattr(view, name)
    with pytest.raises(TypeError):
        CacheView()
    with pytest.raises(AttributeError):
        view.min_partial = 1
    view.validate()
    block.free()


def test_a_view_shrinks_its_cache():
    blocks = [kmalloc(4096) for _ in range(2000)]
    view = haybarn.caches()["kmalloc-4k"]
    before = view.stats()
    del blocks
    assert view.shrink() > 0
    after = view.stats()
    assert after["slabs"] < before["slabs"]
    assert after["in_sheaves"] == 0
    assert before["objects"] - after["objects"] == 2000


def test_what_every_cache_can_do_needs_no_look_at_its_kind():
    cache = KmemCache("any", 40)
    block = kmalloc(40)
    names = haybarn.caches()
    assert names["any"] is cache
    for name, each in names.items():
        each.validate()
        assert each.name == name
        assert each.stats().keys() == haybarn.stats()[name].keys()
        assert each.primary in names
    block.free()
    cache.destroy()


def test_a_hidden_primary_is_there_as_long_as_its_aliases():
    run("""
import pytest
import haybarn
from haybarn import CacheStorage, KmemCache, sysfs


def owned(name):
    return KmemCache(name, 72, storage=CacheStorage(), owner=object())


first, second = owned("first"), owned("second")
assert first.primary == second.primary == ":0000072"
view = haybarn.caches()[":0000072"]
assert view.aliases == ("first", "second")
held = first.alloc_bulk(10) + second.alloc_bulk(5)
stats = haybarn.stats()
assert list(stats) == list(haybarn.caches()) == sysfs.listdir("/")
assert (stats[":0000072"]["objects"], stats["first"]["objects"]) == (0, 10)
for name in ("total_objects", "alloc_fastpath", "alloc_slowpath", "slabs"):
    assert stats[":0000072"][name] == stats["first"][name] == view.stats()[name], name
assert stats[":0000072"]["alloc_fastpath"] + stats[":0000072"]["alloc_slowpath"] == 15
assert view.remote_node_defrag_ratio == 100
del held
first.destroy()
second.destroy()
assert haybarn.caches() == {}
for call in (view.stats, view.node_stats, view.shrink, view.validate):
    with pytest.raises(haybarn.CacheDestroyedError, match=":0000072"):
        call()
assert view.primary is None and repr(view).endswith(", destroyed>")
third = owned("third")
assert haybarn.caches()[":0000072"] != view, "another cache of the same name"
""")


def test_counts_are_exact_whoever_calls():
    block = kmalloc(500)
    before = haybarn.stats()["kmalloc-512"]

    def work():
        for _ in range(3000):
            mine = kmalloc(500)
            mine = krealloc(mine, 400)
            mine.free()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert haybarn.stats()["kmalloc-512"]["objects"] >= 1
    for thread in threads:
        thread.join()
    after = haybarn.stats()["kmalloc-512"]
    assert after["allocated"] - before["allocated"] == after["freed"] - before["freed"] == 12_000
    assert after["objects"] == before["objects"] >= 1
    block.free()
