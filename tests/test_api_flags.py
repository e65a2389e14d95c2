"""SlabFlags: Linux's public flags, from the core's table."""

from __future__ import annotations

import copy
import enum
import pickle

from haybarn import SlabFlags

# The kernel's public flags, without SLAB_.
NAMES = (
    "HWCACHE_ALIGN CACHE_DMA CACHE_DMA32 PANIC TYPESAFE_BY_RCU DEBUG_OBJECTS NOLEAKTRACE RECLAIM_ACCOUNT TEMPORARY "
    "ACCOUNT NO_USER_FLAGS KMALLOC NO_MERGE CONSISTENCY_CHECKS RED_ZONE POISON STORE_USER TRACE"
).split()


def test_the_names_are_linuxs():
    assert issubclass(SlabFlags, enum.IntFlag)
    assert list(SlabFlags.__members__) == NAMES
    assert SlabFlags.__module__ == "haybarn"
    assert all(name in SlabFlags.__doc__ for name in NAMES)


def test_they_combine():
    flags = SlabFlags.HWCACHE_ALIGN | SlabFlags.PANIC
    assert SlabFlags.PANIC in flags
    assert int(flags) == SlabFlags.HWCACHE_ALIGN.value + SlabFlags.PANIC.value
    assert SlabFlags.TEMPORARY is SlabFlags.RECLAIM_ACCOUNT


def test_they_travel():
    flags = SlabFlags.PANIC | SlabFlags.NO_MERGE
    assert pickle.loads(pickle.dumps(flags)) == flags
    assert copy.deepcopy(flags) is flags
