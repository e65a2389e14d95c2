"""Caches that share slabs: names with counts and ends of their own over one storage."""

from __future__ import annotations

import gc
import itertools
import random
import subprocess
import sys
import threading
import warnings

import pytest

import haybarn
from haybarn import BadArgumentError, CacheBusyError, KmemCache, SlabFlags, WrongCacheError, fault_inject

NUMBERS = itertools.count()


def names(n, size=48, **args):
    """As many caches of one size, which nobody else has here."""
    return [KmemCache(f"merge-{next(NUMBERS)}", size, **args) for _ in range(n)]


@pytest.fixture
def pair():
    """Two caches that share their slabs."""
    # A stride that no other test uses.
    first, second = names(2, 1032)
    yield first, second
    for cache in (first, second):
        if cache.primary is not None:
            cache.destroy()


def own(cache):
    """What the cache counted under its own name."""
    stats = cache.stats()
    return stats["allocated"], stats["freed"], stats["objects"]


def test_calls_and_live_objects_are_counted_per_name_and_slots_per_primary(pair):
    first, second = pair
    assert (first.primary, second.primary) == (first.name, first.name)
    assert (first.aliases, second.aliases) == ((second.name,), (first.name,))
    mine = [first.alloc() for _ in range(7)]
    yours = second.alloc_bulk(20)
    for obj in mine[:3]:
        obj.free()
    second.free_bulk(yours[:5])
    del yours[5]  # by dropping the last reference
    assert (own(first), own(second)) == ((7, 3, 4), (20, 6, 14))
    of_first, of_second = first.stats(), second.stats()
    differ = {key for key in of_first if of_first[key] != of_second[key]}
    assert differ == {"allocated", "freed", "objects"}
    assert of_second["primary"] == first.name
    assert of_first["alloc_fastpath"] + of_first["alloc_slowpath"] == 27
    assert of_first["free_fastpath"] + of_first["free_slowpath"] == 9
    # All are in one place: free in a slab, in a sheaf, or handed out under a name.
    assert of_first["total_objects"] >= 4 + 14 + of_first["in_sheaves"]
    assert haybarn.stats()[second.name] == of_second


def test_what_went_under_a_name_that_is_gone_stays_in_the_slots_counters(pair):
    first, second = pair
    for _ in range(100):
        first.alloc().free()
    second.alloc().free()
    first.destroy()
    stats = second.stats()
    assert (stats["primary"], stats["allocated"]) == (second.name, 1)
    assert stats["alloc_fastpath"] + stats["alloc_slowpath"] == 101
    assert stats["free_fastpath"] + stats["free_slowpath"] == 101


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_names_end_in_any_order(order):
    caches = names(4, 2056)
    objects = [cache.alloc() for cache in caches]
    for n, obj in enumerate(objects):
        memoryview(obj)[:8] = n.to_bytes(8, "little")
    living = list(range(4))
    for n in order:
        cache = caches[n]
        with pytest.raises(CacheBusyError, match=cache.name) as busy:
            cache.destroy()
        assert busy.value.live == 1
        # Which objects are whose nobody can tell while others share the slabs.
        assert busy.value.shared == (len(living) > 1)
        assert sorted(address for address, _ in busy.value.objects) == sorted(objects[m].address for m in living)
        assert all(caches[m].primary == caches[living[0]].name for m in living)
        objects[n].free()
        cache.destroy()
        living.remove(n)
        assert (cache.primary, cache.aliases) == (None, ())
        for m in living:
            assert caches[m].aliases == tuple(caches[k].name for k in living if k != m)
            assert bytes(memoryview(objects[m])[:8]) == m.to_bytes(8, "little")
            caches[m].validate()
    fresh = names(1, 2056)[0]
    assert fresh.stats()["slabs"] == 0, "the slabs went with the last name"
    fresh.destroy()


def test_a_name_is_free_again_while_its_slabs_live_on(pair):
    first, second = pair
    kept = second.alloc()
    first.destroy()
    again = KmemCache(first.name, 5000)
    assert (again.primary, second.primary) == (first.name, second.name)
    assert (again.object_size, second.object_size) == (5000, 1032)
    again.destroy()
    kept.free()


def test_an_object_is_its_names_own(pair):
    first, second = pair
    obj = first.alloc()
    with pytest.raises(WrongCacheError, match=f"it belongs to cache '{first.name}'"):
        second.free(obj)
    with pytest.raises(WrongCacheError):
        second.free_bulk([obj])
    with pytest.raises(WrongCacheError):
        second.free_rcu(obj)
    assert obj.cache is first
    address = obj.address
    obj.free()
    # The memory is one: what one name freed the other gets.
    other = second.alloc()
    assert other.address == address
    other.free()


