"""haybarn.kmalloc: memory by size, as a buffer of exactly the length asked for."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import haybarn
from haybarn import KmallocObject, fault_inject, kmalloc, kmalloc_size_roundup, krealloc, ksize

MOST = 4 << 20


def filled(n: int, byte: int) -> KmallocObject:
    obj = kmalloc(n)
    with memoryview(obj) as view:
        view[:] = bytes([byte]) * n
    return obj


@pytest.mark.parametrize("n", [0, 1, 7, 8, 100, 192, 193, 8192, 8193, 100_000, MOST - 1, MOST])
def test_it_is_a_writable_buffer_of_exactly_n_bytes(n):
    obj = filled(n, 0xFF)
    assert len(obj) == obj.nbytes == n
    with memoryview(obj) as view:
        assert (view.nbytes, view.format, view.ndim, view.readonly) == (n, "B", 1, False)
        assert view.obj is obj
    assert ksize(obj) == kmalloc_size_roundup(n) >= n
    assert sys.getsizeof(obj) > ksize(obj)
    rounded = ksize(obj)
    assert obj.address % (rounded & -rounded if rounded else 16) == 0
    obj.free()
    assert bytes(kmalloc(n, zero=True)) == bytes(n)


def test_sizes_round_up_as_in_linux():
    vectors = {0: 0, 1: 8, 9: 16, 65: 96, 97: 128, 129: 192, 193: 256, 8192: 8192, 8193: 16384, 16385: 32768}
    assert {n: kmalloc_size_roundup(n) for n in vectors} == vectors
    assert kmalloc_size_roundup(MOST + 1) == MOST + 1


@pytest.mark.parametrize("n", [-1, MOST + 1, 2**70])
def test_a_size_out_of_range_names_the_argument(n):
    obj = kmalloc(10)
    for call in (lambda: kmalloc(n), lambda: krealloc(obj, n), lambda: krealloc(None, n)):
        with pytest.raises(haybarn.BadArgumentError, match=rf"n = {n} is not legal: 0 to {MOST} bytes"):
            call()
    assert (len(obj), obj.freed) == (10, False)
    if n != MOST + 1:
        with pytest.raises(haybarn.BadArgumentError, match="n = "):
            kmalloc_size_roundup(n)


@pytest.mark.parametrize("n", [None, "8", 1.5])
def test_a_size_is_an_int(n):
    for call in (kmalloc, kmalloc_size_roundup, lambda n: krealloc(None, n)):
        with pytest.raises(TypeError):
            call(n)
    for wrong in (None, b"bytes", bytearray(3)):
        with pytest.raises(TypeError):
            ksize(wrong)
    with pytest.raises(TypeError):
        krealloc(bytearray(3), 3)
    with pytest.raises(TypeError):
        KmallocObject()


@pytest.mark.parametrize("n", [0, 100, 100_000])
def test_its_end(n):
    obj = kmalloc(n)
    with memoryview(obj), pytest.raises(haybarn.ObjectInUseError, match="1 live buffer") as error:
        obj.free()
    assert isinstance(error.value, BufferError)
    array = np.frombuffer(obj, dtype=np.uint8) if n else None
    if n:
        with pytest.raises(haybarn.ObjectInUseError):
            obj.free()
    del array
    obj.free()
    assert obj.freed
    assert "freed" in repr(obj)
    with pytest.raises(haybarn.DoubleFreeError):
        obj.free()
    for use in (
        lambda: memoryview(obj),
        lambda: obj.address,
        lambda: ksize(obj),
        obj.__enter__,
        lambda: krealloc(obj, 1),
    ):
        with pytest.raises(haybarn.UseAfterFreeError):
            use()


def test_with_frees_and_so_does_the_last_reference():
    with kmalloc(50) as obj:
        pass
    assert obj.freed
    with kmalloc(50) as obj:
        obj.free()
    obj = kmalloc(20_000)
    ref = weakref.ref(obj)
    address = obj.address
    del obj
    assert ref() is None
    used = haybarn.info()["used_bytes"]
    for _ in range(2000):
        kmalloc(1 << 20)
    assert haybarn.info()["used_bytes"] <= used + (8 << 20), f"nothing came back, not even {address:#x}"
    with pytest.raises(TypeError):
        copy.copy(kmalloc(1))


def test_krealloc_in_place_is_the_same_object():
    obj = filled(100, 7)
    address = obj.address
    for n in (128, 1, 64):
        assert krealloc(obj, n) is obj
        assert (len(obj), ksize(obj), obj.address) == (n, 128, address)
    assert bytes(obj)[:1] == b"\7"
    assert bytes(krealloc(obj, 10, zero=True)) == bytes(obj)
    # Known to be 10 bytes long: those from there on are zero, though they were not before.
    assert bytes(krealloc(obj, 120, zero=True))[10:] == bytes(110)


def test_krealloc_that_moves_ends_the_old_object():
    old = filled(100, 9)
    new = krealloc(old, 1000, zero=True)
    assert new is not old
    assert bytes(new) == b"\x09" * 100 + bytes(900)
    assert old.freed
    with pytest.raises(haybarn.UseAfterFreeError):
        memoryview(old)
    with pytest.raises(haybarn.DoubleFreeError):
        old.free()
    large = krealloc(new, 3 << 20)
    assert bytes(large)[:100] == b"\x09" * 100
    nothing = krealloc(large, 0)
    assert (len(nothing), ksize(nothing), nothing.address, large.freed) == (0, 0, 16, True)
    assert krealloc(nothing, 0) is nothing
    assert len(krealloc(None, 30)) == 30


def test_krealloc_is_refused_while_anybody_looks():
    obj = filled(100, 3)
    with memoryview(obj) as view:
        for n in (0, 50, 100, 5000):
            with pytest.raises(haybarn.ObjectInUseError) as error:
                krealloc(obj, n)
            assert isinstance(error.value, BufferError)
        assert bytes(view) == b"\3" * 100
    assert len(krealloc(obj, 50)) == 50


def test_without_memory_everything_stays_as_it_was():
    obj = filled(100, 3)
    for fault in (fault_inject.fail_page_alloc, fault_inject.fail_slab):
        with fault(this_thread=True):
            for n in (5000, 50_000):
                if fault is fault_inject.fail_page_alloc or n < 8192:
                    with pytest.raises(haybarn.OutOfMemoryError, match=f"out of memory for {n} bytes"):
                        krealloc(obj, n)
                    with pytest.raises(MemoryError):
                        kmalloc(n)
            assert krealloc(obj, 90) is obj
        assert (bytes(obj), obj.freed) == (b"\3" * 90, False)
        krealloc(obj, 100)
        with memoryview(obj) as view:
            view[:] = b"\3" * 100


def test_a_cache_of_that_name_and_ours_get_along():
    kmalloc(64).free()
    names = ["kmalloc-64", *(f"kmalloc-64:{n}" for n in range(2, 5))]
    refused = 0
    for name in names:
        try:
            haybarn.KmemCache(name, 64).destroy()
        except haybarn.BadArgumentError:
            refused += 1
    assert refused == 1, "one of them is kmalloc's"


def test_threads_share_nothing_that_they_hold(in_threads):
    def work(index):
        rng = random.Random(index)
        held: list[KmallocObject] = []
        for step in range(3000):
            choice = rng.random()
            if choice < 0.5 or not held:
                n = rng.choice([rng.randrange(300), rng.randrange(300), rng.randrange(20_000)])
                held.append(filled(n, index + 1))
            elif choice < 0.75:
                at = rng.randrange(len(held))
                held[at] = krealloc(held[at], rng.randrange(2 * len(held[at]) + 2), zero=True)
            else:
                obj = held.pop(rng.randrange(len(held)))
                assert set(bytes(obj)) <= {0, index + 1}, step
                if rng.random() < 0.5:
                    obj.free()
        for obj in held:
            assert set(bytes(obj)) <= {0, index + 1}

    in_threads(work)


def test_of_two_threads_at_one_object_one_wins(in_threads):
    for _ in range(200):
        obj, wins = kmalloc(100), []

        def end(index, obj=obj, wins=wins):
            try:
                wins.append(krealloc(obj, 5000) if index % 2 else obj.free())
            except (haybarn.DoubleFreeError, haybarn.UseAfterFreeError):
                pass

        in_threads(end, 4)
        assert len(wins) == 1


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_goes_on():
    stop: list[int] = []

    def busy():
        while not stop:
            held = [kmalloc(n) for n in (5, 70, 3000, 9000)]
            krealloc(held.pop(), 20_000)

    threads = [threading.Thread(target=busy) for _ in range(3)]
    for thread in threads:
        thread.start()
    obj = filled(100, 5)
    try:
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                signal.alarm(30)
                good = bytes(obj) == b"\5" * 100
                grown = krealloc(obj, 9000, zero=True)
                good = good and bytes(grown) == b"\5" * 100 + bytes(8900)
                for n in range(0, 20_000, 50):
                    kmalloc(n).free()
                os._exit(0 if good else 1)
            _, status = os.waitpid(pid, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.append(1)
        for thread in threads:
            thread.join()
    assert bytes(obj) == b"\5" * 100


@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_the_whole_file_holds_on_the_other_backends(backend):
    if "HAYBARN_BACKEND" in os.environ:
        pytest.skip("one backend is forced already")
    environment = os.environ | {"HAYBARN_BACKEND": backend}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [sys.executable, "-c", "import haybarn; haybarn.kmalloc(9); print(haybarn.info()['backend'])"]
    assert subprocess.run(told, env=environment, capture_output=True, text=True, timeout=60).stdout == f"{backend}\n"


def test_the_size_classes_are_in_the_tree_and_in_slabinfo():
    objs = [kmalloc(100) for _ in range(50)]
    assert "kmalloc-128" in haybarn.sysfs.listdir("/")
    assert haybarn.sysfs.read("/kmalloc-128/object_size") == "128\n"
    row = next(line.split() for line in haybarn.slabinfo().splitlines() if line.startswith("kmalloc-128 "))
    assert int(row[1]) >= len(objs)
    assert int(row[3]) == 128
    assert haybarn.caches()["kmalloc-128"].object_size == 128
    assert haybarn.stats()["kmalloc-128"]["objects"] >= len(objs)
    for obj in objs:
        obj.free()
