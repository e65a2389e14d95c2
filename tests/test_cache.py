"""KmemCache: creation, attributes, the life of a cache, bulk calls, statistics."""

from __future__ import annotations

import gc
import weakref

import pytest

import haybarn
from haybarn import KmemCache, SlabFlags


@pytest.fixture
def cache(request):
    made = KmemCache(f"{request.node.name}-{id(request):x}".translate(str.maketrans(" /", "-.")), 96)
    yield made
    if not repr(made).endswith("destroyed>"):
        made.destroy()


def test_the_issues_example():
    with KmemCache("frame", 1500, align=64, flags=SlabFlags.HWCACHE_ALIGN, sheaf_capacity=0) as cache:
        obj = cache.alloc(zero=True)
        memoryview(obj)[:5] = b"hello"
        assert bytes(obj)[:6] == b"hello\0"
        obj.free()
        batch = cache.alloc_bulk(64)
        cache.free_bulk(batch)
        assert cache.stats()["objects"] == 0
        assert cache.shrink() >= 0
        assert cache.validate() is None


def test_attributes_are_linuxs_numbers():
    cache = KmemCache("attributes", 200, align=32, min_order=1)
    want = haybarn.geometry(200, align=32, min_order=1)
    for name in (
        "object_size",
        "slab_size",
        "align",
        "order",
        "objs_per_slab",
        "min_partial",
        "sheaf_capacity",
        "flags",
    ):
        assert getattr(cache, name) == getattr(want, name), name
    assert cache.name == "attributes"
    assert cache.flags == SlabFlags(0)
    assert isinstance(cache.flags, SlabFlags)
    cache.destroy()


def test_flags_come_back_as_given():
    flags = SlabFlags.HWCACHE_ALIGN | SlabFlags.PANIC | SlabFlags.NO_MERGE
    cache = KmemCache("flags", 64, flags=flags)
    assert cache.flags == flags
    cache.destroy()


def test_attributes_are_read_only(cache):
    with pytest.raises(AttributeError):
        cache.name = "other"
    with pytest.raises(AttributeError):
        cache.colour = "red"


def test_all_after_size_is_by_keyword():
    with pytest.raises(TypeError):
        KmemCache("positional", 64, 8)


def test_classes_are_final():
    with pytest.raises(TypeError):
        type("Mine", (KmemCache,), {})


@pytest.mark.parametrize("size", [1, 7, 8, 96, 1500, 4096, 20000, 1 << 20, 4 << 20])
def test_every_size_holds_its_bytes(size):
    with KmemCache(f"size-{size}", size) as cache:
        batch = cache.alloc_bulk(3)
        for i, obj in enumerate(batch):
            memoryview(obj)[:] = bytes([i + 1]) * size
        assert [bytes(obj) == bytes([i + 1]) * size for i, obj in enumerate(batch)] == [True] * 3
        assert all(obj.address % cache.align == 0 for obj in batch)
        cache.free_bulk(batch)


def test_zero_means_zero(cache):
    for _ in range(200):
        obj = cache.alloc()
        memoryview(obj)[:] = b"\xff" * 96
        obj.free()
        assert bytes(cache.alloc(zero=True)) == bytes(96)
    for obj in cache.alloc_bulk(200, zero=True):
        assert bytes(obj) == bytes(96)


def test_objects_do_not_overlap(cache):
    batch = cache.alloc_bulk(500)
    addresses = sorted(obj.address for obj in batch)
    assert min(b - a for a, b in zip(addresses, addresses[1:], strict=False)) >= 96


def test_free_through_the_cache(cache):
    obj = cache.alloc()
    assert cache.free(obj) is None
    assert obj.freed


def test_bulk_is_a_list(cache):
    assert cache.alloc_bulk(0) == []
    batch = cache.alloc_bulk(1000)
    assert type(batch) is list
    assert len(batch) == 1000
    assert cache.stats()["objects"] == 1000
    cache.free_bulk(tuple(batch))
    assert cache.stats()["objects"] == 0
    assert all(obj.freed for obj in batch)
    cache.free_bulk([])


