"""Caches with TYPESAFE_BY_RCU from Python: arguments, reuse, statistics. What readers rely on is tested in Rust."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

import haybarn
from haybarn import KmemCache, SlabFlags

if TYPE_CHECKING:
    from collections.abc import Callable

TYPESAFE = SlabFlags.TYPESAFE_BY_RCU


def until(holds: Callable[[], bool]) -> None:
    """Waits for what another thread will bring about."""
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_free_pointer_lies_behind_the_object_or_where_it_is_told() -> None:
    with KmemCache("typesafe-behind", 64, flags=TYPESAFE) as cache:
        assert cache.slab_size == 72
        assert TYPESAFE in SlabFlags(cache.flags)
    with KmemCache("typesafe-inside", 64, flags=TYPESAFE, freeptr_offset=40) as cache:
        made = haybarn.geometry(64, flags=TYPESAFE, freeptr_offset=40)
        assert made.freeptr_offset == 40
        assert made.slab_size == cache.slab_size == 64
        assert made.objs_per_slab == cache.objs_per_slab


@pytest.mark.parametrize(
    ("flags", "offset"), [(0, 8), (TYPESAFE, 64), (TYPESAFE, 4), (TYPESAFE, -8), (TYPESAFE, 1 << 40)]
)
def test_an_offset_out_of_range_is_refused_with_its_range(flags: int, offset: int) -> None:
    with pytest.raises(haybarn.BadArgumentError, match=r"'typesafe-wrong'.*freeptr_offset = .*legal: "):
        KmemCache("typesafe-wrong", 64, flags=flags, freeptr_offset=offset)
    assert "typesafe-wrong" not in haybarn.caches()


def test_objects_are_used_anew_at_once() -> None:
    with KmemCache("typesafe-reuse", 64, flags=TYPESAFE) as cache:
        first = cache.alloc()
        view = memoryview(first)
        view[:4] = b"type"
        view.release()
        first.free()
        with pytest.raises(haybarn.UseAfterFreeError):
            memoryview(first)
        cache.alloc().free()
        assert cache.stats()["objects"] == 0


def test_dead_slabs_wait_and_go_by_themselves() -> None:
    with KmemCache("typesafe-dead", 512, flags=TYPESAFE) as cache:
        objects = [cache.alloc() for _ in range(2000)]
        made = cache.stats()["slabs"]
        cache.free_bulk(objects)
        del objects
        gc.collect()
        cache.shrink()
        until(lambda: cache.stats()["dead_slabs"] == 0)
        stats = cache.stats()
        died = stats["free_slab"] + stats["shrink_slab"]
        assert stats["reap_slab"] == died == made, stats
        assert (stats["slabs"], stats["total_objects"]) == (0, 0)
        cache.validate()


def test_destroy_ends_what_has_died() -> None:
    for n in range(20):
        cache = KmemCache(f"typesafe-end-{n}", 512, flags=TYPESAFE)
        cache.free_bulk([cache.alloc() for _ in range(300)])
        cache.destroy()
    assert not [name for name in haybarn.caches() if name.startswith("typesafe-end")]


def test_a_reader_cannot_end_it_and_others_wait_for_readers() -> None:
    cache = KmemCache("typesafe-reader", 512, flags=TYPESAFE)
    ended = threading.Event()

    def end() -> None:
        cache.destroy()
        ended.set()

    ender = threading.Thread(target=end)
    with haybarn.rcu.read_lock():
        cache.free_bulk([cache.alloc() for _ in range(1000)])
        cache.shrink()
        assert cache.stats()["dead_slabs"] > 0
        with pytest.raises(haybarn.ReadSectionError):
            cache.destroy()
        ender.start()
        # It gets every chance to end too early.
        for _ in range(50):
            time.sleep(0.001)
        assert not ended.is_set()
    ender.join(60)
    assert ended.is_set()


def test_a_busy_cache_stays() -> None:
    cache = KmemCache("typesafe-busy", 64, flags=TYPESAFE)
    kept = cache.alloc()
    with pytest.raises(haybarn.CacheBusyError):
        cache.destroy()
    kept.free()
    cache.destroy()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_ends_its_copy() -> None:
    program = """
import os, haybarn
cache = haybarn.KmemCache("typesafe-fork", 512, flags=haybarn.SlabFlags.TYPESAFE_BY_RCU)
cache.free_bulk([cache.alloc() for _ in range(2000)])
cache.shrink()
child = os.fork()
cache.free_bulk([cache.alloc() for _ in range(2000)])
cache.destroy()
if child:
    assert os.waitpid(child, 0)[1] == 0
else:
    os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
