"""The stub says what is there, and what is there is in the stub."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

import haybarn


def test_the_stub_is_true(tmp_path):
    pytest.importorskip("mypy.stubtest", reason="mypy is not there for this interpreter")
    package = Path(haybarn.__file__).parent
    assert (package / "py.typed").exists()
    # mypy finds an installed package by itself, and refuses to be told.
    env = os.environ | ({} if "site-packages" in package.parts else {"MYPYPATH": str(package.parent)})
    # Type checkers take these two as "is a buffer" on every version; the interpreter shows them from 3.12 on.
    allowed = tmp_path / "allowed"
    buffers = "haybarn._core.(Slab|Kmalloc)Object.__(release_)?buffer__\n"
    allowed.write_text(buffers if sys.version_info < (3, 12) else "")
    done = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "haybarn._core", "--allowlist", str(allowed)],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
        env=env,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_everything_public_is_exported():
    for name in haybarn.__all__:
        thing = getattr(haybarn, name)
        for part in thing.__all__ if inspect.ismodule(thing) else [name]:
            below = f"_{name}_{part}" if hasattr(haybarn._core, f"_{name}_{part}") else part
            assert getattr(thing if inspect.ismodule(thing) else haybarn, part) is getattr(haybarn._core, below)
        assert not inspect.ismodule(thing) or thing.__doc__
    assert haybarn.__doc__


def test_every_callable_says_what_it_does():
    for name in haybarn.__all__:
        thing = getattr(haybarn, name)
        if callable(thing):
            assert thing.__doc__, name
    for name in ("alloc", "free", "alloc_bulk", "free_bulk", "stats", "shrink", "validate", "destroy"):
        assert getattr(haybarn.KmemCache, name).__doc__, name
