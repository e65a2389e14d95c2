"""`CacheStorage` and owners: a cache in storage of its own, what keeps what, and the errors."""

from __future__ import annotations

import gc
import os
import sys
import threading
import types
import weakref

import pytest

import haybarn
from haybarn import (
    AlreadySetUpError,
    BadArgumentError,
    CacheBusyError,
    CacheStorage,
    KmemCache,
    SlabFlags,
    StorageInUseError,
    sysfs,
)


class Owner:
    """Something that can be owned and seen going."""


def test_storage_has_a_published_shape_and_says_what_is_in_it():
    storage = CacheStorage()
    assert (CacheStorage.SIZE, CacheStorage.ALIGN, storage.address % 64) == (64, 64, 0)
    assert (storage.in_use, storage.cache_name, repr(storage)) == (False, None, "<haybarn.CacheStorage, free>")
    with KmemCache("shape", 64, storage=storage) as cache:
        assert (storage.in_use, storage.cache_name) == (True, "shape")
        assert repr(storage) == "<haybarn.CacheStorage of 'shape'>"
        assert cache.storage is storage
        assert cache.owner is None
        assert KmemCache("shape-2", 64).storage is None
        with cache.alloc(zero=True) as obj:
            assert bytes(obj) == bytes(64)
    assert not storage.in_use


def test_storage_holds_one_cache_after_the_other():
    storage = CacheStorage()
    address = storage.address
    for number in range(20):
        cache = KmemCache(f"turn-{number}", 32 + number, storage=storage)
        kept = cache.alloc()
        with pytest.raises(AlreadySetUpError, match=f"cache 'turn-{number}' is set up already"):
            KmemCache("another", 64, storage=storage)
        with pytest.raises(CacheBusyError):
            cache.destroy()
        assert storage.in_use
        kept.free()
        cache.destroy()
        assert (storage.in_use, storage.address) == (False, address)


def test_a_creation_that_fails_leaves_storage_and_owner_alone():
    storage, owner = CacheStorage(), Owner()
    references = sys.getrefcount(owner)
    for arguments in ({"align": 3}, {"sheaf_capacity": 5000}, {"flags": SlabFlags.POISON}):
        with pytest.raises(BadArgumentError):
            KmemCache("fails", 64, storage=storage, owner=owner, **arguments)
        assert not storage.in_use
    with pytest.raises(BadArgumentError), KmemCache("taken", 64):
        KmemCache("taken", 64, storage=storage, owner=owner)
    gc.collect()
    assert sys.getrefcount(owner) == references
    KmemCache("fails", 64, storage=storage).destroy()


@pytest.mark.parametrize("value", [3, "storage", object(), CacheStorage])
def test_what_is_no_storage_is_a_type_error(value):
    with pytest.raises(TypeError, match="cache 'typed': storage must be a CacheStorage or None, not "):
        KmemCache("typed", 64, storage=value)


def test_a_cache_keeps_its_storage():
    cache = KmemCache("keeps", 64, storage=CacheStorage())
    gc.collect()
    objects = cache.alloc_bulk(1000)
    assert cache.storage.in_use
    del objects
    storage = weakref.ref(cache.storage)
    del cache
    gc.collect()
    assert storage() is None
    assert "keeps" not in haybarn.caches()


def test_a_cache_that_is_dropped_frees_its_storage():
    storage, owner = CacheStorage(), Owner()
    gone = weakref.ref(owner)
    cache = KmemCache("dropped", 64, storage=storage, owner=owner)
    obj = cache.alloc()
    del cache, owner
    gc.collect()
    assert storage.in_use
    assert gone() is not None
    del obj
    gc.collect()
    assert not storage.in_use
    assert gone() is None


def test_pending_frees_hold_the_storage_until_they_are_done():
    storage = CacheStorage()
    cache = KmemCache("pending", 64, storage=storage, flags=SlabFlags.NO_MERGE)
    cache.alloc().free_rcu()
    del cache
    # The cache goes after a grace period; whoever comes for its storage waits for that.
    KmemCache("pending", 64, storage=storage).destroy()
    assert not storage.in_use


