"""Slabs whose pages wait for readers: they die without the GIL, and their destructors run all the same, once."""

from __future__ import annotations

import threading
import time

import pytest

from haybarn import KmemCache, SlabFlags

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


def test_dropping_the_cache_waits_for_them(typed):
    made, gone, payload = typed.made, typed.gone, typed.payload
    typed.cache.free_bulk(typed.cache.alloc_bulk(1000))
    typed.cache.shrink()
    typed.cache = None
    del typed
    assert sorted(gone) == sorted(made)
    assert payload.living() == 0


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
