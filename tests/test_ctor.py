"""Constructors and destructors: called once for each slot, whose payload stays with it; errors leave all as before."""

from __future__ import annotations

import sys
import threading
from collections import Counter

import pytest

import haybarn
from haybarn import KmemCache, SlabObject


class Log:
    """Callbacks that write down which slot they saw; each slot's payload is its own list."""

    def __init__(self):
        self.made = Counter()
        self.gone = Counter()
        self.lock = threading.Lock()

    def ctor(self, obj):
        with self.lock:
            self.made[obj.address] += 1
        return [obj.address]

    def dtor(self, obj):
        assert obj.payload[0] == obj.address
        with self.lock:
            self.gone[obj.address] += 1

    @property
    def living(self):
        return self.made - self.gone


@pytest.fixture
def log():
    return Log()


def counters(cache, *left_out):
    """What `stats()` says, but for the rows that a failed constructor is allowed to change."""
    seen = cache.stats()
    for name in ("ctor_fail", "ctor_object", "dtor_object", "sheaf_alloc", "sheaf_free", "barn_get_fail", *left_out):
        seen.pop(name, None)
    return seen


def test_a_payload_is_made_once_per_slot_and_stays(log):
    with KmemCache("stays", 64, ctor=log.ctor, dtor=log.dtor) as cache:
        assert (cache.ctor, cache.dtor) == (log.ctor, log.dtor)
        first = cache.alloc()
        address, payload = first.address, first.payload
        assert payload == [address]
        payload.append("kept")
        first.free()
        again = cache.alloc()
        assert again.address == address
        assert again.payload is payload
        assert payload == [address, "kept"]
        batch = cache.alloc_bulk(500)
        assert all(obj.payload == [obj.address] for obj in batch)
        for _ in range(20):
            cache.free_bulk(batch)
            batch = cache.alloc_bulk(500)
        stats = cache.stats()
        # Slabs come and go meanwhile; of those that are there each slot was made once.
        assert set(log.living.values()) == {1}
        assert len(log.living) == stats["total_objects"]
        assert log.made.total() == stats["ctor_object"]
        assert log.gone.total() == stats["dtor_object"]
        assert log.made.total() < 21 * 500
        cache.free_bulk(batch)
        again.free()
    assert log.made == log.gone


def test_dtor_runs_once_for_each_slot_also_those_never_handed_out(log):
    cache = KmemCache("each", 64, ctor=log.ctor, dtor=log.dtor)
    cache.alloc()
    assert len(log.made) == cache.stats()["total_objects"] >= cache.objs_per_slab > 1
    cache.destroy()
    assert log.made == log.gone


def test_shrink_gives_payloads_back(log):
    cache = KmemCache("shrunk", 64, ctor=log.ctor, dtor=log.dtor)
    kept = cache.alloc()
    cache.free_bulk(cache.alloc_bulk(1000))
    cache.validate()
    before = len(log.living)
    assert cache.shrink() > 0
    assert 0 < len(log.living) <= cache.objs_per_slab < before
    assert log.living[kept.address] == 1
    assert kept.payload == [kept.address]
    assert cache.stats()["total_objects"] == len(log.living)
    kept.free()
    cache.destroy()
    assert log.made == log.gone


def test_what_ctor_writes_stays_where_nobody_writes():
    def ctor(obj):
        with memoryview(obj) as view:
            view[:] = b"made".ljust(64, b".")

    cache = KmemCache("bytes", 64, ctor=ctor)
    for _ in range(3):
        batch = cache.alloc_bulk(100)
        assert {bytes(obj) for obj in batch} == {b"made".ljust(64, b".")}
        assert {obj.payload for obj in batch} == {None}
        cache.free_bulk(batch)
    cache.destroy()


def test_the_view_is_over_when_the_callback_returns(log):
    views = []

    def callback(obj):
        assert isinstance(obj, SlabObject)
        assert not obj.freed
        assert obj.nbytes == len(obj) == 64
        assert obj.cache is cache
        assert "SlabObject of 'views'" in repr(obj)
        views.append(obj)
        return log.ctor(obj)

    cache = KmemCache("views", 64, ctor=callback, dtor=callback)
    cache.alloc()
    made = len(views)
    cache.destroy()
    assert len(views) == 2 * made
    for view in views:
        assert view.freed
        assert view.cache is cache
        for use in (
            lambda view=view: memoryview(view),
            lambda view=view: view.address,
            lambda view=view: view.payload,
            lambda view=view: view.__enter__(),
            lambda view=view: view.free(),
            lambda view=view: cache.free(view),
        ):
            with pytest.raises(haybarn.UseAfterFreeError, match="cache 'views': object at 0x"):
                use()
    with pytest.raises(TypeError):
        type(views[0])()


