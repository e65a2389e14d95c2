"""Object caches on the Linux kernel's newest slab allocator design: sheaves over barns over lock-free slabs.

>>> from haybarn import KmemCache
>>> with KmemCache("frame", 1500, align=64) as cache:
...     with cache.alloc(zero=True) as obj:
...         memoryview(obj)[:5] = b"hello"

A `KmemCache` gives out objects of one size; an object is a writable buffer that NumPy, ctypes, sockets and files
accept, and goes back to its cache by `free()`, at the end of `with`, or with its last reference. Mistakes raise one of
the errors under `HaybarnError`; none of them can corrupt memory. Everything here may be called from any thread.
"""

from __future__ import annotations

from haybarn import fault_inject, rcu, sysfs
from haybarn._core import (
    AlreadySetUpError,
    BadArgumentError,
    CacheBusyError,
    CacheDestroyedError,
    CacheStorage,
    CacheView,
    CorruptionError,
    DoubleFreeError,
    Geometry,
    HaybarnError,
    KmallocObject,
    KmemCache,
    ObjectInUseError,
    OutOfMemoryError,
    PrefilledSheaf,
    ReadSectionError,
    ReentryError,
    SheafEmptyError,
    SlabFlags,
    SlabObject,
    StorageInUseError,
    SysfsError,
    UnavailableError,
    UseAfterFreeError,
    WrongCacheError,
    __version__,
    caches,
    geometry,
    info,
    kmalloc,
    kmalloc_size_roundup,
    krealloc,
    ksize,
    leaks,
    slabinfo,
    stats,
)

__all__ = [
    "AlreadySetUpError",
    "BadArgumentError",
    "CacheBusyError",
    "CacheDestroyedError",
    "CacheStorage",
    "CacheView",
    "CorruptionError",
    "DoubleFreeError",
    "Geometry",
    "HaybarnError",
    "KmallocObject",
    "KmemCache",
    "ObjectInUseError",
    "OutOfMemoryError",
    "PrefilledSheaf",
    "ReadSectionError",
    "ReentryError",
    "SheafEmptyError",
    "SlabFlags",
    "SlabObject",
    "StorageInUseError",
    "SysfsError",
    "UnavailableError",
    "UseAfterFreeError",
    "WrongCacheError",
    "__version__",
    "caches",
    "fault_inject",
    "geometry",
    "info",
    "kmalloc",
    "kmalloc_size_roundup",
    "krealloc",
    "ksize",
    "leaks",
    "rcu",
    "slabinfo",
    "stats",
    "sysfs",
]
