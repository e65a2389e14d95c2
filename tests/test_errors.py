"""One hierarchy; every error names the argument, the cache and what would be right; the process survives each."""

from __future__ import annotations

import subprocess
import sys

import pytest

import haybarn
from haybarn import KmemCache, SlabFlags

BUILTINS = {
    "UseAfterFreeError": ValueError,
    "DoubleFreeError": ValueError,
    "WrongCacheError": ValueError,
    "CacheDestroyedError": ValueError,
    "BadArgumentError": ValueError,
    "CacheBusyError": RuntimeError,
    "CorruptionError": RuntimeError,
    "OutOfMemoryError": MemoryError,
    "ObjectInUseError": BufferError,
    "UnavailableError": RuntimeError,
    "ReentryError": RuntimeError,
}


@pytest.mark.parametrize("name", BUILTINS)
def test_each_error_is_also_the_builtin(name):
    error = getattr(haybarn, name)
    assert issubclass(error, haybarn.HaybarnError)
    assert issubclass(error, BUILTINS[name])
    assert error.__module__ == "haybarn"
    assert error.__qualname__ == name
    assert error.__doc__
    with pytest.raises(haybarn.HaybarnError, match="text"):
        raise error("text")


def test_the_base_is_an_exception():
    assert haybarn.HaybarnError.__bases__ == (Exception,)


OUT_OF_RANGE = [
    ({"size": 0}, "size"),
    ({"size": -1}, "size"),
    ({"size": (4 << 20) + 1}, "size"),
    ({"size": 1 << 63}, "size"),
    ({"size": 1 << 64}, "size"),
    ({"size": -(1 << 200)}, "size"),
    ({"align": 3}, "align"),
    ({"align": -8}, "align"),
    ({"align": 8192}, "align"),
    ({"align": 1 << 70}, "align"),
    ({"sheaf_capacity": -1}, "sheaf_capacity"),
    ({"sheaf_capacity": 1021}, "sheaf_capacity"),
    ({"sheaf_capacity": 1 << 40}, "sheaf_capacity"),
    ({"min_order": -1}, "min_order"),
    ({"min_order": 10}, "min_order"),
    ({"min_order": 256}, "min_order"),
    ({"freeptr_offset": -8}, "freeptr_offset"),
    ({"freeptr_offset": 8}, "freeptr_offset"),
    ({"freeptr_offset": 1 << 64}, "freeptr_offset"),
    ({"flags": -1}, "flags"),
    ({"flags": 1 << 31}, "flags"),
    ({"flags": 1 << 64}, "flags"),
    ({"flags": SlabFlags.TYPESAFE_BY_RCU, "freeptr_offset": 64}, "freeptr_offset"),
    ({"flags": SlabFlags.TYPESAFE_BY_RCU, "freeptr_offset": 4}, "freeptr_offset"),
    ({"flags": SlabFlags.RED_ZONE}, "flags"),
    ({"flags": SlabFlags.POISON | SlabFlags.HWCACHE_ALIGN}, "flags"),
    ({"flags": SlabFlags.ACCOUNT}, "flags"),
    ({"flags": SlabFlags.KMALLOC}, "flags"),
]


@pytest.mark.parametrize(("given", "argument"), OUT_OF_RANGE)
def test_a_number_out_of_range_names_argument_cache_and_range(given, argument):
    arguments = {"size": 64} | given
    with pytest.raises(haybarn.BadArgumentError, match=rf"'wrong'.*{argument} = .*legal: .+"):
        KmemCache("wrong", arguments.pop("size"), **arguments)
    assert "wrong" not in haybarn.caches()


@pytest.mark.parametrize("name", ["", "with space", "with/slash", "taken"])
def test_a_bad_name(name):
    taken = KmemCache("taken", 64)
    with pytest.raises(haybarn.BadArgumentError, match="name"):
        KmemCache(name, 64)
    taken.destroy()


@pytest.mark.parametrize(
    ("given", "argument"),
    [
        ({"size": "64"}, "size"),
        ({"size": 64.0}, "size"),
        ({"size": None}, "size"),
        ({"align": "8"}, "align"),
        ({"align": None}, "align"),
        ({"flags": "HWCACHE_ALIGN"}, "flags"),
        ({"flags": None}, "flags"),
        ({"sheaf_capacity": 1.5}, "sheaf_capacity"),
        ({"min_order": []}, "min_order"),
        ({"freeptr_offset": b"8"}, "freeptr_offset"),
        ({"count_hits": "yes"}, "count_hits"),
    ],
)
def test_a_wrong_type_is_a_type_error(given, argument):
    arguments = {"size": 64} | given
    with pytest.raises(TypeError, match=argument):
        KmemCache("wrong", arguments.pop("size"), **arguments)


def test_a_name_must_be_text():
    with pytest.raises(TypeError):
        KmemCache(b"bytes", 64)


WRONG_CALLS = {
    "positional": lambda cache: cache.alloc(1),
    "text for bool": lambda cache: cache.alloc(zero="yes"),
    "None for bool": lambda cache: cache.alloc(zero=None),
    "unknown keyword": lambda cache: cache.alloc(one=True),
    "one unknown keyword": lambda cache: cache.alloc(zero=True, one=True),
    "text for count": lambda cache: cache.alloc_bulk("3"),
    "float for count": lambda cache: cache.alloc_bulk(3.0),
    "no count": lambda cache: cache.alloc_bulk(),
    "free bytes": lambda cache: cache.free(b"bytes"),
    "free nothing": lambda cache: cache.free(),
    "bulk free of a number": lambda cache: cache.free_bulk(3),
    "bulk free of text": lambda cache: cache.free_bulk("abc"),
}


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_wrong_calls_are_type_errors(call):
    with KmemCache("calls", 64) as cache, pytest.raises(TypeError):
        WRONG_CALLS[call](cache)


