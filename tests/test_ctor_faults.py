"""Constructors, destructors and memory that fails: what was constructed is destructed once, whatever is missing."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

import haybarn
from haybarn import KmemCache, fault_inject


class Slots:
    """Callbacks that keep count, one of which may be told to fail."""

    def __init__(self, payload):
        self.made, self.gone, self.payload, self.fails_in = Counter(), Counter(), payload, 0

    def ctor(self, obj):
        if self.fails_in:
            self.fails_in -= 1
            if not self.fails_in:
                raise ValueError("told to fail")
        self.made[obj.address] += 1
        return self.payload(obj.address)

    def dtor(self, obj):
        assert obj.payload.kept == (obj.address,)
        self.gone[obj.address] += 1

    def cache(self, name, **options):
        return KmemCache(name, 200, ctor=self.ctor, dtor=self.dtor, **options)


@pytest.fixture
def slots(payload):
    return Slots(payload)


FAULTS = {
    "pages": lambda cache: fault_inject.fail_page_alloc(probability=0.5),
    "objects": lambda cache: fault_inject.fail_slab(cache, probability=0.5),
    "both": lambda cache: fault_inject.fail_slab(probability=0.2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_whatever_fails(slots, fault):
    cache = slots.cache("faults")
    refused = 0
    with FAULTS[fault](cache):
        held = []
        for step in range(400):
            try:
                held += cache.alloc_bulk(step % 40) if step % 3 else [cache.alloc()]
            except haybarn.OutOfMemoryError:
                refused += 1
            if step % 7 == 0:
                cache.free_bulk(held[::2])
                del held[::2]
            if step % 50 == 0:
                cache.shrink()
        assert all(obj.payload.kept == (obj.address,) for obj in held)
        stats = cache.stats()
        assert stats["objects"] == len(held)
        assert stats["total_objects"] == (slots.made - slots.gone).total() == slots.payload.living()
        cache.free_bulk(held)
        held.clear()
    assert refused
    cache.validate()
    cache.destroy()
    assert slots.made == slots.gone


def test_a_view_that_is_not_to_be_had_is_out_of_memory(slots):
    """The view is a wrapper's memory: without it no constructor runs."""
    cache = slots.cache("no-view")
    cache.alloc_bulk(10)
    before = cache.stats()["total_objects"]
    # Spaced so that the first requests come through: pages, then some views.
    for space in (0, 300, 1000, 3000):
        with fault_inject.fail_page_alloc(probability=1.0, space=space) as fault:
            with pytest.raises(haybarn.OutOfMemoryError, match="cache 'no-view'"):
                cache.alloc_bulk(5000)
            assert fault.fired
        cache.shrink()
        assert cache.stats()["objects"] == 0
        assert (slots.made - slots.gone).total() == cache.stats()["total_objects"] <= before
    cache.destroy()
    assert slots.made == slots.gone


def test_destructors_need_no_memory_of_ours(slots):
    cache = slots.cache("ends")
    cache.free_bulk(cache.alloc_bulk(500))
    made = slots.made.total()
    with fault_inject.fail_page_alloc(probability=1.0), fault_inject.fail_slab(probability=1.0):
        cache.shrink()
        cache.destroy()
    assert slots.gone.total() == made
    assert slots.made == slots.gone


@pytest.mark.parametrize("nth", [1, 5, 60])
def test_a_failing_constructor_and_prefill(slots, nth):
    cache = slots.cache("prefilled")
    slots.fails_in = nth
    with pytest.raises(ValueError, match="told to fail"):
        cache.prefill(300)
    assert cache.stats()["objects"] == cache.stats()["prefilled"] == 0
    with cache.prefill(30) as sheaf:
        taken = [sheaf.alloc() for _ in range(30)]
        assert all(obj.payload.kept == (obj.address,) for obj in taken)
        room = len(sheaf)
        slots.fails_in = nth
        with pytest.raises(ValueError, match="told to fail"):
            sheaf.refill(2000)
        assert len(sheaf) == room
        slots.fails_in = 0
        sheaf.refill(1)
        with pytest.raises(haybarn.BadArgumentError, match="zero"):
            sheaf.alloc(zero=True)
    cache.free_bulk(taken)
    cache.validate()
    cache.destroy()
    assert slots.made == slots.gone


def test_prefill_keeps_its_word_with_payloads(slots):
    cache = slots.cache("word")
    always = {"probability": 1.0}
    with cache.prefill(100) as sheaf, fault_inject.fail_page_alloc(**always), fault_inject.fail_slab(**always):
        taken = [sheaf.alloc() for _ in range(100)]
        assert all(obj.payload.kept == (obj.address,) for obj in taken)
    taken.clear()
    gc.collect()
    cache.destroy()
    assert slots.made == slots.gone


def test_prefilled_sheaves_in_callbacks():
    plain = KmemCache("plain", 64)
    sheaf = plain.prefill(10)
    seen = []

    def dtor(obj):
        with pytest.raises(haybarn.ReentryError, match="'plain'.*'callbacks'"):
            sheaf.alloc()
        seen.append(len(sheaf))

    def ctor(obj):
        with pytest.raises(haybarn.ReentryError, match="'callbacks'.*'callbacks'"):
            obj.cache.prefill(1)
        return sheaf.alloc()

    cache = KmemCache("callbacks", 4096 * 8, ctor=ctor, dtor=dtor)
    cache.alloc().free()
    cache.destroy()
    assert seen
    sheaf.give_back()
    plain.destroy()