@pytest.mark.parametrize("bad", ["freed", "twice", "in use", "other cache", "no object"])
def test_bulk_free_is_all_or_nothing(cache, bad):
    other = KmemCache(f"other-{bad.replace(' ', '-')}", 96)
    batch = cache.alloc_bulk(10)
    if bad == "freed":
        batch[7].free()
        error: type[Exception] = haybarn.DoubleFreeError
    elif bad == "twice":
        batch.append(batch[2])
        error = haybarn.DoubleFreeError
    elif bad == "in use":
        view = memoryview(batch[7])
        error = haybarn.ObjectInUseError
    elif bad == "other cache":
        batch[7] = other.alloc()
        error = haybarn.WrongCacheError
    else:
        batch[7] = b"no object"
        error = TypeError
    before = cache.stats()["objects"]
    with pytest.raises(error):
        cache.free_bulk(batch)
    assert cache.stats()["objects"] == before
    assert [i for i, obj in enumerate(batch) if getattr(obj, "freed", False)] == ([7] if bad == "freed" else [])
    if bad == "in use":
        view.release()
    del batch[7]
    cache.free_bulk(batch[:9] if bad == "twice" else batch)
    if bad == "twice":
        assert cache.stats()["objects"] == 0


def test_statistics_have_every_counter_and_the_sums(cache):
    stats = cache.stats()
    for name in ("alloc_fastpath", "free_fastpath", "sheaf_refill", "barn_get", "barn_put", "drain", "alloc_slab"):
        assert stats[name] >= 0
    batch = cache.alloc_bulk(300)
    stats = cache.stats()
    assert stats["objects"] == 300
    assert stats["total_objects"] == stats["slabs"] * cache.objs_per_slab
    assert stats["total_objects"] >= 300
    assert stats["alloc_slab"] == stats["slabs"]
    assert stats["partial"] <= stats["slabs"]
    cache.free_bulk(batch)


def test_hits_are_counted_unless_told_not_to():
    counted, not_counted = (
        KmemCache("counted", 64, flags=SlabFlags.NO_MERGE),
        KmemCache("uncounted", 64, count_hits=False),
    )
    for cache in (counted, not_counted):
        for _ in range(1000):
            cache.alloc().free()
    stats = counted.stats()
    # One pair in a long while meets a migration and counts twice; see the design's section on counting.
    assert 1000 <= stats["alloc_fastpath"] + stats["alloc_slowpath"] <= 1010
    assert 1000 <= stats["free_fastpath"] + stats["free_slowpath"] <= 1010
    if haybarn.info()["backend"] == "rseq":
        assert not_counted.stats()["alloc_fastpath"] < 1000
    counted.destroy()
    not_counted.destroy()


def test_shrink_gives_slabs_back(cache):
    batch = cache.alloc_bulk(5000)
    slabs = cache.stats()["slabs"]
    cache.free_bulk(batch)
    del batch
    assert cache.shrink() > 0
    assert cache.stats()["slabs"] < slabs
    assert cache.stats()["slabs"] == 0
    cache.validate()


def test_destroy_is_strict():
    cache = KmemCache("strict", 64)
    obj = cache.alloc()
    with pytest.raises(haybarn.CacheBusyError, match="strict"):
        cache.destroy()
    other = cache.alloc()
    other.free()
    obj.free()
    cache.destroy()
    for use in (cache.alloc, cache.stats, cache.shrink, cache.validate, cache.destroy, lambda: cache.alloc_bulk(1)):
        with pytest.raises(haybarn.CacheDestroyedError, match="strict"):
            use()
    with pytest.raises(haybarn.CacheDestroyedError), cache:
        pass
    assert cache.name == "strict"
    assert cache.object_size == 64
    with pytest.raises(haybarn.DoubleFreeError):
        obj.free()


