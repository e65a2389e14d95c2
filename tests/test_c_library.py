"""`libhaybarn.so` and `haybarn._core` in one process: two copies of the core, each with an arena of its own.

What C programs do with the library is tested in rust/malloc/tests; here only that neither copy takes the
other's pointers.
"""

from __future__ import annotations

import ctypes
import errno
import json
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import haybarn

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo to build the C library"),
]

REPORTER = ctypes.CFUNCTYPE(None, ctypes.c_char_p)


class Library:
    """The functions that the tests call, with their types."""

    def __init__(self, path: str) -> None:
        """Opens the library, and collects its reports."""
        pointer, number, flags = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
        self.dll = ctypes.CDLL(path, use_errno=True)
        for name, result, *arguments in (
            ("kmalloc", pointer, ctypes.c_size_t, flags),
            ("krealloc", pointer, pointer, ctypes.c_size_t, flags),
            ("kfree", None, pointer),
            ("ksize", ctypes.c_size_t, pointer),
            ("kmem_cache_alloc", pointer, pointer, flags),
            ("kmem_cache_free", None, pointer, pointer),
            ("kmem_cache_check", number, pointer, pointer),
            ("kmem_cache_destroy", number, pointer),
            ("kvfree_rcu_mightsleep", number, pointer),
            ("haybarn_set_reporter", None, pointer),
            ("haybarn_error", ctypes.c_char_p),
        ):
            function = getattr(self.dll, name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.create: Any = getattr(self.dll, "__kmem_cache_create")
        self.create.restype = pointer
        self.create.argtypes = [ctypes.c_char_p, flags, flags, flags, pointer]
        self.reports: list[str] = []
        # Kept as long as the library may call it.
        self.reporter = REPORTER(lambda text: self.reports.append(text.decode()))
        self.haybarn_set_reporter(ctypes.cast(self.reporter, pointer))

    def __getattr__(self, name: str) -> Any:
        """For the type checker: what the loop above sets."""
        raise AttributeError(name)


@pytest.fixture(scope="module")
def library(root: Path) -> Library:
    """The library, built if need be."""
    command = ["cargo", "build", "--locked", "-p", "haybarn-malloc", "--message-format=json"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [name for line in done.stdout.splitlines() for name in json.loads(line).get("filenames", [])]
    return Library(next(name for name in made if name.endswith("libhaybarn.so")))


def test_c_refuses_pointers_of_python(library: Library) -> None:
    with haybarn.KmemCache("two-copies", 64) as cache:
        theirs = library.create(b"two-copies", 64, 0, 0, None)
        assert theirs, library.haybarn_error()
        obj, buffer = cache.alloc(), haybarn.kmalloc(100)
        memoryview(obj)[:] = b"\x55" * 64
        before = cache.stats()
        for address in (obj.address, buffer.address):
            library.reports.clear()
            ctypes.set_errno(0)
            library.kfree(address)
            assert ctypes.get_errno() == errno.EFAULT
            library.kmem_cache_free(theirs, address)
            assert len(library.reports) == 2
            assert all(f"{address:#x}" in report for report in library.reports)
            assert library.ksize(address) == 0
            assert library.krealloc(address, 4000, 0) is None
            assert library.kmem_cache_check(theirs, address) == -errno.EFAULT
            assert library.kvfree_rcu_mightsleep(address) == -errno.EFAULT
        assert cache.stats() == before
        assert bytes(obj) == b"\x55" * 64
        # The library's next object is its own, not one that it was given.
        one = library.kmem_cache_alloc(theirs, 0)
        assert one not in (None, obj.address, buffer.address)
        library.kmem_cache_free(theirs, one)
        obj.free()
        buffer.free()
        assert library.kmem_cache_destroy(theirs) == 0


def test_python_refuses_pointers_of_c(library: Library) -> None:
    memory = library.kmalloc(100, 0)
    assert memory
    with haybarn.KmemCache("no-addresses", 64) as cache:
        # No call of Python's takes an address: a pointer is a number there, and the library's object none of ours.
        for wrong in (memory, ctypes.c_void_p(memory), (ctypes.c_char * 100).from_address(memory)):
            for call in (haybarn.ksize, lambda other: haybarn.krealloc(other, 200), cache.free):
                with pytest.raises((TypeError, haybarn.HaybarnError)):
                    call(wrong)  # type: ignore[arg-type]
        assert cache.stats()["objects"] == 0
    assert library.ksize(memory) == 128
    library.kfree(memory)
    assert library.reports == [] or f"{memory:#x}" not in library.reports[-1]
