"""Prefilled sheaves from Python: the guarantee, the life of a sheaf, what a cache says while one is out."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator

import pytest

import haybarn
from haybarn import BadArgumentError, KmemCache, SheafEmptyError, UseAfterFreeError, fault_inject

OUT = ("sheaf_prefill_fast", "sheaf_prefill_slow", "sheaf_prefill_oversize")
BACK = ("sheaf_return_fast", "sheaf_return_slow", "sheaf_return_oversize")


@pytest.fixture
def cache() -> Iterator[KmemCache]:
    cache = KmemCache("prefilled", 64)
    yield cache
    gc.collect()
    cache.destroy()


def books(cache: KmemCache, live: int) -> None:
    """The conservation identities of a quiet cache."""
    found = cache.stats()
    out, back = (sum(found[name] for name in names) for names in (OUT, BACK))
    assert found["prefilled"] == out - back
    gone = found["alloc_prefilled"] + found["sheaf_return_objects"]
    assert found["in_prefilled"] == found["sheaf_prefill_objects"] - gone
    allocated = found["alloc_fastpath"] + found["alloc_slowpath"] + found["alloc_prefilled"]
    assert allocated - found["free_fastpath"] - found["free_slowpath"] == live == found["objects"]


def test_objects_of_a_sheaf_are_ordinary_ones(cache):
    with cache.prefill(32) as sheaf:
        before = len(sheaf)
        assert before >= 32
        obj = sheaf.alloc()
        assert len(sheaf) == before - 1
        assert type(obj) is haybarn.SlabObject
        assert obj.cache is cache is sheaf.cache
        memoryview(obj)[:5] = b"hello"
        books(cache, 1)
    # It outlives the sheaf, and is freed like any other.
    assert bytes(memoryview(obj)[:5]) == b"hello"
    books(cache, 1)
    cache.free(obj)
    with pytest.raises(haybarn.DoubleFreeError):
        obj.free()
    books(cache, 0)


def test_an_empty_sheaf_is_an_index_error(cache):
    with cache.prefill(1) as sheaf:
        taken = [sheaf.alloc() for _ in range(len(sheaf))]
        with pytest.raises(
            SheafEmptyError, match="cache 'prefilled': the prefilled sheaf is empty: refill it"
        ) as caught:
            sheaf.alloc()
        assert isinstance(caught.value, IndexError)
        assert isinstance(caught.value, haybarn.HaybarnError)
        assert len(sheaf) == 0
        assert len({obj.address for obj in taken}) == len(taken)


@pytest.mark.parametrize("n", [1, 32, 60, 61, 500, 3000])
@pytest.mark.parametrize("args", [{}, {"flags": haybarn.SlabFlags.NOLEAKTRACE}, {"count_hits": False}])
def test_n_allocations_succeed_while_every_request_for_memory_fails(n, args):
    cache = KmemCache("guaranteed", 200, **args)
    # Wrappers of freed objects are kept for reuse: use them up, so that only those set aside are left.
    others = KmemCache("others", 64)
    kept = others.alloc_bulk(2000)
    sheaf = cache.prefill(n)
    promised = len(sheaf)
    assert promised >= n
    taken: list[haybarn.SlabObject] = [None] * promised  # type: ignore[list-item]
    with fault_inject.fail_page_alloc(probability=1.0, interval=1, times=None) as memory, fault_inject.fail_slab():
        with pytest.raises(haybarn.OutOfMemoryError):
            cache.alloc()
        with pytest.raises(haybarn.OutOfMemoryError):
            cache.prefill(1)
        with pytest.raises(haybarn.OutOfMemoryError):
            sheaf.refill(promised + 1)
        fired = memory.fired
        for index in range(promised):
            taken[index] = sheaf.alloc(zero=index % 2 == 0)
        assert memory.fired == fired, "taking an object asked for memory"
        with pytest.raises(SheafEmptyError):
            sheaf.alloc()
    assert len({obj.address for obj in taken}) == promised
    assert not any(any(memoryview(obj)) for obj in taken[::2])
    assert cache.stats()["objects"] == promised
    sheaf.give_back()
    del taken
    assert cache.stats()["objects"] == 0
    cache.destroy()
    others.free_bulk(kept)
    others.destroy()


def test_the_interpreter_s_own_memory_may_be_out(cache):
    testing = pytest.importorskip("_testcapi")
    sheaf = cache.prefill(40)
    taken: list[object] = [None] * 40
    alloc, places = sheaf.alloc, iter(list(range(40)))
    testing.set_nomemory(0)
    try:
        for place in places:
            taken[place] = alloc()
    finally:
        testing.remove_mem_hooks()
    assert all(isinstance(obj, haybarn.SlabObject) for obj in taken)
    sheaf.give_back()


def test_a_failed_prefill_or_refill_changes_nothing(cache):
    kept = cache.alloc()
    for fault in (fault_inject.fail_slab(cache), fault_inject.fail_page_alloc()):
        cache.shrink()
        before = cache.stats()
        with fault:
            with pytest.raises(haybarn.OutOfMemoryError, match="cache 'prefilled'") as caught:
                cache.prefill(500)
            assert isinstance(caught.value, MemoryError)
        cache.shrink()
        after = cache.stats()
        for name in (*OUT, *BACK, "objects", "slabs", "total_objects", "prefilled", "in_prefilled"):
            assert after[name] == before[name], name
        books(cache, 1)
    with cache.prefill(200) as sheaf:
        taken = [sheaf.alloc() for _ in range(150)]
        with fault_inject.fail_page_alloc(), pytest.raises(haybarn.OutOfMemoryError):
            sheaf.refill(20000)
        assert len(sheaf) == 50
        books(cache, 151)
        sheaf.refill(1000)
        assert len(sheaf) == sheaf.capacity == 1000
        books(cache, 151)
        taken += [sheaf.alloc() for _ in range(1000)]
        assert len({obj.address for obj in taken}) == 1150
    kept.free()


def test_a_prefill_that_finds_no_wrappers_changes_nothing(cache):
    # The objects are there already; wrappers are not, not even those that are kept for reuse.
    aside = cache.prefill(2000)
    kept = cache.alloc_bulk(600)
    aside.give_back()
    kept += cache.alloc_bulk(600)
    before = cache.stats()
    with fault_inject.fail_page_alloc(space=10 * 48) as memory, pytest.raises(haybarn.OutOfMemoryError):
        cache.prefill(20)
    assert memory.fired == 1
    # No sheaf was out, not even for a moment.
    assert cache.stats() == before
    books(cache, 1200)
    cache.free_bulk(kept)


@pytest.mark.parametrize("n", [1, 20, 300])
def test_a_prefill_that_fails_is_counted_nowhere(cache, n):
    names = [*OUT, *BACK, "sheaf_prefill_objects", "sheaf_return_objects", "objects", "prefilled", "in_sheaves"]
    kept, failures = cache.alloc_bulk(1200), 0
    for interval in range(1, 100):
        before = cache.stats()
        try:
            with fault_inject.fail_page_alloc(interval=interval, times=1):
                sheaf = cache.prefill(n)
        except haybarn.OutOfMemoryError:
            failures += 1
            after = cache.stats()
            assert [after[name] for name in names] == [before[name] for name in names], f"request {interval} failed"
        else:
            # So that the next one finds no wrappers kept for reuse either.
            kept += [sheaf.alloc() for _ in range(len(sheaf))]
            sheaf.give_back()
        cache.shrink()
    assert failures > 20
    cache.free_bulk(kept)


@pytest.mark.parametrize("n", [0, -1, 2**32, 2**70])
def test_n_out_of_range(cache, n):
    with cache.prefill(3) as sheaf:
        for call in (cache.prefill, sheaf.refill):
            with pytest.raises(
                BadArgumentError, match=f"cache 'prefilled': n = {n} is not legal: 1 to 4294967295 objects"
            ):
                call(n)
    with pytest.raises(TypeError, match="n must be an int"):
        cache.prefill("many")
    with pytest.raises(TypeError, match="n must be an int"):
        cache.prefill(1.5)


def test_more_than_the_arena_holds_is_out_of_memory():
    cache = KmemCache("beyond", 4096)
    with pytest.raises(haybarn.OutOfMemoryError):
        cache.prefill(2**32 - 1)
    with cache.prefill(1) as sheaf, pytest.raises(haybarn.OutOfMemoryError):
        sheaf.refill(2**32 - 1)
    cache.destroy()


def test_a_returned_sheaf_refuses_everything(cache):
    with cache.prefill(5) as sheaf:
        assert not sheaf.returned
    assert sheaf.returned
    assert sheaf.cache is cache
    uses: list[Callable[[], object]] = [
        sheaf.alloc,
        lambda: len(sheaf),
        lambda: sheaf.refill(3),
        lambda: sheaf.capacity,
        sheaf.give_back,
        sheaf.__enter__,
    ]
    for use in uses:
        with pytest.raises(UseAfterFreeError, match="cache 'prefilled': the prefilled sheaf has been returned"):
            use()
    assert repr(sheaf) == "<haybarn.PrefilledSheaf of 'prefilled', returned>"
    sheaf.__exit__(None, None, None)
    assert cache.stats()["sheaf_return_fast"] + cache.stats()["sheaf_return_slow"] == 1


def test_a_block_that_fails_or_returned_early_returns_the_sheaf_once(cache):
    with pytest.raises(ZeroDivisionError), cache.prefill(5):
        _ = 1 // 0
    with cache.prefill(5) as sheaf:
        sheaf.give_back()
    books(cache, 0)
    assert cache.stats()["prefilled"] == 0


def test_a_dropped_sheaf_returns_itself(cache):
    sheaf = cache.prefill(100)
    gone = weakref.ref(sheaf)
    obj = sheaf.alloc()
    del sheaf
    gc.collect()
    assert gone() is None
    books(cache, 1)
    assert cache.stats()["prefilled"] == 0
    del obj


def test_a_sheaf_in_a_cycle_is_collected(cache):
    class Node:
        pass

    node = Node()
    node.sheaf, node.self = cache.prefill(3), node  # type: ignore[attr-defined]
    del node
    gc.collect()
    assert cache.stats()["prefilled"] == 0


def test_repr_and_documentation(cache):
    with cache.prefill(7) as sheaf:
        room = sheaf.capacity
        assert repr(sheaf) == f"<haybarn.PrefilledSheaf of 'prefilled', {room} of {room} objects>"
    assert "cannot fail" in haybarn.PrefilledSheaf.__doc__
    for name in ("alloc", "refill", "give_back", "cache", "capacity", "returned"):
        assert getattr(haybarn.PrefilledSheaf, name).__doc__, name
    assert haybarn.KmemCache.prefill.__doc__
    with pytest.raises(TypeError):
        haybarn.PrefilledSheaf()  # type: ignore[call-arg]


def test_destroy_says_that_a_sheaf_is_out():
    cache = KmemCache("busy", 64)
    sheaf = cache.prefill(8)
    with pytest.raises(haybarn.CacheBusyError, match="cache 'busy' still has 1 prefilled sheaf") as caught:
        cache.destroy()
    assert (caught.value.live, caught.value.prefilled, caught.value.objects) == (0, 1, [])
    obj = sheaf.alloc()
    with pytest.raises(haybarn.CacheBusyError, match=r"1 live object\(s\).* and 1 prefilled sheaf") as caught:
        cache.destroy()
    assert (caught.value.live, caught.value.prefilled) == (1, 1)
    assert [address for address, _ in caught.value.objects] == [obj.address]
    assert len(sheaf) > 0
    sheaf.alloc().free()
    obj.free()
    sheaf.give_back()
    cache.destroy()
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.prefill(1)


def test_a_closed_cache_goes_with_its_last_sheaf():
    with (
        pytest.warns(ResourceWarning, match="cache 'left' was left with 1 prefilled sheaf"),
        KmemCache("left", 64) as cache,
    ):
        sheaf = cache.prefill(8)
    # Closed: no new objects, not even those set aside; the sheaf still goes back, and the cache with it.
    for use in (sheaf.alloc, lambda: sheaf.refill(100), lambda: cache.prefill(1)):
        with pytest.raises(haybarn.CacheDestroyedError, match="closed"):
            use()
    assert len(sheaf) >= 8
    assert "left" in haybarn.caches()
    sheaf.give_back()
    assert "left" not in haybarn.caches()


def test_a_closed_cache_waits_for_objects_and_sheaves():
    cache = KmemCache("both", 64)
    sheaves = [cache.prefill(8), cache.prefill(300)]
    obj = sheaves[0].alloc()
    with pytest.warns(ResourceWarning, match="1 live object.* and 2 prefilled"):
        cache.__exit__(None, None, None)
    sheaves.pop().give_back()
    obj.free()
    assert "both" in haybarn.caches()
    del sheaves
    assert "both" not in haybarn.caches()