@pytest.mark.parametrize("n", [-1, -(1 << 70), 1 << 64])
def test_a_wrong_count(n):
    with KmemCache("counts", 64) as cache, pytest.raises(haybarn.BadArgumentError, match="'counts'.*n = "):
        cache.alloc_bulk(n)


@pytest.mark.parametrize("n", [1 << 40, 1 << 62])
def test_more_than_there_is(n):
    with KmemCache("greedy", 4096) as cache:
        with pytest.raises(MemoryError, match="'greedy'") as raised:
            cache.alloc_bulk(n)
        assert isinstance(raised.value, haybarn.OutOfMemoryError)
        assert cache.stats()["objects"] == 0


def test_each_error_from_several_threads(in_threads):
    cache, other = KmemCache("threads", 64), KmemCache("threads-other", 64)
    gone = KmemCache("threads-gone", 64)
    gone.destroy()

    def body(index):
        for _ in range(200):
            obj, keep, foreign = cache.alloc(), cache.alloc(), other.alloc()
            obj.free()
            with pytest.raises(haybarn.DoubleFreeError):
                obj.free()
            with pytest.raises(haybarn.UseAfterFreeError):
                memoryview(obj)
            with pytest.raises(haybarn.WrongCacheError, match="'threads'.*'threads-other'"):
                cache.free(foreign)
            view = memoryview(keep)
            with pytest.raises(haybarn.ObjectInUseError):
                keep.free()
            view.release()
            with pytest.raises(haybarn.CacheDestroyedError):
                gone.alloc()
            with pytest.raises(haybarn.BadArgumentError):
                KmemCache(f"threads-{index}", 0)
            with pytest.raises(haybarn.CacheBusyError):
                cache.destroy()
            with pytest.raises(haybarn.OutOfMemoryError):
                cache.alloc_bulk(1 << 60)

    in_threads(body)
    assert cache.stats()["objects"] == 0
    cache.validate()
    cache.destroy()
    other.destroy()


WHEN_MEMORY_IS_OUT = """
import pathlib, resource, threading
mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (mapped + (700 << 20),) * 2)
import haybarn
cache = haybarn.KmemCache("big", 1 << 20)
kept, failed = [], []

def fill():
    mine = []
    try:
        while True:
            mine.append(cache.alloc())
    except MemoryError as error:
        failed.append((type(error), str(error)))  # the error itself would keep this frame
    kept.extend(mine)

threads = [threading.Thread(target=fill) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(failed) == 4, failed
assert all(error is haybarn.OutOfMemoryError and "'big'" in text for error, text in failed), failed
live = len(kept)
assert live > 50, live
try:
    cache.alloc_bulk(10)
except haybarn.OutOfMemoryError:
    pass
else:
    raise AssertionError("more than there is")
assert cache.stats()["objects"] == live
kept.pop()
kept.append(cache.alloc(zero=True))

del kept
cache.validate()
cache.shrink()
assert cache.stats()["objects"] == 0
cache.destroy()
"""


def test_running_out_of_memory_is_survived():
    done = subprocess.run([sys.executable, "-c", WHEN_MEMORY_IS_OUT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


CORRUPTED = """
import ctypes, threading
import haybarn
from haybarn import SlabFlags
# Without sheaves a freed object goes straight to its slab, whose free list runs through the free objects themselves.
cache = haybarn.KmemCache("damaged", 64, flags=SlabFlags.NOLEAKTRACE)
offset = haybarn.geometry(64, flags=SlabFlags.NOLEAKTRACE).freeptr_offset
assert cache.sheaf_capacity == 0
batch = cache.alloc_bulk(20)
address = batch[7].address
cache.validate()
batch[7].free()
cache.validate()
ctypes.c_uint64.from_address(address + offset).value = 0x4141414141414141
found = []

def look():
    try:
        cache.validate()
    except haybarn.CorruptionError as error:
        found.append(str(error))

threads = [threading.Thread(target=look) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
# Who finds the damage takes the slab's free objects out of use, so that nobody else meets it.
assert len(found) == 1 and "cache 'damaged' is corrupt" in found[0] and hex(0x4141414141414141) in found[0], found
cache.free(cache.alloc())
cache.free_bulk(batch[:7])
"""


def test_damage_is_found_and_survived():
    done = subprocess.run([sys.executable, "-c", CORRUPTED], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_name_that_no_encoding_knows_is_a_bad_argument():
    with pytest.raises(haybarn.BadArgumentError, match=r"name = .*ud800.*UTF-8"):
        haybarn.KmemCache("\ud800", 64)


def test_freeing_nothing_into_a_destroyed_cache_is_refused():
    cache = haybarn.KmemCache("nothing", 64)
    cache.free_bulk([])
    cache.destroy()
    with pytest.raises(haybarn.CacheDestroyedError):
        cache.free_bulk([])


def test_a_busy_cache_names_its_live_objects():
    cache = haybarn.KmemCache("named", 64)
    kept = [cache.alloc() for _ in range(3)]
    with pytest.raises(haybarn.CacheBusyError, match="3 live") as caught:
        cache.destroy()
    assert caught.value.live == 3
    assert sorted(address for address, _ in caught.value.objects) == sorted(obj.address for obj in kept)
    cache.free_bulk(kept)
    cache.destroy()