def test_the_view_is_not_the_callbacks_to_free():
    seen = []

    def ctor(obj):
        for free in (obj.free, lambda: obj.cache.free(obj), lambda: obj.cache.free_bulk([obj])):
            with pytest.raises(haybarn.ObjectInUseError, match="constructor's or destructor's hands"):
                free()
        seen.append(obj)

    cache = KmemCache("hands", 1024, ctor=ctor)
    cache.alloc().free()
    assert len(seen) == cache.objs_per_slab
    cache.destroy()


@pytest.mark.parametrize("nth", [1, 2, 7])
@pytest.mark.parametrize("how", ["alloc", "bulk"])
def test_an_exception_in_ctor_surfaces_unchanged_and_leaves_all_as_before(log, nth, how):
    armed = []

    def ctor(obj):
        if armed and len(log.made) == armed[0]:
            raise error
        return log.ctor(obj)

    error = KeyError("from ctor")
    cache = KmemCache("failing", 256, ctor=ctor, dtor=log.dtor)
    kept = cache.alloc_bulk(cache.objs_per_slab)
    with KmemCache("full", 64) as _:
        # Nothing is left in sheaves or slabs: the next one needs a new slab.
        kept += cache.alloc_bulk(cache.stats()["total_objects"] - len(kept))
    before, living = counters(cache), +log.living
    armed.append(len(log.made) + nth - 1)
    with pytest.raises(KeyError) as raised:
        cache.alloc() if how == "alloc" else cache.alloc_bulk(1000)
    assert raised.value is error
    assert log.living == living
    after = cache.stats()
    assert after["ctor_fail"] == 1
    for name in ("objects", "total_objects", "slabs", "in_sheaves", "partial"):
        assert after[name] == before[name], name
    cache.validate()
    armed.clear()
    more = cache.alloc_bulk(100)
    cache.free_bulk(more + kept)
    cache.destroy()
    assert log.made == log.gone


def test_a_refill_that_fails_gives_back_what_it_had(log):
    """Objects of partial slabs that a bulk allocation had gathered before a constructor failed are there afterwards."""
    failing = False

    def ctor(obj):
        if failing:
            raise ValueError("no more")
        return log.ctor(obj)

    cache = KmemCache("gathered", 64, ctor=ctor, dtor=log.dtor)
    cache.free_bulk(cache.alloc_bulk(300))
    before = cache.stats()
    failing = True
    for _ in range(5):
        with pytest.raises(ValueError, match="no more"):
            cache.alloc_bulk(1000)
    after = cache.stats()
    assert after["objects"] == 0
    assert after["total_objects"] == before["total_objects"]
    cache.validate()
    # All of them can still be had, without a constructor.
    batch = cache.alloc_bulk(before["total_objects"])
    with pytest.raises(ValueError, match="no more"):
        cache.alloc()
    cache.free_bulk(batch)
    cache.destroy()
    assert log.made == log.gone


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration, MemoryError])
def test_any_exception_comes_through(raised):
    def ctor(obj):
        raise raised("here")

    cache = KmemCache("any", 64, ctor=ctor)
    for call in (cache.alloc, lambda: cache.alloc_bulk(3)):
        with pytest.raises(raised, match="here") as seen:
            call()
        assert type(seen.value) is raised
        assert seen.traceback[-1].name == "ctor"
    cache.destroy()


def test_an_exception_in_dtor_goes_to_the_unraisable_hook(log, monkeypatch):
    seen = []
    monkeypatch.setattr(
        sys, "unraisablehook", lambda what: seen.append((what.exc_type, str(what.exc_value), what.object))
    )

    def dtor(obj):
        log.dtor(obj)
        raise OSError(f"{obj.address:#x}")

    cache = KmemCache("loud", 512, ctor=log.ctor, dtor=dtor)
    cache.alloc()
    cache.destroy()
    assert log.made == log.gone
    assert sorted(seen, key=str) == sorted(((OSError, f"{at:#x}", dtor) for at in log.made), key=str)