@pytest.mark.parametrize("owner", [types.ModuleType("plugin"), Owner(), 12345678, "text", [], int])
def test_any_object_may_be_the_owner(owner):
    with KmemCache("any", 64, storage=CacheStorage(), owner=owner) as cache:
        assert cache.owner is owner
    assert cache.owner is None


def test_an_owner_is_pinned_until_the_last_reader_of_attributes_is_gone():
    storage, owner = CacheStorage(), Owner()
    gone = weakref.ref(owner)
    cache = KmemCache("read", 64, storage=storage, owner=owner)
    del owner
    reader = sysfs.open("/read/object_size")
    cache.destroy()
    gc.collect()
    assert gone() is not None, "an attribute was still being read"
    assert storage.in_use
    assert storage.cache_name is None
    assert repr(storage) == "<haybarn.CacheStorage, being read>"
    with pytest.raises(StorageInUseError, match="cache 'next': its storage is in use: attributes of the cache"):
        KmemCache("next", 64, storage=storage)
    del reader
    gc.collect()
    assert gone() is None
    assert not storage.in_use
    # The destroyed cache itself is no reader.
    assert cache.storage is storage
    KmemCache("next", 64, storage=storage).destroy()


def test_an_owner_may_use_the_library_when_it_goes():
    storage, seen = CacheStorage(), []

    class Uses:
        def __del__(self):
            with pytest.raises(haybarn.CacheDestroyedError):
                cache.alloc()
            with KmemCache("next", 64, storage=storage) as other, other.alloc():
                seen.append(storage.cache_name)
            seen.append(sysfs.listdir("/"))

    cache = KmemCache("uses", 64, storage=storage, owner=Uses())
    cache.destroy()
    assert seen[0] == "next"
    assert "uses" not in seen[1]


def test_owned_caches_lie_behind_a_hidden_primary_and_others_are_joined():
    size = 1234 * 8
    owned = KmemCache("owned", size, storage=CacheStorage(), owner=Owner())
    assert owned.primary == f":{size:07}"
    assert sysfs.readlink("/owned/primary") == f"../:{size:07}"
    later = KmemCache("later", size)
    assert later.primary == owned.primary
    fixed = KmemCache("fixed", size, storage=CacheStorage())
    assert fixed.primary == "fixed", "storage without an owner joins nobody"
    owned.destroy()
    later.destroy()
    joins = KmemCache("joins", size)
    assert (joins.primary, fixed.aliases) == ("fixed", ("joins",))
    obj = joins.alloc()
    fixed.destroy()
    assert joins.primary == "joins"
    assert not fixed.storage.in_use
    obj.free()
    joins.destroy()
    assert f":{size:07}" not in sysfs.listdir("/")


def test_an_owner_without_storage_is_kept_too():
    owner = Owner()
    gone = weakref.ref(owner)
    cache = KmemCache("dynamic", 64, owner=owner)
    del owner
    assert cache.owner is gone()
    cache.destroy()
    assert gone() is None


def test_a_constructor_and_storage():
    storage = CacheStorage()
    with KmemCache("built", 64, ctor=lambda obj: obj.address, storage=storage, owner=Owner()) as cache:
        obj = cache.alloc()
        assert obj.payload == obj.address
        assert cache.primary == "built"
        obj.free()
    assert not storage.in_use


def test_threads_meet_at_one_storage():
    storage, made, refused = CacheStorage(), [], []
    start = threading.Barrier(6)

    def work(number: int) -> None:
        start.wait()
        for turn in range(60):
            try:
                cache = KmemCache(f"meet-{number}-{turn}", 64, storage=storage, owner=Owner())
            except (AlreadySetUpError, StorageInUseError) as error:
                refused.append(error)
                continue
            made.append(cache.name)
            assert storage.cache_name == cache.name
            with cache.alloc():
                pass
            cache.destroy()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) + len(refused) == 360
    assert made
    assert not storage.in_use


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_the_storage_as_it_was():
    storage = CacheStorage()
    cache = KmemCache("forked", 64, storage=storage, owner=Owner())
    child = os.fork()
    if child == 0:
        ok = storage.cache_name == "forked"
        cache.destroy()
        ok = ok and not storage.in_use
        KmemCache("forked", 64, storage=storage).destroy()
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert storage.cache_name == "forked"
    cache.destroy()