def test_each_name_has_its_own_size_and_zero_clears_all_of_it():
    small, large = KmemCache(f"merge-{next(NUMBERS)}", 3001), KmemCache(f"merge-{next(NUMBERS)}", 3008)
    assert small.aliases == (large.name,)
    assert (small.object_size, large.object_size, small.slab_size) == (3001, 3008, large.slab_size)
    with large.alloc() as obj:
        memoryview(obj)[:] = b"\xa5" * 3008
    with small.alloc(zero=True) as obj:
        assert bytes(obj) == bytes(3001)
    with large.alloc(zero=True) as obj:
        assert bytes(obj) == bytes(3008)
    large.destroy()
    small.destroy()


@pytest.mark.parametrize(
    "apart",
    [
        {"flags": SlabFlags.NO_MERGE},
        {"flags": SlabFlags.TYPESAFE_BY_RCU},
        {"flags": SlabFlags.NOLEAKTRACE},
        {"flags": SlabFlags.RECLAIM_ACCOUNT},
        {"sheaf_capacity": 4},
        {"min_order": 4},
        {"ctor": lambda obj: None},
        {"dtor": lambda obj: None},
    ],
    ids=str,
)
def test_what_keeps_a_cache_apart(apart):
    plain, other, later = *names(1, 1096), *names(1, 1096, **apart), *names(1, 1096)
    assert (other.primary, other.aliases) == (other.name, ())
    assert plain.aliases == (later.name,)
    obj = other.alloc()
    assert plain.stats()["total_objects"] == 0
    obj.free()
    for cache in (plain, other, later):
        cache.destroy()


def test_hits_that_are_not_wanted_are_no_reason_to_stay_apart():
    counted, not_counted = names(1, 1112)[0], names(1, 1112, count_hits=False)[0]
    assert counted.aliases == (not_counted.name,)
    for cache in (counted, not_counted):
        for _ in range(10):
            cache.alloc().free()
    assert own(not_counted) == (10, 10, 0)
    stats = counted.stats()
    assert stats["alloc_fastpath"] + stats["alloc_slowpath"] == 20
    counted.destroy()
    not_counted.destroy()