def test_a_free_on_an_exceptions_way_up_keeps_the_exception(log):
    """What lies on the interpreter's stack is dropped while the exception is pending, and destructors run in there."""
    cache = KmemCache("way-up", 4096, ctor=log.ctor, dtor=log.dtor)
    with pytest.raises(ZeroDivisionError):
        print([*cache.alloc_bulk(500), cache.alloc_bulk(500), 1 // len([])])
    assert log.gone
    cache.destroy()
    assert log.made == log.gone


def test_only_one_of_the_two(log):
    cache = KmemCache("ctor-only", 64, ctor=log.ctor)
    assert cache.dtor is None
    assert cache.alloc().payload
    cache.destroy()
    seen = []
    cache = KmemCache("dtor-only", 64, dtor=lambda obj: seen.append(obj.payload))
    assert cache.ctor is None
    assert cache.alloc().payload is None
    slots = cache.stats()["total_objects"]
    cache.destroy()
    assert seen == [None] * slots


def test_without_callbacks_there_is_no_payload():
    with KmemCache("plain", 64) as cache:
        obj = cache.alloc()
        assert (cache.ctor, cache.dtor, obj.payload) == (None, None, None)
        with pytest.raises(AttributeError):
            obj.payload = 1
        obj.free()
        with pytest.raises(haybarn.UseAfterFreeError, match="has been freed"):
            _ = obj.payload
    KmemCache("plain", 64, ctor=None, dtor=None).destroy()


@pytest.mark.parametrize("argument", ["ctor", "dtor"])
@pytest.mark.parametrize("value", [1, "name", [], b""])
def test_callbacks_are_callable(argument, value):
    with pytest.raises(
        TypeError, match=f"cache 'wrong': {argument} must be callable or None, not '{type(value).__name__}'"
    ):
        KmemCache("wrong", 64, **{argument: value})
    assert "wrong" not in haybarn.caches()


@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_zero_is_refused_where_a_callback_works_on_the_bytes(callback):
    cache = KmemCache("zero", 64, **{callback: lambda obj: None})
    for call in (cache.alloc, lambda zero: cache.alloc_bulk(2, zero=zero)):
        with pytest.raises(haybarn.BadArgumentError, match=r"cache 'zero': zero = True .* constructor"):
            call(zero=True)
        call(zero=False)
    cache.destroy()


@pytest.mark.parametrize("size", [1, 8, 13, 64, 100, 256, 700, 4096, 10000])
def test_geometry_is_linuxs_for_a_constructor_and_eight_bytes(size):
    linux = haybarn.geometry(size, has_ctor=True)
    with KmemCache("dtor", size, dtor=lambda obj: None) as cache:
        assert (cache.slab_size, cache.objs_per_slab, cache.order) == (
            linux.slab_size,
            linux.objs_per_slab,
            linux.order,
        )
    with KmemCache("ctor", size, ctor=lambda obj: None) as cache:
        assert (cache.object_size, cache.slab_size) == (size, linux.slab_size + 8)
        assert len(cache.alloc()) == size
    inside = haybarn.geometry(size, has_ctor=True, freeptr_offset=0) if size >= 8 else None
    if inside:
        with KmemCache("inside", size, ctor=lambda obj: None, freeptr_offset=0) as cache:
            assert cache.slab_size == inside.slab_size + 8


def test_neighbours_do_not_reach_the_payload(log):
    """Every byte that Python can write is written; the payloads are as they were."""
    cache = KmemCache("edges", 61, ctor=log.ctor, dtor=log.dtor)
    batch = cache.alloc_bulk(400)
    for obj in batch:
        with memoryview(obj) as view:
            view[:] = b"\xff" * len(view)
    assert all(obj.payload == [obj.address] for obj in batch)
    cache.free_bulk(batch)
    cache.destroy()
    assert log.made == log.gone


@pytest.mark.parametrize("options", [{"sheaf_capacity": 1}, {"min_order": 3}, {"align": 256}, {"count_hits": False}])
def test_options(log, options):
    with KmemCache("options", 96, ctor=log.ctor, dtor=log.dtor, **options) as cache:
        for _ in range(3):
            batch = cache.alloc_bulk(200)
            assert all(obj.payload == [obj.address] for obj in batch)
            cache.free_bulk(batch)
            cache.shrink()
        cache.validate()
    assert log.made == log.gone
