"""haybarn.fault_inject: memory that runs out on demand, and what must hold when it does."""

from __future__ import annotations

import gc
import itertools
import os
import threading

import pytest

import haybarn
from haybarn import BadArgumentError, KmemCache, OutOfMemoryError, SlabFlags, fault_inject
from haybarn.fault_inject import fail_page_alloc, fail_slab

NUMBERS = itertools.count()
# Wrappers that the binding keeps for reuse, and some.
MANY = 1000


@pytest.fixture
def cache():
    """A cache with slabs of its own, which must be whole and empty at the end."""
    cache = KmemCache(f"fault-{next(NUMBERS)}", 64, flags=SlabFlags.NO_MERGE)
    yield cache
    assert fault_inject.active_faults() == []
    cache.validate()
    assert cache.stats()["objects"] == 0
    cache.destroy()


def outcomes(cache, n):
    """Which of n allocations are refused."""
    refused = []
    for i in range(n):
        try:
            cache.alloc().free()
        except OutOfMemoryError:
            refused.append(i)
    return refused


def test_warm_sheaves_serve_while_pages_fail_and_nothing_serves_while_objects_fail(cache):
    cache.alloc().free()
    with fail_page_alloc():
        assert outcomes(cache, 20) == []
    with fail_slab(cache) as fault:
        assert outcomes(cache, 20) == list(range(20))
        assert fault.fired == 20
    assert outcomes(cache, 20) == []


def test_pages_that_fail_are_memory_that_is_out(cache):
    with fail_page_alloc() as fault, pytest.raises(OutOfMemoryError, match=cache.name) as caught:
        cache.alloc()
    assert isinstance(caught.value, MemoryError)
    assert fault.fired >= 1
    assert cache.stats()["slabs"] == 0
    cache.alloc().free()


def test_what_was_live_stays_and_can_be_freed_while_all_fails(cache):
    held = cache.alloc_bulk(200, zero=True)
    memoryview(held[0])[:4] = b"mine"
    with fail_page_alloc(), fail_slab():
        assert bytes(held[0])[:4] == b"mine"
        cache.free_bulk(held[1:])
        held[0].free()
        cache.shrink()
        cache.validate()
        assert cache.stats()["objects"] == 0
        with pytest.raises(OutOfMemoryError):
            cache.alloc()


def test_wrappers_fail_with_their_cache_named(cache):
    held = [cache.alloc() for _ in range(MANY)]
    before = cache.stats()["objects"]
    with fail_page_alloc() as fault:
        with pytest.raises(OutOfMemoryError, match=cache.name):
            cache.alloc()
        assert fault.fired == 1
        with pytest.raises(OutOfMemoryError, match=cache.name):
            cache.alloc_bulk(1)
    assert cache.stats()["objects"] == before
    cache.free_bulk(held)


def test_a_bulk_that_runs_out_of_wrappers_half_way_gives_everything_back(cache):
    held = [cache.alloc() for _ in range(MANY)]
    warm = cache.alloc_bulk(50)
    cache.free_bulk(warm)
    stats = cache.stats()
    size = 10_000
    with fail_page_alloc(space=size) as fault, pytest.raises(OutOfMemoryError):
        cache.alloc_bulk(size)
    assert fault.fired >= 1
    assert cache.stats()["objects"] == stats["objects"] == MANY
    cache.free_bulk(held)
    del warm


@pytest.mark.parametrize("fail", [fail_page_alloc, fail_slab])
def test_bulk_is_all_or_nothing(cache, fail):
    held = cache.alloc_bulk(10)
    with fail(), pytest.raises(OutOfMemoryError):
        cache.alloc_bulk(100_000)
    stats = cache.stats()
    assert stats["objects"] == 10
    assert stats["alloc_fastpath"] + stats["alloc_slowpath"] == 10
    assert stats["free_fastpath"] + stats["free_slowpath"] == 0
    cache.free_bulk(held)


