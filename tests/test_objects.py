"""SlabObject: a buffer with an end."""

from __future__ import annotations

import copy
import ctypes
import io
import pickle
import socket
import struct
import sys
import weakref

import numpy as np
import pytest

import haybarn
from haybarn import KmemCache, SlabObject


@pytest.fixture(scope="module")
def cache():
    with KmemCache("objects", 256) as made:
        yield made


def test_it_is_a_writable_buffer_of_object_size_bytes(cache):
    obj = cache.alloc(zero=True)
    view = memoryview(obj)
    assert (view.nbytes, view.itemsize, view.format, view.ndim, view.readonly) == (256, 1, "B", 1, False)
    assert view.c_contiguous
    view[:5] = b"hello"
    assert bytes(obj)[:6] == b"hello\0"
    assert view.obj is obj
    assert len(obj) == obj.nbytes == 256


def test_numpy_shares_the_memory(cache):
    obj = cache.alloc(zero=True)
    array = np.frombuffer(obj, dtype=np.uint32)
    array[:] = np.arange(64)
    assert struct.unpack_from("<4I", obj) == (0, 1, 2, 3)
    assert array.ctypes.data == obj.address
    with pytest.raises(haybarn.ObjectInUseError, match="1 live buffer"):
        obj.free()
    del array
    obj.free()


def test_sockets_and_files_fill_it(cache, tmp_path):
    obj = cache.alloc(zero=True)
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"over the wire")
        assert right.recv_into(obj) == 13
    assert bytes(obj)[:13] == b"over the wire"
    path = tmp_path / "file"
    path.write_bytes(b"from a file")
    with path.open("rb") as file:
        assert file.readinto(obj) == 11
    with path.open("rb", buffering=0) as file:
        assert file.readinto(obj) == 11
    assert bytes(obj)[:11] == b"from a file"
    assert io.BytesIO(b"x" * 300).readinto(obj) == 256
    obj.free()


def test_ctypes_and_struct(cache):
    obj = cache.alloc(zero=True)
    struct.pack_into("<Q", obj, 8, 0x1234)
    number = ctypes.c_uint64.from_buffer(obj, 8)
    assert number.value == 0x1234
    number.value = 7
    assert struct.unpack_from("<Q", obj, 8) == (7,)
    with pytest.raises(BufferError):
        obj.free()
    del number
    obj.free()


def test_views_count(cache):
    obj = cache.alloc()
    views = [memoryview(obj) for _ in range(3)]
    part = views[0][10:20]
    for _ in range(3):
        with pytest.raises(haybarn.ObjectInUseError):
            obj.free()
        with pytest.raises(haybarn.ObjectInUseError):
            cache.free(obj)
        views.pop().release() if len(views) > 1 else part.release()
    views[0].release()
    obj.free()


def test_a_view_keeps_a_dropped_object(cache):
    live = cache.stats()["objects"]
    obj = cache.alloc()
    view = memoryview(obj)
    del obj
    view[:] = b"z" * 256
    assert cache.stats()["objects"] == live + 1
    assert bytes(view[:2]) == b"zz"
    view.release()
    del view
    assert cache.stats()["objects"] == live


def test_use_after_free(cache):
    obj = cache.alloc()
    assert not obj.freed
    obj.free()
    assert obj.freed
    for use in (memoryview, bytes, lambda o: o.address, lambda o: np.frombuffer(o), lambda o: o.__enter__()):
        with pytest.raises(haybarn.UseAfterFreeError, match="'objects'"):
            use(obj)
    with pytest.raises(haybarn.DoubleFreeError, match="'objects'"):
        obj.free()
    with pytest.raises(haybarn.DoubleFreeError):
        cache.free(obj)
    # What is about the object and not its memory stays.
    assert obj.nbytes == len(obj) == 256
    assert obj.cache is cache
    assert "freed" in repr(obj)


def test_the_next_owner_is_not_reachable_through_a_freed_object(cache):
    old = cache.alloc()
    old.free()
    new = cache.alloc(zero=True)
    with pytest.raises(haybarn.UseAfterFreeError):
        memoryview(old)
    with pytest.raises(haybarn.DoubleFreeError):
        cache.free(old)
    del old
    assert not new.freed
    assert bytes(new) == bytes(256)


def test_with_frees(cache):
    live = cache.stats()["objects"]
    with cache.alloc() as obj:
        assert isinstance(obj, SlabObject)
        assert cache.stats()["objects"] == live + 1
    assert obj.freed
    assert cache.stats()["objects"] == live


