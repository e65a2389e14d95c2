"""free_rcu: an object is reused after its grace period and after its last view, whatever happens to it meanwhile."""

from __future__ import annotations

import gc
import threading
import time
from contextlib import nullcontext

import pytest

import haybarn
from haybarn import KmemCache, fault_inject, rcu


@pytest.fixture(params=["obj.free_rcu", "cache.free_rcu"])
def free_rcu(request):
    if request.param == "obj.free_rcu":
        return lambda obj: obj.free_rcu()
    return lambda obj: obj.cache.free_rcu(obj)


def addresses(cache, count):
    """Where the next objects are; a set of integers."""
    batch = cache.alloc_bulk(count)
    found = {obj.address for obj in batch}
    cache.free_bulk(batch)
    return found


def test_it_counts_as_freed_at_once(free_rcu):
    cache = KmemCache("at-once", 64)
    obj = cache.alloc()
    free_rcu(obj)
    assert obj.freed
    assert "freed" in repr(obj)
    assert len(obj) == obj.nbytes == 64
    assert obj.cache is cache
    for use in (memoryview, bytes, lambda obj: obj.address, lambda obj: obj.payload, lambda obj: obj.__enter__()):
        with pytest.raises(haybarn.UseAfterFreeError):
            use(obj)
    for again in (free_rcu, lambda obj: obj.free(), cache.free, lambda obj: cache.free_bulk([obj])):
        with pytest.raises(haybarn.DoubleFreeError):
            again(obj)
    cache.destroy()


def test_free_then_free_rcu(free_rcu):
    cache = KmemCache("twice", 64)
    obj = cache.alloc()
    obj.free()
    with pytest.raises(haybarn.DoubleFreeError):
        free_rcu(obj)
    cache.destroy()


def test_with_is_silent_after_free_rcu():
    cache = KmemCache("with", 64)
    with cache.alloc() as obj:
        obj.free_rcu()
    assert obj.freed
    cache.destroy()


def test_wrong_arguments():
    cache, other = KmemCache("right", 64), KmemCache("wrong", 64)
    obj = cache.alloc()
    with pytest.raises(haybarn.WrongCacheError, match="belongs to cache 'right'"):
        other.free_rcu(obj)
    for wrong in (None, 1, b"", object()):
        with pytest.raises(TypeError, match="SlabObject"):
            cache.free_rcu(wrong)
    obj.free()
    cache.destroy()
    other.destroy()
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.rcu_barrier()


def test_reuse_waits_for_the_readers(reader):
    cache = KmemCache("readers", 64, sheaf_capacity=32)
    with reader():
        freed = set()
        for obj in cache.alloc_bulk(500):
            freed.add(obj.address)
            obj.free_rcu()
        stats = cache.stats()
        assert (stats["objects"], stats["rcu_pending"], stats["freed"]) == (0, 500, 500)
        assert not freed & addresses(cache, 2000)
    cache.rcu_barrier()
    assert cache.stats()["objects"] == cache.stats()["rcu_pending"] == 0
    assert freed & addresses(cache, 2000)
    cache.destroy()


def test_reuse_waits_for_the_last_view(free_rcu):
    cache = KmemCache("views", 64)
    obj = cache.alloc(zero=True)
    where, first = obj.address, memoryview(obj)
    second = memoryview(obj)
    first[:5] = b"hello"
    free_rcu(obj)
    with pytest.raises(haybarn.UseAfterFreeError):
        memoryview(obj)
    with pytest.raises(haybarn.DoubleFreeError):
        obj.free()
    del obj
    cache.rcu_barrier()
    rcu.synchronize()
    assert where not in addresses(cache, 2000)
    assert cache.stats()["objects"] == 1
    with pytest.raises(haybarn.CacheBusyError):
        cache.destroy()
    first.release()
    assert bytes(second[:5]) == b"hello"
    second[:5] = b"still"
    second.release()
    cache.rcu_barrier()
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_the_last_view_may_go_inside_a_section_and_on_another_thread(reader):
    cache = KmemCache("last-view", 64)
    obj = cache.alloc()
    where, view = obj.address, memoryview(obj)
    obj.free_rcu()
    with reader():
        with rcu.read_lock():
            thread = threading.Thread(target=view.release)
            thread.start()
            thread.join()
        assert cache.stats()["rcu_pending"] == 1
        assert where not in addresses(cache, 500)
    cache.destroy()


def test_a_dropped_wrapper_frees_nothing_twice():
    cache = KmemCache("dropped", 64)
    for _ in range(3):
        for obj in cache.alloc_bulk(1000):
            obj.free_rcu()
    del obj
    gc.collect()
    cache.rcu_barrier()
    stats = cache.stats()
    assert stats["objects"] == 0
    cache.validate()
    cache.destroy()