def test_a_cache_that_cannot_be_made_leaves_nothing():
    before = haybarn.caches().keys()
    name = f"fault-{next(NUMBERS)}"
    with fail_page_alloc(), pytest.raises(OutOfMemoryError, match=name):
        KmemCache(name, 128)
    assert haybarn.caches().keys() == before
    used = haybarn.info()["metadata_bytes"]
    for at in range(12):
        with fail_page_alloc(interval=at + 1, times=1):
            try:
                KmemCache(name, 128).destroy()
            except OutOfMemoryError:
                assert name not in haybarn.caches()
    assert haybarn.info()["metadata_bytes"] - used < 1 << 20
    KmemCache(name, 128).destroy()


def test_probability_0_and_1_and_between(cache):
    with fail_slab(cache, 0.0) as fault:
        assert outcomes(cache, 500) == []
    assert fault.fired == 0
    n, p = 4000, 0.3
    with fail_slab(cache, probability=p) as fault:
        refused = len(outcomes(cache, n))
    assert refused == fault.fired
    assert abs(refused - n * p) < 6 * (n * p * (1 - p)) ** 0.5


def test_interval_times_and_space(cache):
    with fail_slab(cache, interval=3):
        assert outcomes(cache, 10) == [2, 5, 8]
    with fail_slab(cache, times=2):
        assert outcomes(cache, 10) == [0, 1]
    with fail_slab(cache, times=0):
        assert outcomes(cache, 10) == []
    with fail_slab(cache, space=5 * 64):
        assert outcomes(cache, 8) == [4, 5, 6, 7]
    with fail_slab(cache, interval=2, times=2, space=129):
        assert outcomes(cache, 12) == [3, 5]


def test_one_cache_or_all(cache):
    other = KmemCache(f"fault-{next(NUMBERS)}", 64)
    with fail_slab(cache):
        assert outcomes(other, 3) == []
        assert outcomes(cache, 3) == [0, 1, 2]
    with fail_slab() as fault:
        assert outcomes(other, 3) == outcomes(cache, 3) == [0, 1, 2]
        with KmemCache(f"fault-{next(NUMBERS)}", 32) as born_meanwhile:
            assert outcomes(born_meanwhile, 3) == [0, 1, 2]
        assert fault.fired == 9
    assert outcomes(other, 3) == outcomes(cache, 3) == []
    other.destroy()


def test_a_cache_of_huge_objects_fails_too():
    with KmemCache("fault-huge", 1_000_000) as cache:
        with fail_slab(cache):
            assert outcomes(cache, 2) == [0, 1]
        assert outcomes(cache, 2) == []


def test_nested_and_overlapping_blocks(cache):
    with fail_slab(cache, interval=2) as second:
        with fail_slab(cache, interval=3) as third:
            assert outcomes(cache, 6) == [1, 2, 3, 5]
        assert (second.fired, third.fired) == (3, 2)
        assert outcomes(cache, 2) == [1]
    assert second.fired == 4
    first, last = fail_slab(cache), fail_slab()
    first.__enter__()
    last.__enter__()
    first.__exit__(None, None, None)
    assert outcomes(cache, 2) == [0, 1]
    last.__exit__(None, None, None)
    assert outcomes(cache, 2) == []


def test_the_block_ends_it_however_it_is_left(cache):
    fault = fail_slab(cache)
    with pytest.raises(ZeroDivisionError), fault:
        _ = 1 / (1 - fault.active)
    assert not fault.active
    assert outcomes(cache, 3) == []
    fault.__exit__(None, None, None)  # once more is nothing
    with fault:
        assert outcomes(cache, 2) == [0, 1]
        with pytest.raises(RuntimeError, match="on already"):
            fault.__enter__()
        assert outcomes(cache, 1) == [0]
    assert fault.fired == 3
    forgotten = fail_slab(cache)
    forgotten.__enter__()
    del forgotten
    gc.collect()
    assert outcomes(cache, 3) == []


def test_this_thread(cache):
    refused = {}

    def other():
        refused["other"] = outcomes(cache, 5)

    with fail_slab(cache, this_thread=True), fail_page_alloc(this_thread=True):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        refused["this"] = outcomes(cache, 5)
    assert refused == {"other": [], "this": [0, 1, 2, 3, 4]}


