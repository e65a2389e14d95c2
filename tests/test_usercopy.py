"""The usercopy region: what the buffer of an object exposes, and who sees the rest."""

from __future__ import annotations

import ctypes
import gc
import itertools

import numpy as np
import pytest

from haybarn import BadArgumentError, CacheStorage, KmemCache, UseAfterFreeError, rcu, sysfs

NUMBERS = itertools.count()


def made(size, **args):
    """A cache under a name of its own."""
    return KmemCache(f"usercopy-{next(NUMBERS)}", size, **args)


def whole(obj, size):
    """All bytes of an object, as C code sees them."""
    return (ctypes.c_ubyte * size).from_address(obj.address)


@pytest.mark.parametrize(
    ("size", "offset", "bytes_"), [(64, 8, 16), (100, 0, 99), (100, 99, 1), (24, 0, 24), (8192, 1, 8191)]
)
def test_the_buffer_is_exactly_the_region(size, offset, bytes_):
    with made(size, useroffset=offset, usersize=bytes_) as cache, cache.alloc(zero=True) as obj:
        assert (cache.useroffset, cache.usersize, cache.object_size) == (offset, bytes_, size)
        assert len(obj) == obj.nbytes == bytes_
        view = memoryview(obj)
        assert (view.nbytes, view.readonly, view.format) == (bytes_, False, "B")
        array = np.frombuffer(view, dtype=np.uint8)
        assert array.nbytes == bytes_
        assert array.ctypes.data == obj.address + offset
        view[:] = b"\xa5" * bytes_
        seen = bytes(whole(obj, size))
        assert seen == bytes(offset) + b"\xa5" * bytes_ + bytes(size - offset - bytes_)
        for beyond in (bytes_, -bytes_ - 1):
            with pytest.raises(IndexError):
                view[beyond] = 1
        del array
        view.release()


def test_a_region_of_no_bytes_exposes_none():
    with made(64, usersize=0) as cache, cache.alloc() as obj:
        assert (cache.useroffset, cache.usersize, len(obj), obj.nbytes, bytes(obj)) == (0, 0, 0, 0, b"")
        assert np.asarray(obj).nbytes == 0
        with pytest.raises(ValueError, match="too small"):
            (ctypes.c_ubyte * 1).from_buffer(obj)


def test_without_one_the_whole_object_is_exposed_and_caches_merge():
    size = 3016  # nobody else's
    plain, explicit, shown = made(size), made(size, useroffset=0, usersize=None), made(size, usersize=size)
    assert (plain.useroffset, plain.usersize, explicit.usersize) == (0, None, None)
    assert plain.aliases == (explicit.name,)
    # The whole object as a region is a region.
    assert (shown.aliases, shown.primary, shown.usersize) == ((), shown.name, size)
    with plain.alloc() as obj, shown.alloc() as other:
        assert len(obj) == len(other) == size
        assert "shows" not in repr(obj)
    assert [sysfs.read(f"/{cache.name}/usersize") for cache in (plain, shown)] == ["0\n", f"{size}\n"]


def test_a_region_keeps_caches_apart():
    first, second = made(2920, usersize=8), made(2920, usersize=8)
    assert (first.aliases, second.aliases, second.primary) == ((), (), second.name)


@pytest.mark.parametrize(
    ("args", "argument", "legal"),
    [
        ({"useroffset": 8}, "useroffset = 8", "0 where usersize is None"),
        ({"useroffset": 65, "usersize": 0}, "useroffset = 65", "0 to the object size of 64 bytes"),
        ({"useroffset": 8, "usersize": 0}, "useroffset = 8", "0 where usersize is 0"),
        ({"useroffset": 8, "usersize": 57}, "usersize = 57", "0 to 56 bytes"),
        ({"usersize": 65}, "usersize = 65", "0 to 64 bytes"),
        ({"usersize": -1}, "usersize = -1", "0 to the object size of 64 bytes"),
        ({"useroffset": -1, "usersize": 1}, "useroffset = -1", "0 to the object size of 64 bytes"),
        ({"useroffset": 2**64, "usersize": 1}, "useroffset = 18446744073709551616", "0 to the object size of 64 bytes"),
        ({"useroffset": 2**64 - 1, "usersize": 2**64 - 1}, "useroffset = 1844", "0 to the object size of 64 bytes"),
    ],
)
def test_a_region_that_is_not_inside_the_object(args, argument, legal):
    name = f"usercopy-bad-{next(NUMBERS)}"
    with pytest.raises(BadArgumentError) as caught:
        KmemCache(name, 64, **args)
    for part in (f"cache '{name}'", argument, legal):
        assert part in str(caught.value)
    KmemCache(name, 64).destroy()  # nothing is left of the attempt