def test_the_counters_add_up():
    cache = KmemCache("counted", 64)
    for obj in cache.alloc_bulk(100):
        obj.free()
    for obj in cache.alloc_bulk(1000):
        obj.free_rcu()
    cache.rcu_barrier()
    stats = cache.stats()
    allocated = stats["alloc_fastpath"] + stats["alloc_slowpath"]
    freed = stats["free_fastpath"] + stats["free_slowpath"]
    given = stats["free_rcu_sheaf"] + stats["free_rcu_sheaf_fail"]
    assert (allocated, freed, given) == (1100, 100, 1000)
    assert stats["free_rcu_done"] == 1000
    cache.destroy()


def test_threads_see_no_reuse_under_their_readers(in_threads):
    """Slots of a table hold objects; who replaces one frees it by free_rcu. A reader must find each as it was."""
    cache = KmemCache("oracle", 64)
    table = []
    for n in range(16):
        obj = cache.alloc(zero=True)
        memoryview(obj)[0] = n
        table.append(obj)
    seen = []

    def body(index):
        for round_ in range(600):
            at = (index * 7 + round_) % 16
            if index < 4:
                # A view alone keeps the memory; inside a section it is looked at by both rules.
                with rcu.read_lock() if index < 2 else nullcontext():
                    try:
                        with memoryview(table[at]) as view:
                            for _ in range(3):
                                if view[0] != at:
                                    seen.append((at, view[0]))
                                time.sleep(0)  # let a writer come
                    except haybarn.UseAfterFreeError:
                        continue
            else:
                new = cache.alloc()
                with memoryview(new) as view:
                    view[0] = at
                old, table[at] = table[at], new
                try:
                    old.free_rcu()
                except haybarn.DoubleFreeError:
                    pass  # another writer took the same one out
                if round_ % 4 == 0:
                    cache.rcu_barrier()
                for scratch in cache.alloc_bulk(100):
                    with memoryview(scratch) as view:
                        view[0] = 255
                    scratch.free()

    in_threads(body)
    assert seen == []
    while table:
        obj = table.pop()
        if not obj.freed:
            obj.free_rcu()
    cache.rcu_barrier()
    assert cache.stats()["objects"] == 0
    cache.validate()
    cache.destroy()


def test_threads_that_free_one_object_agree(in_threads):
    cache = KmemCache("agreed", 64)
    shared = cache.alloc_bulk(1000)
    views = [memoryview(obj) if at % 3 == 0 else None for at, obj in enumerate(shared)]
    wins = [0] * 8

    def body(index):
        for at, obj in enumerate(shared):
            try:
                if (index + at) % 2:
                    obj.free_rcu()
                else:
                    cache.free_rcu(obj)
                wins[index] += 1
            except haybarn.DoubleFreeError:
                pass
            if index == at % 8 and views[at] is not None:
                views[at].release()

    in_threads(body)
    assert sum(wins) == 1000
    cache.rcu_barrier()
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_without_memory_for_batching():
    """Outside of a section a free waits; inside, it is an error and the object is as it was."""
    cache = KmemCache("scarce", 64)
    objects = cache.alloc_bulk(400)
    with fault_inject.fail_page_alloc(this_thread=True) as fault:
        for obj in objects[:200]:
            obj.free_rcu()
        refused = 0
        with rcu.read_lock():
            for obj in objects[200:]:
                try:
                    obj.free_rcu()
                except haybarn.ReadSectionError:
                    refused += 1
                    assert not obj.freed
                    memoryview(obj).release()
    assert fault.fired > 0
    assert refused > 0
    cache.rcu_barrier()
    assert cache.stats()["objects"] == refused
    for obj in objects:
        if not obj.freed:
            obj.free_rcu()
    cache.destroy()


def test_the_last_view_without_memory_for_batching():
    """Nothing can be raised where a view is released: the object is parked, and handed over later."""
    cache = KmemCache("parked", 64)
    objects = cache.alloc_bulk(400)
    views = [memoryview(obj) for obj in objects]
    for obj in objects:
        obj.free_rcu()
    with fault_inject.fail_page_alloc(this_thread=True) as fault, rcu.read_lock():
        for view in views:
            view.release()
        stats = cache.stats()
        assert stats["objects"] == 400
        assert stats["rcu_pending"] < 400, "some are parked"
    assert fault.fired > 0
    del objects, obj
    gc.collect()
    cache.rcu_barrier()
    assert cache.stats()["objects"] == 0
    cache.validate()
    cache.destroy()


def test_bounded_memory_when_freeing_at_full_speed():
    cache = KmemCache("full-speed", 256)
    for _ in range(60):
        for obj in cache.alloc_bulk(2000):
            obj.free_rcu()
    del obj
    assert cache.stats()["rcu_pending"] < 60_000
    cache.destroy()


def test_a_refusal_for_want_of_memory_names_the_cache():
    cache = KmemCache("scarce-names", 64)
    obj = cache.alloc()
    refused = pytest.raises(haybarn.ReadSectionError, match="cache 'scarce-names'")
    with fault_inject.fail_page_alloc(probability=1.0), rcu.read_lock(), refused:
        obj.free_rcu()
    obj.free()
    cache.destroy()