def test_with_is_silent_when_the_body_freed(cache):
    with cache.alloc() as obj:
        obj.free()
    with cache.alloc() as obj:
        cache.free_bulk([obj])


def test_with_on_a_freed_object_raises(cache):
    obj = cache.alloc()
    obj.free()
    with pytest.raises(haybarn.UseAfterFreeError), obj:
        pytest.fail("entered")


def test_leaving_with_a_live_view_raises_and_keeps(cache):
    obj = cache.alloc()
    with pytest.raises(haybarn.ObjectInUseError), obj:
        view = memoryview(obj)
    assert not obj.freed
    view.release()
    obj.free()


def test_the_bodys_exception_comes_first(cache):
    with pytest.raises(KeyError), cache.alloc() as obj:
        raise KeyError
    assert obj.freed


def test_dropping_frees(cache):
    live = cache.stats()["objects"]
    cache.alloc()
    batch = cache.alloc_bulk(50)
    assert cache.stats()["objects"] == live + 50
    del batch
    assert cache.stats()["objects"] == live


def test_repr(cache):
    obj = cache.alloc()
    assert repr(obj) == f"<haybarn.SlabObject of 'objects', 256 bytes at {obj.address:#x}>"


def test_sizeof_counts_the_memory_behind(cache):
    obj = cache.alloc()
    own = sys.getsizeof(obj) - cache.slab_size
    assert 32 <= own <= 128
    obj.free()
    assert sys.getsizeof(obj) == own


def test_weak_references(cache):
    obj = cache.alloc()
    died = []
    seen = weakref.ref(obj, died.append)
    assert seen() is obj
    obj.free()
    assert seen() is obj
    del obj
    assert seen() is None
    assert died == [seen]
    # The wrapper is used again; the old reference must not come back to life.
    again = cache.alloc()
    assert seen() is None
    assert weakref.getweakrefcount(again) == 0


def test_a_callback_may_allocate_and_free(cache):
    def callback(_):
        cache.alloc().free()
        kept.append(cache.alloc())

    kept: list[SlabObject] = []
    for _ in range(100):
        obj = cache.alloc()
        seen = weakref.ref(obj, callback)
        del obj
        assert seen() is None
    assert len(kept) == 100


def test_identity_and_hash(cache):
    first, second = cache.alloc(), cache.alloc()
    assert first != second
    assert len({first, second, first}) == 2


def test_no_attributes_no_subclasses_no_instances(cache):
    obj = cache.alloc()
    with pytest.raises(AttributeError):
        obj.colour = "red"
    with pytest.raises(AttributeError):
        obj.address = 0
    with pytest.raises(AttributeError):
        del obj.nbytes
    with pytest.raises(TypeError, match="SlabObject"):
        SlabObject()
    with pytest.raises(TypeError, match="SlabObject"):
        SlabObject.__new__(SlabObject)
    with pytest.raises(TypeError):
        object.__new__(SlabObject)
    with pytest.raises(TypeError, match="SlabObject"):
        type("Mine", (SlabObject,), {})
    with pytest.raises(TypeError):
        SlabObject.free = None
    with pytest.raises(TypeError):
        obj.__class__ = type("Other", (), {})
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            make(obj)


def test_methods_check_what_they_are_given(cache):
    for wrong in (cache, object(), b"bytes", None):
        with pytest.raises(TypeError):
            SlabObject.free(wrong)
        with pytest.raises(TypeError):
            SlabObject.address.__get__(wrong)
    obj = cache.alloc()
    for wrong in (obj, object(), None):
        with pytest.raises(TypeError):
            KmemCache.alloc(wrong)
        with pytest.raises(TypeError):
            KmemCache.free(wrong, obj)
    with pytest.raises(TypeError):
        obj.free(1)
    assert not obj.freed


def test_wrappers_are_reused_without_leaking_state(cache):
    for round_ in range(3):
        batch = [cache.alloc() for _ in range(2000)]
        assert len({obj.address for obj in batch}) == 2000
        assert all(weakref.getweakrefcount(obj) == 0 for obj in batch)
        watched = [weakref.ref(obj) for obj in batch[:: round_ + 1]]
        del batch
        assert all(ref() is None for ref in watched)


def test_it_is_no_sequence(cache):
    obj = cache.alloc()
    with pytest.raises(TypeError):
        obj[0]
    with pytest.raises(TypeError):
        iter(obj)
    assert bool(obj)
