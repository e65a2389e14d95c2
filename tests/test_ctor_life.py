"""Payloads live and die as any Python object does: with garbage collections, threads, forks, and views that stay."""

from __future__ import annotations

import gc
import itertools
import random
import signal
import sys
import threading
import weakref
from collections import Counter

import pytest

import haybarn
from haybarn import KmemCache

THREADS = 8


def test_dropping_the_cache_runs_its_destructors_and_drops_the_payloads(payload):
    seen = []
    cache = KmemCache(
        "dropped", 64, ctor=lambda _: payload(), dtor=lambda obj: seen.append((obj.cache.name, type(obj.payload)))
    )
    slots = len(cache.alloc_bulk(100)) and cache.stats()["total_objects"]
    assert payload.living() == slots
    weak = weakref.ref(cache)
    del cache
    assert weak() is None
    assert seen == [("dropped", payload)] * slots
    assert payload.living() == 0
    assert "dropped" not in haybarn.caches()


def test_an_object_keeps_the_cache_and_its_payload(payload):
    cache = KmemCache("kept", 64, ctor=lambda _: payload())
    obj = cache.alloc()
    weak = weakref.ref(obj.payload)
    del cache
    gc.collect()
    assert weak() is obj.payload
    del obj
    assert weak() is None


CYCLES = {
    "payload -> cache": lambda payload: KmemCache("cycle", 64, ctor=lambda obj: payload(obj.cache)),
    "payload -> view -> cache": lambda payload: KmemCache("cycle", 64, ctor=lambda obj: [payload(), obj]),
    "payload is the view": lambda payload: KmemCache("cycle", 64, ctor=lambda obj: obj),
    "payload -> stats of the cache": lambda payload: KmemCache(
        "cycle", 64, ctor=lambda obj: (payload(), obj.cache.stats)
    ),
}


@pytest.mark.parametrize("which", CYCLES)
@pytest.mark.parametrize("dtor", [None, lambda obj: obj.payload])
def test_cycles_through_payloads_are_collected(which, dtor, payload):
    cache = CYCLES[which](payload)
    cache.alloc()
    weak = weakref.ref(cache)
    gc.collect()
    assert weak() is cache
    del cache
    gc.collect()
    assert weak() is None
    assert "cycle" not in haybarn.caches()


@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_a_cycle_through_a_callback_is_collected(callback, payload):
    class Owner:
        def __init__(self):
            self.payload = payload()
            self.cache = KmemCache("owner", 64, **{callback: self.callback})
            self.cache.alloc()

        def callback(self, obj):
            return self

    weak = weakref.ref(Owner())
    gc.collect()
    assert weak() is None
    assert "owner" not in haybarn.caches()


def test_two_caches_in_one_cycle(payload):
    ends = []
    pair = []
    for at, name in enumerate(("left", "right")):
        ctor, dtor = (lambda obj, at=at: payload(pair[1 - at])), (lambda obj, name=name: ends.append(name))
        pair.append(KmemCache(name, 64, ctor=ctor, dtor=dtor))
    for cache in pair:
        cache.alloc()
    slots = Counter({cache.name: cache.stats()["total_objects"] for cache in pair})
    del cache
    pair.clear()
    gc.collect()
    assert Counter(ends) == slots


def test_the_collector_sees_payloads_and_callbacks(payload):
    ctor, dtor = (lambda obj: payload()), (lambda obj: None)
    cache = KmemCache("seen", 64, ctor=ctor, dtor=dtor)
    obj = cache.alloc()
    referents = gc.get_referents(cache)
    assert gc.is_tracked(cache)
    assert ctor in referents
    assert dtor in referents
    assert any(obj.payload in table.values() for table in referents if isinstance(table, dict))
    # Who takes the table apart harms nobody but himself.
    for table in referents:
        if isinstance(table, dict):
            table.clear()
    assert obj.payload is None
    obj.free()
    cache.destroy()


def test_a_cache_that_its_destructor_keeps_is_there_but_destroyed(payload):
    saved = []
    cache = KmemCache("saved", 2048, ctor=lambda obj: payload(), dtor=lambda obj: saved.append(obj.cache))
    cache.alloc()
    del cache
    assert len(set(map(id, saved))) == 1
    again = saved[0]
    assert "destroyed" in repr(again)
    for call in (again.alloc, again.stats, again.destroy):
        with pytest.raises(haybarn.CacheDestroyedError):
            call()


