"""Caches as a tree of attributes, with the names and formats of Linux's /sys/kernel/slab.

>>> from haybarn import KmemCache, SlabFlags, sysfs
>>> cache = KmemCache("frame", 1500, flags=SlabFlags.NO_MERGE)
>>> sysfs.read("/frame/object_size")
'1500\\n'
>>> sysfs.write("/frame/min_partial", "8")
1
>>> sysfs.readlink("/frame/primary")
'../frame'
>>> sysfs.as_dict("/frame")["total_objects"]
{'total': 0, 'nodes': {}}
>>> with sysfs.open("/frame/objects") as objects:
...     batch = cache.alloc_bulk(3)
...     objects.value()["total"] >= 3
True

A folder for each name of a living cache of this process, whoever made it, Python, Rust or kmalloc; in it a file for
each attribute and a link `primary` to the folder of the name whose storage this one shares (its own, unless caches were
merged). The tree is there from the import on; it is no file system that other programs see.

`listdir`, `read`, `write` and `readlink` take an absolute path and do what the functions of that name do with files.
`as_dict` gives the same as numbers: a folder's attributes, or for "/" those of every cache. `open` gives an attribute
to read again and again: a context manager with `read()`, `value()` and `write(text)`.

What fails raises `haybarn.SysfsError`, an `OSError` with the `errno` that Linux gives: ENOENT for what is not there,
EACCES for writing what can only be read, EINVAL and ERANGE for a text that is not legal, EISDIR, ENOTDIR, ENODEV
for an open attribute whose cache is destroyed, EBUSY for one that is just being destroyed. Everything may be called
from any thread.
"""

from __future__ import annotations

from haybarn._core import Attribute
from haybarn._core import _sysfs_as_dict as as_dict
from haybarn._core import _sysfs_listdir as listdir
from haybarn._core import _sysfs_open as open  # noqa: A004 - as io.open: it opens what this module has
from haybarn._core import _sysfs_read as read
from haybarn._core import _sysfs_readlink as readlink
from haybarn._core import _sysfs_write as write

__all__ = ["Attribute", "as_dict", "listdir", "open", "read", "readlink", "write"]