def test_threads_start_and_end_faults_while_others_allocate(cache, in_threads):
    seen = []

    def body(index):
        if index % 2:
            for round_ in range(40):
                with fail_slab(cache, 0.5) if round_ % 2 else fail_slab(probability=0.5) as fault:
                    outcomes(cache, 20)
                seen.append(fault.fired)
        else:
            for _ in range(40):
                held = []
                for _ in range(100):
                    try:
                        held.append(cache.alloc())
                    except OutOfMemoryError:
                        seen.append(0)
                for obj in held:
                    obj.free()

    in_threads(body, 6)
    assert sum(seen) > 0
    assert outcomes(cache, 100) == []


def test_a_cache_may_end_while_a_fault_is_about_it():
    name = f"fault-{next(NUMBERS)}"
    gone = KmemCache(name, 64)
    with fail_slab(gone):
        gone.destroy()
        assert fault_inject.active_faults() == []
        # In the same memory, and no business of that fault.
        again = KmemCache(name, 64)
        assert outcomes(again, 3) == []
    again.destroy()
    with pytest.raises(haybarn.CacheDestroyedError), fail_slab(gone):
        pass
    with fail_slab():
        KmemCache(name, 64).destroy()
    KmemCache(name, 64).destroy()


def test_a_busy_cache_stays_as_it_was(cache):
    held = cache.alloc()
    with fail_slab(cache):
        with pytest.raises(haybarn.CacheBusyError):
            cache.destroy()
        assert outcomes(cache, 2) == [0, 1]
    assert outcomes(cache, 2) == []
    held.free()


BAD = [
    ({"probability": 1.5}, "probability = 1.5 is not legal: 0 to 1"),
    ({"probability": -0.1}, "probability = -0.1 is not legal: 0 to 1"),
    ({"probability": float("nan")}, "probability = NaN is not legal: 0 to 1"),
    ({"probability": 10**400}, "probability = a huge number is not legal: 0 to 1"),
    ({"interval": 0}, "interval = 0 is not legal: 1 or more"),
    ({"interval": -3}, "interval = -3 is not legal: 1 to"),
    ({"times": -1}, "times = -1 is not legal: None, or 0 to"),
    ({"times": 2**64 - 1}, "times = 18446744073709551615 is not legal: 0 to"),
    ({"space": -5}, "space = -5 is not legal: 0 to 18446744073709551615 bytes"),
    ({"space": 2**64}, "space = 18446744073709551616 is not legal: 0 to"),
]


@pytest.mark.parametrize("fail", [fail_page_alloc, fail_slab])
@pytest.mark.parametrize(("arguments", "text"), BAD)
def test_bad_values_name_the_argument_and_its_range(fail, arguments, text):
    with pytest.raises(BadArgumentError) as caught:
        fail(**arguments)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [{"probability": "1"}, {"interval": 1.5}, {"times": "2"}, {"space": None}, {"this_thread": 1}]
)
def test_wrong_types(arguments):
    with pytest.raises(TypeError) as caught:
        fail_page_alloc(**arguments)
    (name,) = arguments
    assert name in " ".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    with pytest.raises(TypeError):
        fail_slab("a cache")


def test_active_faults_are_shown(cache):
    assert haybarn.info()["fault_injection"] == []
    with fail_slab(cache, 0.25, interval=2, times=3, space=10**6, this_thread=True), fail_page_alloc(0.0):
        shown = fault_inject.active_faults()
        assert shown == haybarn.info()["fault_injection"]
        assert sorted(shown) == [
            "fail_page_alloc: probability 0, interval 1, space 0, times without end, fired 0",
            f"fail_slab of cache '{cache.name}': probability 0.25, interval 2, space 1000000, times 3, one thread, "
            "fired 0",
        ]
        assert repr(fail_slab(cache, 0.25)) == (
            f'<fail_slab(cache="{cache.name}", probability=0.25, interval=1, times=None, space=0, this_thread=False)>'
        )


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_has_the_fault_until_its_block_ends(cache):
    with fail_slab(cache) as fault:
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                inside = outcomes(cache, 3)
                fault.__exit__(None, None, None)
                code = 0 if (inside, outcomes(cache, 3)) == ([0, 1, 2], []) else 2
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert outcomes(cache, 3) == [0, 1, 2]
        assert fault.fired == 3