@pytest.mark.parametrize(("value", "shared"), [("1", False), ("0", True), ("", True)])
def test_nomerge_keeps_all_apart(value, shared):
    program = "from haybarn import KmemCache as K; a, b = K('a', 64), K('b', 64); print(a.aliases == ('b',), b.primary)"
    environment = {"HAYBARN_NOMERGE": value, "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(shared), "a" if shared else "b"]


def test_nomerge_is_checked():
    program = "import haybarn; haybarn.KmemCache('a', 64)"
    environment = {"HAYBARN_NOMERGE": "yes", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "HAYBARN_NOMERGE = yes is not legal: 0 or 1" in done.stderr


def test_leaving_with_waits_for_its_own_objects_only(pair):
    first, second = pair
    kept = second.alloc()
    with first:
        first.alloc().free()
    assert first.primary is None, "what lives under the other name keeps only that"
    with pytest.warns(ResourceWarning, match=r"was left with 1 live object"), second:
        pass
    third = names(1, 1032)[0]
    assert third.primary == second.name
    kept.free()
    assert (second.primary, third.primary) == (None, third.name)
    third.destroy()


def test_the_last_reference_ends_a_name():
    first, second = names(2, 1064)
    obj = first.alloc()
    name = first.name
    del first
    assert second.primary == name, "its object keeps it"
    del obj
    gc.collect()
    assert (second.primary, second.aliases) == (second.name, ())
    second.destroy()


def test_prefilled_sheaves_keep_their_own_name(pair):
    first, second = pair
    sheaf = second.prefill(3)
    first.destroy()
    third = names(1, 1032)[0]
    with pytest.raises(CacheBusyError) as busy:
        second.destroy()
    assert (busy.value.live, busy.value.prefilled) == (0, 1)
    obj = sheaf.alloc()
    assert own(second) == (1, 0, 1)
    sheaf.give_back()
    with pytest.raises(CacheBusyError) as busy:
        second.destroy()
    assert (busy.value.live, busy.value.prefilled) == (1, 0)
    obj.free()
    assert second.stats()["alloc_fastpath"] + second.stats()["alloc_slowpath"] == 0
    second.destroy()
    assert third.stats()["alloc_prefilled"] == 1
    third.destroy()


def test_frees_after_a_grace_period_outlive_their_name(pair, reader):
    first, second = pair
    with reader():
        obj, other = first.alloc(), second.alloc()
        address = obj.address
        obj.free_rcu()
        other.free_rcu()
        assert own(first) == (1, 1, 0)
        assert first.stats()["rcu_pending"] == second.stats()["rcu_pending"] == 2
        # Nothing to wait for: the slabs stay. A read section of this thread's own is no obstacle either.
        with haybarn.rcu.read_lock():
            first.destroy()
        again = {second.alloc().address for _ in range(50)}
        assert address not in again, "readers may be looking at it"
    second.rcu_barrier()
    stats = second.stats()
    assert (stats["rcu_pending"], stats["primary"]) == (0, second.name)
    assert stats["free_fastpath"] + stats["free_slowpath"] == 50


def test_shrink_and_validate_work_through_any_name(pair):
    first, second = pair
    batch = first.alloc_bulk(500)
    first.free_bulk(batch)
    slabs = second.stats()["slabs"]
    assert second.shrink() > 0
    assert first.stats()["slabs"] < slabs
    first.validate()


def test_a_fault_about_one_name_is_refused_and_keeps_others_away(pair):
    first, second = pair
    with pytest.raises(BadArgumentError, match=f"(?s)cache '{second.name}'.*{first.name}, {second.name}.*NO_MERGE"):
        fault_inject.fail_slab(second).__enter__()
    assert fault_inject.active_faults() == []
    first.destroy()
    with fault_inject.fail_slab(second):
        third = names(1, 1032)[0]
        assert (second.aliases, third.aliases) == ((), ())
        third.alloc().free()
    fourth = names(1, 1032)[0]
    assert fourth.primary == second.name, "the oldest that fits"
    fourth.destroy()
    third.destroy()


def test_aliases_have_no_row_in_slabinfo(pair):
    first, second = pair
    rows = [line.split()[0] for line in haybarn.slabinfo().splitlines()[2:]]
    assert first.name in rows
    assert second.name not in rows
    assert {first.name, second.name} <= set(haybarn.caches())


def test_names_in_a_forked_child(pair, in_child):
    first, second = pair
    objects = first.alloc_bulk(10)
    others = second.alloc_bulk(5)

    def body():
        assert (own(first)[2], own(second)[2]) == (10, 5)
        first.free_bulk(objects)
        first.destroy()
        assert second.primary == second.name
        second.free_bulk(others)
        second.destroy()
        fresh = KmemCache(first.name, 1032)
        assert fresh.stats()["slabs"] == 0
        fresh.destroy()

    in_child(body)
    assert (own(first)[2], own(second)[2]) == (10, 5)
    first.free_bulk(objects)
    second.free_bulk(others)


def test_names_come_and_go_while_others_allocate():
    stop, failures = threading.Event(), []
    base = names(1, 72)[0]

    def user(seed):
        rng = random.Random(seed)
        done = 0
        try:
            while not stop.is_set():
                cache = names(1, 65 + rng.randrange(8))[0]
                held = []
                for _ in range(rng.randrange(1, 60)):
                    if held and rng.random() < 0.4:
                        obj, mark = held.pop(rng.randrange(len(held)))
                        assert bytes(memoryview(obj)[:8]) == mark
                        obj.free()
                    else:
                        obj, mark = cache.alloc(), done.to_bytes(4, "little") + seed.to_bytes(4, "little")
                        memoryview(obj)[:8] = mark
                        held.append((obj, mark))
                    done += 1
                stats = cache.stats()
                assert stats["objects"] == len(held)
                assert stats["allocated"] - stats["freed"] == len(held)
                if held:
                    with pytest.raises(CacheBusyError) as busy:
                        cache.destroy()
                    assert busy.value.live == len(held)
                for obj, mark in held:
                    assert bytes(memoryview(obj)[:8]) == mark
                    obj.free()
                cache.destroy()
        except BaseException as error:
            failures.append(error)
            stop.set()

    def steady():
        try:
            while not stop.is_set():
                base.alloc().free()
                base.free_bulk(base.alloc_bulk(30))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=user, args=(seed,)) for seed in range(4)] + [threading.Thread(target=steady)]
    for thread in threads:
        thread.start()
    stop.wait(3)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert base.aliases == ()
    stats = base.stats()
    assert stats["objects"] == 0
    assert stats["alloc_fastpath"] + stats["alloc_slowpath"] >= stats["allocated"]
    base.validate()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        base.destroy()
