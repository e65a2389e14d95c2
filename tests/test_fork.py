"""fork with live caches: parent and child go on, each with memory of its own."""

from __future__ import annotations

import os
import threading
import traceback

import pytest

import haybarn
from haybarn import KmemCache

# CPython warns of forks while threads run; here they are the point.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def in_child(body):
    """Runs body in a forked child and checks that it came through."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def use(cache, count=2000):
    """Everything that a cache can do."""
    batch = cache.alloc_bulk(count)
    for i, obj in enumerate(batch):
        with memoryview(obj) as view:
            view[:8] = i.to_bytes(8, "little")
    assert [int.from_bytes(bytes(obj)[:8], "little") for obj in batch] == list(range(count))
    cache.free_bulk(batch)
    cache.shrink()
    cache.validate()


def test_live_caches_go_on_in_parent_and_child():
    cache = KmemCache("forked", 64)
    kept = cache.alloc(zero=True)
    memoryview(kept)[:6] = b"parent"

    def body():
        assert bytes(kept)[:6] == b"parent"
        memoryview(kept)[:6] = b"child!"
        use(cache)
        with KmemCache("born-in-the-child", 128) as own:
            use(own)
        kept.free()
        assert cache.stats()["objects"] == 0
        cache.destroy()
        KmemCache("forked", 64).destroy()

    in_child(body)
    assert bytes(kept)[:6] == b"parent"
    use(cache)
    assert cache.stats()["objects"] == 1
    kept.free()
    cache.destroy()


def test_grandchildren():
    cache = KmemCache("grand", 64)
    obj = cache.alloc()

    def body():
        use(cache)
        in_child(lambda: (use(cache), obj.free(), cache.destroy()))
        obj.free()
        cache.destroy()

    in_child(body)
    obj.free()
    cache.destroy()


def test_fork_while_threads_are_inside():
    """Threads that vanish with the fork leave nothing locked: not their sheaves, not the gate of the cache."""
    cache = KmemCache("busy-fork", 256)
    stop = threading.Event()

    def churn(index):
        while not stop.is_set():
            batch = cache.alloc_bulk(1500)
            cache.free_bulk(batch)
            if index == 0:
                cache.shrink()
            try:
                cache.destroy()
            except haybarn.CacheBusyError:
                pass

    kept = cache.alloc()  # so that no destroy succeeds
    threads = [threading.Thread(target=churn, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()

    def body():
        use(cache, 200)
        with pytest.raises(haybarn.CacheBusyError):
            cache.destroy()
        kept.free()
        with KmemCache("busy-fork-child", 64) as own:
            use(own, 200)

    try:
        for _ in range(15):
            in_child(body)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    kept.free()
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_the_closing_of_a_cache_survives_a_fork():
    with pytest.warns(ResourceWarning), KmemCache("closed-fork", 64) as cache:
        obj = cache.alloc()

    def body():
        with pytest.raises(haybarn.CacheDestroyedError):
            cache.alloc()
        obj.free()
        assert "closed-fork" not in haybarn.caches()

    in_child(body)
    assert "closed-fork" in haybarn.caches()
    obj.free()
    assert "closed-fork" not in haybarn.caches()