def test_churn_in_threads(in_threads, payload):
    """Each slot has one payload, which two owners of the slot never see at once; all of them end."""
    made, gone = [], []

    def ctor(obj):
        one = payload()
        one.address, one.owner = obj.address, None
        made.append(obj.address)
        return one

    def dtor(obj):
        assert obj.payload.address == obj.address
        assert obj.payload.owner is None
        gone.append(obj.address)

    cache = KmemCache("threads", 200, ctor=ctor, dtor=dtor)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def body(index):
        rng = random.Random(index)
        held = []
        for step in range(1500):
            if held and rng.random() < 0.5:
                obj = held.pop(rng.randrange(len(held)))
                assert obj.payload.owner == index
                obj.payload.owner = None
                obj.free()
            elif rng.random() < 0.1:
                held += cache.alloc_bulk(10)
                for obj in held[-10:]:
                    assert obj.payload.owner is None
                    assert obj.payload.address == obj.address
                    obj.payload.owner = index
            else:
                obj = cache.alloc()
                assert obj.payload.owner is None
                assert obj.payload.address == obj.address
                obj.payload.owner = index
                held.append(obj)
            if step % 200 == index:
                cache.shrink()
            if step % 300 == index:
                gc.collect()
        for obj in held:
            obj.payload.owner = None
            obj.free()

    try:
        in_threads(body, THREADS)
    finally:
        sys.setswitchinterval(before)
    stats = cache.stats()
    assert stats["objects"] == 0
    assert payload.living() == stats["total_objects"] == len(made) - len(gone)
    assert (stats["ctor_object"], stats["dtor_object"]) == (len(made), len(gone))
    cache.validate()
    cache.destroy()
    assert Counter(made) == Counter(gone)


def test_constructors_of_several_threads_run_at_once(in_threads, payload):
    meet = threading.Barrier(4)
    waiting = [True] * 4

    def ctor(obj):
        if waiting and waiting.pop():
            meet.wait(60)
        return payload()

    cache = KmemCache("at-once", 4096 * 8, ctor=ctor)
    in_threads(lambda index: cache.alloc().free(), 4)
    assert not waiting
    cache.destroy()


def test_failing_constructors_in_threads(in_threads, payload):
    """Every third slab fails, on whatever thread; nothing is lost, nobody gets another thread's exception."""
    made, gone = [], []
    tries = itertools.count()

    def ctor(obj):
        if next(tries) % 97 == 96:
            raise ValueError(threading.get_ident())
        made.append(obj.address)
        return payload()

    def dtor(obj):
        gone.append(obj.address)

    cache = KmemCache("fails", 512, ctor=ctor, dtor=dtor)
    failures = []

    def body(index):
        for _ in range(150):
            try:
                cache.free_bulk(cache.alloc_bulk(100))
            except ValueError as error:
                failures.append((error.args, threading.get_ident()))
            cache.shrink()

    in_threads(body, 4)
    assert failures
    assert all(told == (thread,) for told, thread in failures)
    stats = cache.stats()
    assert stats["objects"] == 0
    assert stats["ctor_fail"] == len(failures)
    cache.destroy()
    assert Counter(made) == Counter(gone)


def test_control_c_inside_a_constructor(payload):
    def ctor(obj):
        signal.raise_signal(signal.SIGINT)
        return payload()

    cache = KmemCache("interrupted", 64, ctor=ctor)
    for call in (cache.alloc, lambda: cache.alloc_bulk(100)):
        with pytest.raises(KeyboardInterrupt):
            call()
        assert cache.stats()["total_objects"] == 0
    cache.destroy()


def test_a_closed_cache_runs_its_destructors_with_the_last_object(payload):
    ends = []
    with pytest.warns(ResourceWarning), KmemCache("closing", 64, ctor=lambda _: payload(), dtor=ends.append) as cache:
        obj = cache.alloc()
    slots, before = cache.stats()["total_objects"], len(ends)
    assert not obj.freed
    assert isinstance(obj.payload, payload)
    obj.free()
    assert len(ends) - before == slots
    assert "closing" not in haybarn.caches()
    ends.clear()


@pytest.mark.parametrize("end", ["destroy", "with"])
def test_a_destructor_may_wait_for_a_thread_that_asks_its_cache(end):
    """No lock of ours is held while it runs: the other thread finds the cache open."""
    answered = []

    def dtor(obj):
        thread = threading.Thread(target=lambda: answered.append(cache.stats()["objects"]), daemon=True)
        thread.start()
        thread.join(30)

    with KmemCache("asked", 4096, dtor=dtor) as cache:
        slots = len(cache.alloc_bulk(3)) and cache.stats()["total_objects"]
        gc.collect()
        if end == "destroy":
            cache.destroy()
    assert answered == [0] * slots
