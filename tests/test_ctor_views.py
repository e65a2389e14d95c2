"""A buffer that a callback leaves behind: an error, and its memory stays for as long as the buffer does."""

from __future__ import annotations

import gc
import random
import sys

import pytest

import haybarn
from haybarn import KmemCache


@pytest.mark.parametrize("size", [64, 4096, 3 << 20])
@pytest.mark.parametrize("keep", [memoryview, lambda obj: memoryview(obj)[1:3]])
def test_a_buffer_that_ctor_leaves_behind_is_an_error_and_keeps_its_memory(size, keep, payload):
    views = []

    def ctor(obj):
        if fail:
            view = keep(obj)
            view[:] = b"\xaa" * len(view)
            views.append(view)
        return payload()

    fail = False
    cache = KmemCache("left-behind", size, ctor=ctor)
    cache.free_bulk(cache.alloc_bulk(5))
    before = cache.stats()["total_objects"]
    used = haybarn.info()["used_bytes"]
    fail = True
    with pytest.raises(haybarn.ObjectInUseError, match=r"1 live buffer\(s\) after its constructor"):
        cache.alloc_bulk(before + 1)
    fail = False
    assert cache.stats()["total_objects"] == before
    assert payload.living() == before
    assert haybarn.info()["used_bytes"] > used
    # Nobody else gets that memory, even when the cache is gone.
    cache.free_bulk(cache.alloc_bulk(before + 50))
    cache.destroy()
    with KmemCache("others", size) as other:
        for obj in (batch := other.alloc_bulk(200 if size <= 4096 else 8)):
            with memoryview(obj) as view:
                view[:] = b"\xbb" * size
        other.free_bulk(batch)
        del obj, batch
    assert {bytes(view) for view in views} == {b"\xaa" * len(views[0])}
    assert haybarn.info()["used_bytes"] > 0
    views.clear()
    gc.collect()
    assert haybarn.info()["used_bytes"] <= used


def test_a_buffer_in_the_traceback_of_ctors_exception():
    def ctor(obj):
        view = memoryview(obj)
        view[:4] = b"oops"
        raise LookupError("with a view in its frame")

    used = haybarn.info()["used_bytes"]
    cache = KmemCache("traceback", 64, ctor=ctor)
    with pytest.raises(LookupError, match="with a view") as raised:
        cache.alloc()
    cache.destroy()
    frame = raised.value.__traceback__
    while frame.tb_next:
        frame = frame.tb_next
    assert bytes(frame.tb_frame.f_locals["view"][:4]) == b"oops"
    del frame
    raised.value.__traceback__ = None
    del raised
    gc.collect()
    assert haybarn.info()["used_bytes"] <= used


def test_a_buffer_that_dtor_leaves_behind_keeps_its_memory(monkeypatch, payload):
    errors, views = [], []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: errors.append((what.exc_type, str(what.exc_value))))
    used = haybarn.info()["used_bytes"]
    cache = KmemCache("dtor-leaves", 1024, ctor=lambda obj: payload(), dtor=lambda obj: views.append(memoryview(obj)))
    cache.alloc().free()
    slots = cache.stats()["total_objects"]
    cache.destroy()
    assert len(errors) == len(views) == slots
    assert all(kind is haybarn.ObjectInUseError and "after its destructor" in text for kind, text in errors)
    assert haybarn.info()["used_bytes"] > used
    for at, view in enumerate(views):
        view[:] = bytes([at]) * 1024
    assert [bytes(view) for view in views] == [bytes([at]) * 1024 for at in range(slots)]
    random.Random(1).shuffle(views)
    while views:
        views.pop().release()
    assert haybarn.info()["used_bytes"] <= used
