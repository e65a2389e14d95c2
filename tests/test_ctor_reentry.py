"""What constructors and destructors may do, and what is refused because it could lead back into them."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest

import haybarn
from haybarn import KmemCache


@pytest.fixture
def unraisable(monkeypatch):
    """Exceptions that had nowhere to go."""
    seen = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_value))
    return seen


def names(error):
    """The two caches that the text names."""
    text = str(error)
    return text.split("'")[1::2]


FORBIDDEN_IN_CTOR = {
    "alloc": lambda cache: cache.alloc(),
    "alloc_bulk": lambda cache: cache.alloc_bulk(2),
    "shrink": lambda cache: cache.shrink(),
    "validate": lambda cache: cache.validate(),
    "destroy": lambda cache: cache.destroy(),
    "leave with": lambda cache: cache.__exit__(None, None, None),
}


@pytest.mark.parametrize("what", FORBIDDEN_IN_CTOR)
@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_the_same_cache_is_out_of_bounds(what, callback):
    seen = []

    def body(obj):
        with pytest.raises(haybarn.ReentryError, match="cache 'self'") as raised:
            FORBIDDEN_IN_CTOR[what](obj.cache)
        seen.append(raised.value)

    cache = KmemCache("self", 512, **{callback: body})
    cache.alloc().free()
    cache.validate()
    cache.destroy()
    assert seen
    assert {tuple(names(error)) for error in seen} == {("self", "self")}
    assert all(isinstance(error, RuntimeError) for error in seen)


def test_an_error_that_ctor_does_not_catch_comes_out_of_alloc():
    cache = KmemCache("self", 64, ctor=lambda obj: cache.alloc())
    for call in (cache.alloc, lambda: cache.alloc_bulk(5)):
        with pytest.raises(haybarn.ReentryError, match="allocation inside") as raised:
            call()
        assert names(raised.value) == ["self", "self"]
    assert cache.stats()["total_objects"] == 0
    cache.destroy()


def test_other_caches_may_be_used_in_ctor():
    plain = KmemCache("plain", 64)
    inner = KmemCache("inner", 64, ctor=lambda obj: plain.alloc(zero=True))

    def ctor(obj):
        plain.alloc().free()
        plain.shrink()
        haybarn.stats()
        haybarn.slabinfo()
        obj.cache.stats()
        with KmemCache("for-a-moment", 64, ctor=lambda _: 1, dtor=lambda _: 2) as moment:
            moment.alloc()
        return inner.alloc()

    outer = KmemCache("outer", 256, ctor=ctor)
    batch = outer.alloc_bulk(100)
    assert all(bytes(obj.payload.payload) == bytes(64) for obj in batch)
    assert inner.stats()["objects"] == outer.stats()["total_objects"]
    outer.free_bulk(batch)
    outer.destroy()
    assert inner.stats()["objects"] == 0
    inner.destroy()
    assert plain.stats()["objects"] == 0
    plain.destroy()


def test_a_way_back_over_another_cache_is_seen():
    left = KmemCache("left", 64, ctor=lambda obj: right.alloc())
    right = KmemCache("right", 64, ctor=lambda obj: left.alloc())
    with pytest.raises(haybarn.ReentryError) as raised:
        left.alloc()
    assert names(raised.value) == ["left", "left"]
    for cache in (left, right):
        assert cache.stats()["total_objects"] == 0
        cache.destroy()


ALLOCATIONS = {
    "alloc": lambda cache: cache.alloc(),
    "zero": lambda cache: cache.alloc(zero=True),
    "alloc_bulk": lambda cache: cache.alloc_bulk(1),
    "empty": lambda cache: cache.alloc_bulk(0),
}


@pytest.mark.parametrize("how", ALLOCATIONS)
@pytest.mark.parametrize("which", ["plain", "constructed"])
@pytest.mark.parametrize("warm", [False, True])
def test_no_allocation_in_dtor_from_any_cache(how, which, warm, unraisable):
    other = KmemCache("other", 64, **({"ctor": lambda obj: None} if which == "constructed" else {}))
    if warm:
        # Wrappers and objects for it lie ready: the shortest way there is.
        other.free_bulk(other.alloc_bulk(300))
    before = other.stats()

    def dtor(obj):
        ALLOCATIONS[how](other)

    cache = KmemCache("dying", 2048, dtor=dtor)
    slots = len(cache.alloc_bulk(20)) and cache.stats()["total_objects"]
    cache.destroy()
    assert len(unraisable) == slots
    for error in unraisable:
        assert type(error) is haybarn.ReentryError
        assert names(error) == ["other", "dying"]
    after = other.stats()
    assert after["objects"] == before["objects"] == 0
    # It is over with the destructor.
    other.alloc().free()
    other.destroy()


def test_while_one_thread_is_in_a_dtor_others_allocate(in_threads):
    other = KmemCache("other", 64)
    inside, go_on = threading.Event(), threading.Event()

    def dtor(obj):
        inside.set()
        assert go_on.wait(60)

    cache = KmemCache("slow", 4096, dtor=dtor)
    cache.alloc().free()

    def body(index):
        if index == 0:
            cache.destroy()
            return
        assert inside.wait(60)
        kept = [other.alloc() for _ in range(2000)]
        for obj in kept:
            obj.free()
        other.alloc_bulk(100)
        go_on.set()

    # Not on the main thread: the interpreter may call the destructor there, as soon as the slab dies.
    in_threads(body, 2)
    other.destroy()


def test_frees_in_callbacks_are_done_after_them():
    seen = []
    stock = []

    def ctor(obj):
        if stock:
            mine, others = stock.pop()
            mine.free()
            assert mine.freed
            cache.free_bulk(others)
            del mine, others
            seen.append(cache.stats()["objects"])

    cache = KmemCache("queued", 1024, ctor=ctor, sheaf_capacity=1)
    batch = cache.alloc_bulk(40)
    stock.append((batch.pop(), [batch.pop() for _ in range(9)]))
    batch += cache.alloc_bulk(200)
    assert seen == [40]
    assert cache.stats()["objects"] == len(batch) == 230
    cache.validate()
    cache.free_bulk(batch)
    cache.destroy()


def test_frees_in_dtors_of_other_caches_and_of_the_own():
    other, stock = KmemCache("others", 64, ctor=lambda obj: [], dtor=lambda obj: None), []
    held = [other.alloc_bulk(3) for _ in range(40)]

    def dtor(obj):
        if held:
            other.free_bulk(held.pop())
        if stock:
            stock.pop().free()

    cache = KmemCache("frees", 1024, dtor=dtor)
    stock += cache.alloc_bulk(3)
    cache.free_bulk(cache.alloc_bulk(100))
    cache.shrink()
    assert not stock
    assert cache.stats()["objects"] == 0
    cache.destroy()
    held.clear()
    assert other.stats()["objects"] == 0
    other.destroy()


class Loop:
    """Garbage that only a collection finds, with an object in it."""

    def __init__(self, obj):
        self.obj, self.me = obj, self


@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_a_collection_in_a_callback_may_free_anything(callback):
    plain = KmemCache("garbage-plain", 64)
    other = KmemCache("garbage-other", 64, ctor=lambda obj: [obj.address], dtor=lambda obj: None)
    gc.collect()

    def body(obj):
        if armed:
            armed.pop()
            assert gc.collect() > 0
        return []

    armed = []
    cache = KmemCache("garbage-own", 1024, **{callback: body}, sheaf_capacity=1)
    kept = cache.alloc_bulk(60)
    gc.disable()
    try:
        for _ in range(30):
            for of in (plain, other, cache):
                Loop(of.alloc())
        free = kept[:30]
        del kept[:30]
        armed.append(1)
        if callback == "ctor":
            kept += cache.alloc_bulk(500)
        else:
            cache.free_bulk(free)
            cache.shrink()
        del free
    finally:
        gc.enable()
    assert not armed
    gc.collect()
    assert plain.stats()["objects"] == other.stats()["objects"] == 0
    assert cache.stats()["objects"] == len(kept)
    kept.clear()
    for of in (plain, other, cache):
        of.validate()
        of.destroy()


def test_a_cache_that_ends_inside_a_callback():
    ends = []

    def ctor(obj):
        inner = KmemCache("ends", 64, ctor=lambda obj: "made", dtor=lambda obj: ends.append(obj.payload))
        inner.alloc()
        return weakref.ref(inner)

    cache = KmemCache("around", 1024, ctor=ctor)
    obj = cache.alloc()
    assert obj.payload() is None
    assert ends
    assert set(ends) == {"made"}
    obj.free()
    cache.destroy()


def test_payloads_end_outside_of_callbacks():
    """What a payload's own finaliser does is not the destructor's doing."""
    spare = KmemCache("spare", 64)
    ended = []

    class Payload:
        def __del__(self):
            ended.append(spare.alloc())

    cache = KmemCache("payloads", 1024, ctor=lambda obj: Payload(), dtor=lambda obj: None)
    cache.alloc().free()
    slots = cache.stats()["total_objects"]
    cache.shrink()
    assert len(ended) == slots
    cache.destroy()
    ended.clear()
    spare.destroy()


def test_destroyers_in_each_others_constructors_do_not_wait_for_ever():
    """Two threads, each in a constructor of one cache, both end the other's: one is refused instead of waiting."""
    meet = threading.Barrier(2)
    refused = []

    def ctor(other):
        def body(obj):
            meet.wait(60)
            try:
                caches[other].destroy()
            except (haybarn.ReentryError, haybarn.CacheBusyError) as error:
                refused.append(error)
            meet.wait(60)

        return body

    caches = [KmemCache(f"cross-{at}", 4096 * 8, ctor=ctor(1 - at)) for at in range(2)]
    assert caches[0].objs_per_slab == 1
    threads = [threading.Thread(target=lambda at=at: caches[at].alloc().free()) for at in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert refused
    for cache in caches:
        cache.destroy()


def test_destroy_waits_for_a_constructor_of_another_thread():
    inside, go_on = threading.Event(), threading.Event()

    def ctor(obj):
        inside.set()
        assert go_on.wait(60)
        # The waiting destroyer does not keep its gate shut meanwhile.
        assert obj.cache.stats()["objects"] == 0

    cache = KmemCache("waited-for", 4096 * 8, ctor=ctor)
    kept = []
    maker = threading.Thread(target=lambda: kept.append(cache.alloc()))
    maker.start()
    assert inside.wait(60)
    results = []

    def destroy():
        try:
            cache.destroy()
        except haybarn.CacheBusyError as error:
            results.append(error.live)

    destroyer = threading.Thread(target=destroy)
    destroyer.start()
    go_on.set()
    maker.join(60)
    destroyer.join(60)
    assert results == [1]
    kept.clear()
    cache.destroy()
