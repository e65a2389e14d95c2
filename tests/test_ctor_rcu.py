"""Slabs whose pages wait for readers: they die without the GIL, and their destructors run all the same, once."""

from __future__ import annotations

import sys
import threading
import time
import weakref

import pytest

import haybarn
from haybarn import KmemCache, SlabFlags, rcu

PATIENCE = 60


def wait_until(true):
    """Without a call into haybarn, which would do the work itself."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


class Typed:
    def __init__(self, payload):
        self.made, self.gone, self.threads = [], [], set()
        self.payload = payload
        self.cache = KmemCache("typed", 512, flags=SlabFlags.TYPESAFE_BY_RCU, ctor=self.ctor, dtor=self.dtor)

    def ctor(self, obj):
        self.made.append(obj.address)
        return self.payload(obj.address)

    def dtor(self, obj):
        assert obj.payload.kept == (obj.address,)
        self.threads.add(threading.current_thread())
        self.gone.append(obj.address)


@pytest.fixture
def typed(payload):
    return Typed(payload)


def test_destructors_of_slabs_that_die_without_the_gil_run_soon(typed):
    typed.cache.free_bulk(typed.cache.alloc_bulk(1000))
    assert typed.cache.shrink() > 0
    wait_until(lambda: len(typed.gone) == len(typed.made))
    assert sorted(typed.gone) == sorted(typed.made)
    wait_until(lambda: typed.payload.living() == 0)
    typed.cache.destroy()


def test_destroy_waits_for_them(typed):
    kept = typed.cache.alloc_bulk(100)
    typed.cache.free_bulk(typed.cache.alloc_bulk(1000))
    typed.cache.shrink()
    typed.cache.free_bulk(kept)
    typed.cache.destroy()
    assert sorted(typed.gone) == sorted(typed.made)
    assert typed.payload.living() == 0


def test_a_cache_that_is_dropped_sees_to_them_after_the_grace_period(typed):
    made, gone, payload = typed.made, typed.gone, typed.payload
    typed.cache.free_bulk(typed.cache.alloc_bulk(1000))
    typed.cache.shrink()
    typed.cache = None
    del typed
    wait_until(lambda: len(gone) == len(made))
    assert sorted(gone) == sorted(made)
    wait_until(lambda: payload.living() == 0 and "typed" not in haybarn.caches())


def test_churn(typed, in_threads):
    def body(index):
        for step in range(60):
            typed.cache.free_bulk(typed.cache.alloc_bulk(20 + index))
            if step % 4 == index % 4:
                typed.cache.shrink()

    in_threads(body)
    stats = typed.cache.stats()
    assert stats["objects"] == 0
    typed.cache.validate()
    typed.cache.destroy()
    assert sorted(typed.gone) == sorted(typed.made)
    assert typed.payload.living() == 0


def test_typed_caches_end_in_the_constructors_of_others(typed):
    """There the destructor runs inside the constructor, and payloads end after it."""
    made, gone = typed.made, typed.gone
    caches = [typed.cache]
    typed.cache = None

    def ctor(obj):
        if caches:
            caches[0].free_bulk(caches[0].alloc_bulk(300))
            caches[0].shrink()
            caches.pop().destroy()
            assert sorted(gone) == sorted(made)

    outer = KmemCache("outer", 512, ctor=ctor)
    outer.alloc().free()
    assert made
    outer.destroy()


def test_free_rcu_keeps_payload_and_slot_until_the_grace_period_is_over(payload):
    made, ends = [], []

    def ctor(obj):
        made.append(obj.address)
        return payload()

    cache = KmemCache("late", 512, ctor=ctor, dtor=lambda obj: ends.append(obj.address))
    obj, other = cache.alloc(), cache.alloc()
    first = weakref.ref(obj.payload)
    with rcu.read_lock():
        with memoryview(obj) as view:
            view[:4] = b"read"
            obj.free_rcu()
            with pytest.raises(haybarn.UseAfterFreeError):
                _ = obj.payload
            assert bytes(view[:4]) == b"read"
        other.free()
        cache.shrink()
        assert not ends or first() is not None
    cache.rcu_barrier()
    cache.shrink()
    # Its slab may stay while it is partial.
    cache.destroy()
    assert first() is None
    assert len(ends) == len(made)


def test_free_rcu_of_all_and_then_the_end(payload, in_threads):
    made, gone = [], []
    cache = KmemCache(
        "all-late",
        512,
        ctor=lambda obj: made.append(obj.address) or payload(),
        dtor=lambda obj: gone.append(obj.address),
    )

    def body(index):
        for _ in range(30):
            for obj in cache.alloc_bulk(20 + index):
                obj.free_rcu()

    in_threads(body)
    cache.destroy()
    assert sorted(gone) == sorted(made)
    assert payload.living() == 0


@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_free_rcu_in_callbacks(callback):
    stock = {}

    def body(obj):
        for objects in stock.values():
            if objects:
                objects.pop().free_rcu()

    cache = KmemCache("own", 1024, **{callback: body})
    other = KmemCache("other", 64, ctor=lambda obj: [], dtor=lambda obj: None)
    plain = KmemCache("plain", 64)
    stock = {name: of.alloc_bulk(30) for name, of in (("own", cache), ("other", other), ("plain", plain))}
    cache.free_bulk(cache.alloc_bulk(300))
    cache.shrink()
    for objects in stock.values():
        while objects:
            objects.pop().free_rcu()
    for of in (cache, other, plain):
        of.rcu_barrier()
        assert of.stats()["objects"] == 0
        of.validate()
        of.destroy()


def test_a_cache_whose_last_reference_goes_in_a_read_section(payload):
    made, gone = [], []
    cache = KmemCache(
        "in-section", 512, ctor=lambda obj: made.append(1) or payload(), dtor=lambda obj: gone.append(obj.payload)
    )
    for obj in cache.alloc_bulk(40):
        obj.free_rcu()
    del obj
    with rcu.read_lock():
        del cache
        assert "in-section" in haybarn.caches()
    wait_until(lambda: len(gone) == len(made))
    gone.clear()
    rcu.barrier()
    wait_until(lambda: "in-section" not in haybarn.caches())


@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_waiting_for_readers_in_callbacks(callback, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_value))
    seen = []
    plain = KmemCache("plain", 64)

    def body(obj):
        with rcu.read_lock():
            pass
        plain.alloc_bulk(3) if callback == "ctor" else None
        rcu.call(lambda: seen.append("called"))
        try:
            plain.rcu_barrier()
            obj.cache.rcu_barrier()
        except haybarn.ReentryError as error:
            seen.append(error)

    cache = KmemCache("waits", 1024, **{callback: body})
    cache.alloc().free()
    cache.shrink()
    rcu.barrier()
    assert "called" in seen
    assert all(isinstance(what, str | haybarn.ReentryError) for what in seen)
    cache.destroy()
    rcu.barrier()
    plain.destroy()


@pytest.mark.parametrize("wait", [rcu.synchronize, rcu.barrier])
def test_a_wait_for_readers_in_a_dtor_is_refused_by_its_own_name(wait):
    said = []

    def dtor(obj):
        if not said:
            with pytest.raises(haybarn.ReentryError) as refused:
                wait()
            said.append(str(refused.value))

    cache = KmemCache("impatient", 1024, dtor=dtor)
    cache.alloc().free()
    cache.shrink()
    # It is not a cache that was asked.
    assert said[0].startswith(f"{wait.__name__}() inside the destructor of cache 'impatient' is refused")
    cache.destroy()
