"""Prefilled sheaves where things meet: threads, a destroyer, a fork, the end of the interpreter."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator

import pytest

import haybarn
from haybarn import KmemCache, SheafEmptyError, UseAfterFreeError


@pytest.fixture
def cache() -> Iterator[KmemCache]:
    cache = KmemCache("met", 64)
    yield cache
    gc.collect()
    assert (cache.stats()["objects"], cache.stats()["prefilled"]) == (0, 0)
    cache.destroy()


def test_two_threads_never_get_one_object(cache, in_threads):
    sheaf = cache.prefill(4000)
    total = len(sheaf)
    found: list[list[haybarn.SlabObject]] = [[] for _ in range(8)]

    def take(index: int) -> None:
        try:
            while True:
                found[index].append(sheaf.alloc())
        except SheafEmptyError:
            pass

    in_threads(take)
    objects = [obj for part in found for obj in part]
    assert len(objects) == total
    assert len({obj.address for obj in objects}) == total
    del objects, found[:]
    sheaf.give_back()


def test_threads_take_refill_and_return_one_sheaf(cache, in_threads):
    held = threading.Lock()
    living: set[int] = set()
    sheaf = cache.prefill(40)

    def work(index: int) -> None:
        for step in range(300):
            try:
                obj = sheaf.alloc()
            except SheafEmptyError:
                sheaf.refill(20 + index + step)
                continue
            except UseAfterFreeError:
                return
            address = obj.address
            with held:
                assert address not in living
                living.add(address)
            memoryview(obj)[:8] = address.to_bytes(8, "little")
            assert int.from_bytes(memoryview(obj)[:8], "little") == address
            with held:
                living.remove(address)
            obj.free()
            if index == 0 and step == 250:
                sheaf.give_back()

    in_threads(work)
    assert sheaf.returned


def test_threads_prefill_and_destroy_refuses_or_waits(in_threads):
    cache = KmemCache("raced", 64)
    done = threading.Event()

    def work(index: int) -> None:
        if index == 0:
            for _ in range(200):
                try:
                    cache.destroy()
                    break
                except haybarn.CacheBusyError:
                    pass
            done.set()
            return
        while not done.is_set():
            try:
                with cache.prefill(index * 20) as sheaf:
                    sheaf.alloc().free()
            except haybarn.CacheDestroyedError:
                return

    in_threads(work, 4)
    if "raced" in haybarn.caches():
        cache.destroy()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_its_own_copy(cache):
    with cache.prefill(50) as sheaf:
        before = len(sheaf)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                objects = [sheaf.alloc() for _ in range(before)]
                sheaf.refill(70)
                sheaf.give_back()
                code = 0 if len({obj.address for obj in objects}) == before else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert len(sheaf) == before
        sheaf.alloc().free()


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    "ending",
    [
        "pass",
        "import sys; sys.exit(0)",
        "cycle = [sheaf]; cycle.append(cycle)",
        "import builtins; builtins.kept = sheaf",
    ],
)
def test_a_sheaf_that_is_out_at_exit(ending):
    done = run(f"""
        import haybarn
        cache = haybarn.KmemCache("at-exit", 64)
        sheaf = cache.prefill(700)
        obj = sheaf.alloc()
        {ending}
    """)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_a_daemon_thread_that_takes_at_exit():
    done = run("""
        import haybarn, threading
        cache = haybarn.KmemCache("daemon", 64)
        sheaf = cache.prefill(100)
        def work():
            while True:
                try:
                    sheaf.alloc().free()
                except haybarn.SheafEmptyError:
                    sheaf.refill(100)
        started = threading.Thread(target=work, daemon=True)
        started.start()
    """)
    assert done.returncode == 0, done.stderr
