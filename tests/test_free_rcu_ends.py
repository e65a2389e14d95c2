"""How a cache ends while objects wait for their grace period, and free_rcu in constructors and destructors."""

from __future__ import annotations

import gc
import threading
import warnings

import pytest

import haybarn
from haybarn import KmemCache, rcu


def test_destroy_waits_for_what_is_pending(reader):
    cache = KmemCache("destroyed", 64)
    destroyed = threading.Event()
    with reader():
        for obj in cache.alloc_bulk(100):
            obj.free_rcu()
        thread = threading.Thread(target=lambda: (cache.destroy(), destroyed.set()))
        thread.start()
        assert not destroyed.wait(0.1)
        cache.alloc().free()  # nobody is kept out meanwhile
    thread.join()
    assert destroyed.is_set()
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.alloc()


def test_waiting_for_frees_inside_a_section_is_an_error():
    cache = KmemCache("in-section", 64)
    obj = cache.alloc()
    with rcu.read_lock():
        obj.free_rcu()
        for wait in (cache.destroy, cache.rcu_barrier):
            with pytest.raises(haybarn.ReadSectionError, match="'in-section'"):
                wait()
        with pytest.raises(haybarn.ReadSectionError, match="'in-section'"), cache:
            pass
        cache.alloc().free()  # it is neither closed nor gone
    cache.destroy()


def test_a_busy_cache_says_so_even_inside_a_section():
    cache = KmemCache("busy", 64)
    obj = cache.alloc()
    with rcu.read_lock(), pytest.raises(haybarn.CacheBusyError):
        cache.destroy()
    obj.free()
    with rcu.read_lock():
        cache.destroy()  # nothing is pending: nothing to wait for


def test_destroy_at_once_from_many_threads(in_threads):
    for _ in range(20):
        cache = KmemCache("raced", 64)
        ended = []

        def body(index, cache=cache, ended=ended):
            for obj in cache.alloc_bulk(40):
                cache.free_rcu(obj)
            obj = None
            while True:
                try:
                    cache.destroy()
                    ended.append(index)
                except haybarn.CacheBusyError:
                    continue  # another thread is between its alloc and its free
                except haybarn.CacheDestroyedError:
                    pass
                return

        def guarded(index, body=body):
            try:
                body(index)
            except haybarn.CacheDestroyedError:
                pass  # before its alloc_bulk

        in_threads(guarded)
        assert len(ended) == 1
        assert "raced" not in haybarn.caches()


def test_a_closed_cache_takes_frees_and_goes_with_the_last():
    with pytest.warns(ResourceWarning, match="2 live"), KmemCache("closed", 64) as cache:
        one, two = cache.alloc_bulk(2)
    one.free_rcu()
    cache.rcu_barrier()
    assert "closed" in haybarn.caches()
    two.free_rcu()
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.alloc()
    rcu.barrier()
    assert "closed" not in haybarn.caches()
    KmemCache("closed", 64).destroy()


@pytest.mark.parametrize("how", ["rcu.barrier", "cache.rcu_barrier", "by itself"])
def test_how_a_closed_cache_ends(how):
    with pytest.warns(ResourceWarning), KmemCache("ends", 64) as cache:
        obj = cache.alloc()
    view = memoryview(obj)
    obj.free_rcu()
    view.release()
    if how == "by itself":
        for _ in range(6000):
            if "ends" not in haybarn.caches():
                break
            threading.Event().wait(0.01)
    elif how == "rcu.barrier":
        rcu.barrier()
    else:
        cache.rcu_barrier()
    assert "ends" not in haybarn.caches()


def test_the_last_of_a_closed_cache_is_freed_while_others_are_pending(reader):
    with pytest.warns(ResourceWarning), KmemCache("mixed", 64) as cache:
        one, two = cache.alloc_bulk(2)
    with reader():
        one.free_rcu()
        two.free()
        assert "mixed" in haybarn.caches()
    rcu.barrier()
    assert "mixed" not in haybarn.caches()


def test_leaving_with_waits_and_does_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with KmemCache("quiet", 64) as cache:
            for obj in cache.alloc_bulk(100):
                obj.free_rcu()
    assert "quiet" not in haybarn.caches()


def test_a_cache_dropped_with_frees_pending(reader):
    """Its memory goes after the grace period, and its name is free again when somebody asks for it."""
    with reader():
        cache = KmemCache("forgotten", 64)
        for obj in cache.alloc_bulk(100):
            obj.free_rcu()
        del cache, obj
        gc.collect()
    KmemCache("forgotten", 64).destroy()


def test_a_dropped_cache_goes_by_itself():
    cache = KmemCache("by-itself", 64)
    cache.alloc().free_rcu()
    del cache
    for _ in range(6000):
        if "by-itself" not in haybarn.slabinfo() and "by-itself" not in haybarn.caches():
            break
        threading.Event().wait(0.01)
    with rcu.read_lock():  # where nothing can be waited for
        KmemCache("by-itself", 64).destroy()


def test_constructed_objects_keep_their_payload_through_free_rcu():
    made = []

    def ctor(obj):
        made.append(obj.address)
        return [len(made)]

    ended = []
    cache = KmemCache("payloads", 64, ctor=ctor, dtor=lambda obj: ended.append(obj.payload))
    objects = cache.alloc_bulk(20)
    payloads = {obj.address: obj.payload for obj in objects}
    for obj in objects:
        obj.free_rcu()
    cache.rcu_barrier()
    again = cache.alloc_bulk(200)
    for obj in again:
        assert payloads.get(obj.address, obj.payload) is obj.payload
    for obj in again:
        obj.free_rcu()
    del objects, again, obj
    cache.destroy()
    assert sorted(ended) == [[n] for n in range(1, len(made) + 1)]


def test_a_constructed_cache_dropped_with_frees_pending(reader):
    ended = []
    with reader():
        cache = KmemCache("dropped-dtor", 64, ctor=lambda obj: object(), dtor=lambda obj: ended.append(1))
        for obj in cache.alloc_bulk(50):
            obj.free_rcu()
        del cache, obj
        assert ended == []
    rcu.barrier()
    assert len(ended) >= 50
    KmemCache("dropped-dtor", 64).destroy()


def test_free_rcu_inside_callbacks():
    other = KmemCache("other", 64)
    spare = other.alloc_bulk(500)

    def ctor(obj):
        spare.pop().free_rcu()

    def dtor(obj):
        spare.pop().free_rcu()
        for wait in (rcu.synchronize, rcu.barrier, other.rcu_barrier):
            with pytest.raises(haybarn.ReentryError):
                wait()

    with KmemCache("calling", 64, ctor=ctor, dtor=dtor) as cache:
        cache.alloc_bulk(10)
    other.free_bulk(spare)
    other.destroy()


def test_type_safe_caches(reader):
    cache = KmemCache("type-safe", 64, flags=haybarn.SlabFlags.TYPESAFE_BY_RCU)
    for obj in cache.alloc_bulk(1000):
        obj.free()
    for obj in cache.alloc_bulk(1000):
        obj.free_rcu()
    del obj
    with rcu.read_lock(), pytest.raises(haybarn.ReadSectionError):
        cache.destroy()
    with reader() as one:
        threading.Timer(0.05, one.leave.set).start()
        cache.destroy()
    cache = KmemCache("type-safe", 64, flags=haybarn.SlabFlags.TYPESAFE_BY_RCU)
    cache.alloc_bulk(100)
    del cache  # in a deallocation, where nobody may wait
    KmemCache("type-safe", 64).destroy()