def test_with_destroys():
    with KmemCache("with", 64) as cache:
        cache.alloc().free()
    assert repr(cache).endswith("destroyed>")
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.alloc()
    KmemCache("with", 64).destroy()


def test_with_after_destroy_in_the_body_is_silent():
    with KmemCache("destroyed-inside", 64) as cache:
        cache.destroy()


def test_leaving_with_live_objects_warns_and_closes():
    with pytest.warns(ResourceWarning, match="'left'.* 2 live"), KmemCache("left", 64) as cache:
        first, second = cache.alloc(), cache.alloc()
    with pytest.raises(haybarn.CacheDestroyedError, match="closed"):
        cache.alloc()
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.alloc_bulk(1)
    assert cache.stats()["objects"] == 2
    memoryview(first)[:2] = b"ok"
    assert "left" in haybarn.caches()
    first.free()
    assert "left" in haybarn.caches()
    second.free()
    assert "left" not in haybarn.caches()
    with pytest.raises(haybarn.CacheDestroyedError, match="destroyed"):
        cache.stats()
    KmemCache("left", 64).destroy()


@pytest.mark.parametrize("how", ["drop", "bulk"])
def test_a_closed_cache_goes_with_its_last_of_many(how):
    with pytest.warns(ResourceWarning), KmemCache(f"many-{how}", 64) as cache:
        batch = cache.alloc_bulk(1000)
    if how == "bulk":
        cache.free_bulk(batch[:999])
        assert f"many-{how}" in haybarn.caches()
        cache.free_bulk(batch[999:])
    else:
        del batch
    assert f"many-{how}" not in haybarn.caches()


def test_the_warning_as_an_error_leaves_the_cache_closed():
    cache = KmemCache("warned", 64)
    obj = None
    with pytest.raises(ResourceWarning), cache:  # filterwarnings = error
        obj = cache.alloc()
    obj.free()
    assert "warned" not in haybarn.caches()


def test_an_exception_in_the_body_goes_through():
    with pytest.raises(KeyError), KmemCache("raises", 64):
        raise KeyError("mine")


def test_an_object_keeps_its_cache_alive():
    cache = KmemCache("kept", 64)
    obj = cache.alloc()
    seen = weakref.ref(cache)
    del cache
    gc.collect()
    assert obj.cache is seen()
    assert "kept" in haybarn.caches()
    del obj
    gc.collect()
    assert seen() is None
    assert "kept" not in haybarn.caches()
    KmemCache("kept", 64).destroy()


def test_dropping_everything_at_once_destroys():
    batch = KmemCache("dropped", 64).alloc_bulk(100)
    assert "dropped" in haybarn.caches()
    del batch
    gc.collect()
    assert "dropped" not in haybarn.caches()


def test_caches_and_stats_by_name():
    first, second = KmemCache("first", 64), KmemCache("second", 64)
    obj = second.alloc()
    assert haybarn.caches()["first"] is first
    names = list(haybarn.caches())
    assert names.index("first") < names.index("second")
    assert haybarn.stats()["second"]["objects"] == 1
    assert haybarn.stats()["first"].keys() == first.stats().keys()
    obj.free()
    first.destroy()
    second.destroy()
    assert not {"first", "second"} & haybarn.stats().keys()


def test_many_short_lived_caches():
    for i in range(300):
        with KmemCache("short-lived", 64 + i) as cache:
            cache.free_bulk(cache.alloc_bulk(10))


def test_a_cache_in_memory_order_of_its_objects_dies_in_any_order():
    cache = KmemCache("any-order", 64)
    batch = cache.alloc_bulk(10)
    ring: list[object] = [cache, *batch]
    ring.append(ring)
    del cache, batch, ring
    gc.collect()
    assert "any-order" not in haybarn.caches()