@pytest.mark.parametrize("args", [{"usersize": "8"}, {"usersize": 1.0}, {"useroffset": None, "usersize": 8}])
def test_what_is_no_number(args):
    with pytest.raises(TypeError, match="must be an int"):
        KmemCache(f"usercopy-bad-{next(NUMBERS)}", 64, **args)


def test_constructor_and_destructor_see_the_whole_object():
    seen = []

    def ctor(slot):
        assert len(slot) == slot.nbytes == 64
        with memoryview(slot) as view:
            view[:] = b"c" * 64
        return bytearray(b"payload")

    def dtor(slot):
        with memoryview(slot) as view:
            seen.append((len(slot), bytes(view)))

    cache = made(64, ctor=ctor, dtor=dtor, useroffset=16, usersize=8)
    with cache.alloc() as obj:
        assert obj.payload == b"payload"
        assert bytes(obj) == b"c" * 8
        memoryview(obj)[:] = b"userdata"
        at = obj.address
        assert bytes(whole(obj, 64)) == b"c" * 16 + b"userdata" + b"c" * 40
    # The slot's next user gets what the constructor wrote where no user could reach.
    found = cache.alloc_bulk(cache.objs_per_slab)
    again = next(obj for obj in found if obj.address == at)
    assert bytes(whole(again, 64)) == b"c" * 16 + b"userdata" + b"c" * 40
    cache.free_bulk(found)
    del obj, again, found
    cache.destroy()
    gc.collect()
    assert {size for size, _ in seen} == {64}
    assert sum(b"userdata" in bytes_ for _, bytes_ in seen) == 1


def test_zero_clears_the_whole_object():
    with made(200, useroffset=50, usersize=100) as cache:
        obj = cache.alloc()
        at = obj.address
        ctypes.memset(at, 0xFF, 200)
        obj.free()
        for obj in (cache.alloc(zero=True), *cache.alloc_bulk(3, zero=True)):
            assert bytes(whole(obj, 200)) == bytes(200)
            ctypes.memset(obj.address, 0xFF, 200)
        with cache.prefill(5) as sheaf:
            taken = [sheaf.alloc(zero=True) for _ in range(5)]
            for obj in taken:
                assert bytes(whole(obj, 200)) == bytes(200)
                assert (len(obj), bytes(obj)) == (100, bytes(100))
            cache.free_bulk(taken)
        del obj, taken


def test_the_rest_of_an_objects_life_is_as_ever():
    with made(64, useroffset=8, usersize=16) as cache:
        obj = cache.alloc()
        assert (
            repr(obj)
            == f"<haybarn.SlabObject of '{cache.name}', 64 bytes at {obj.address:#x}, shows 16 from byte 8 on>"
        )
        view = memoryview(obj)
        obj.free_rcu()
        view[:] = b"x" * 16
        view.release()
        rcu.synchronize()
        assert (len(obj), obj.nbytes, obj.freed) == (16, 16, True)
        with pytest.raises(UseAfterFreeError):
            memoryview(obj)
        cache.rcu_barrier()
        assert cache.stats()["objects"] == 0


def test_what_c_code_keeps_before_the_region_is_its_own():
    with made(96, storage=CacheStorage(), useroffset=32, usersize=64) as cache, cache.alloc() as obj:
        header = (ctypes.c_uint32 * 8).from_address(obj.address)
        header[:] = range(8)
        memoryview(obj)[:] = bytes(64)
        assert list(header) == list(range(8))
