"""What only a build without the GIL can show. Elsewhere these tests skip; `nox -s free_threaded` runs them."""

from __future__ import annotations

import os
import signal
import sys
import sysconfig
import threading
import time
import weakref

import pytest

import haybarn
from haybarn import KmemCache

pytestmark = pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this interpreter has a GIL")

THREADS = 8


def test_importing_haybarn_leaves_the_gil_off():
    assert not sys._is_gil_enabled()


def test_one_object_under_every_call_at_once(in_threads):
    cache = KmemCache("parallel", 64)
    shared = cache.alloc_bulk(2000)
    wins = [0] * THREADS

    def body(index):
        for at, obj in enumerate(shared):
            way = (index + at) % 4
            try:
                if way == 0:
                    obj.free()
                    wins[index] += 1
                elif way == 1:
                    cache.free_bulk([obj])
                    wins[index] += 1
                elif way == 2:
                    with memoryview(obj) as view:
                        view[:] = bytes([index]) * 64
                else:
                    assert obj.nbytes == 64
                    repr(obj)
            except (haybarn.DoubleFreeError, haybarn.ObjectInUseError, haybarn.UseAfterFreeError):
                continue

    in_threads(body)
    freed = sum(obj.freed for obj in shared)
    assert sum(wins) == freed
    assert cache.stats()["objects"] == len(shared) - freed
    cache.validate()
    shared.clear()
    cache.destroy()


def test_one_bound_free_called_by_two_threads_frees_once(in_threads):
    """`f = obj.free` is the only reference to the object, and whoever calls f borrows it."""
    cache = KmemCache("bound", 64)
    for _ in range(20):
        frees = [obj.free for obj in cache.alloc_bulk(2000)]
        at, wins = [0, 0], [0, 0]

        def body(index, frees=frees, at=at, wins=wins):
            for turn, free in enumerate(frees, 1):
                at[index] = turn
                while at[1 - index] < turn:
                    pass
                try:
                    free()
                    wins[index] += 1
                except haybarn.DoubleFreeError:
                    pass

        in_threads(body, 2)
        assert sum(wins) == len(frees)
    frees.clear()
    cache.validate()
    cache.destroy()


def test_objects_die_on_other_threads(in_threads):
    cache = KmemCache("handed-over", 64)
    boxes = [[] for _ in range(THREADS)]

    def body(index):
        for round_ in range(3000):
            boxes[(index + round_) % THREADS].append(cache.alloc())
            if round_ % 3 == 0:
                try:
                    boxes[index].pop()
                except IndexError:
                    pass

    in_threads(body)
    assert cache.stats()["objects"] == sum(map(len, boxes))
    boxes.clear()
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_wrappers_that_died_on_any_thread_come_back_whole_and_once():
    """Kept by thread, for the first 24 that live; these are more, they end, and later ones take over what they kept."""
    cache = KmemCache("kept", 64)
    threads = 30
    pool = [[] for _ in range(threads)]

    def body(index):
        for round_ in range(300):
            pool[(index * 7 + round_) % threads].extend(cache.alloc() for _ in range(3))
            # Whoever adds to the list meanwhile drops what he adds.
            mine, pool[index] = pool[index], []
            for at, obj in enumerate(mine):
                memoryview(obj)[:8] = id(obj).to_bytes(8, "little")
                assert int.from_bytes(bytes(obj)[:8], "little") == id(obj)
                assert obj.cache is cache
                assert not obj.freed
                if at % 2:
                    obj.free()
            del mine

    for _ in range(3):
        workers = [threading.Thread(target=body, args=(index,)) for index in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        live = [obj for objs in pool for obj in objs] + cache.alloc_bulk(2000)
        assert len({id(obj) for obj in live}) == len({obj.address for obj in live}) == len(live)
        assert cache.stats()["objects"] == len(live)
        del live
        pool[:] = [[] for _ in range(threads)]
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_a_weak_reference_never_shows_the_wrappers_next_life(in_threads):
    cache = KmemCache("weak", 64)
    shown = [None] * THREADS
    stop = []

    def body(index):
        if index % 2:
            while len(stop) < THREADS // 2:
                ref, stamp = shown[index - 1] or (lambda: None, None)
                obj = ref()
                assert obj is None or bytes(obj)[:8] == stamp
        else:
            try:
                for life in range(4000):
                    stamp = life.to_bytes(8, "little")
                    obj = cache.alloc()
                    memoryview(obj)[:8] = stamp
                    ref = weakref.ref(obj)
                    shown[index] = (ref, stamp)
                    del obj
                    following = cache.alloc()
                    # The other thread may have got hold of it.
                    found = ref()
                    assert found is None or (found is not following and bytes(found)[:8] == stamp)
                    del found, following
            finally:
                stop.append(index)

    in_threads(body)
    shown.clear()
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_a_forks_child_makes_wrappers_of_its_own(in_threads):
    """Fork takes other threads away in the middle of keeping and taking; their seats go to the child's new threads."""
    cache = KmemCache("kept-fork", 64)
    done, resting = [], []

    def child():
        live = []

        def body():
            live.extend(cache.alloc() for _ in range(1500))

        workers = [threading.Thread(target=body) for _ in range(12)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return len({id(obj) for obj in live}) == len({obj.address for obj in live}) == 12 * 1500

    def body(index):
        if index:
            while not done:
                if resting:
                    time.sleep(0.001)
                held = [cache.alloc() for _ in range(10)]
                held.reverse()
            return
        try:
            for _ in range(5):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(60)
                    os._exit(0 if child() else 1)
                resting.append(pid)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
                resting.clear()
        finally:
            done.append(True)

    in_threads(body)
    assert cache.stats()["objects"] == 0
    cache.destroy()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_closing_races_with_alloc_and_free(in_threads):
    for _ in range(15):
        cache = KmemCache("closing", 64)

        def body(index, cache=cache):
            kept = []
            try:
                if index == 0:
                    with cache:
                        kept.append(cache.alloc())
                while True:
                    kept.append(cache.alloc())
                    if len(kept) > 50:
                        kept.clear()
            except haybarn.CacheDestroyedError:
                return

        in_threads(body)
        assert "closing" not in haybarn.caches()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_has_payloads_whoever_waited_for_them_at_the_fork():
    stopped = threading.Event()
    cache = KmemCache("payloads-at-fork", 64, ctor=lambda _: [1], dtor=lambda _: None)

    def churn():
        while not stopped.is_set():
            cache.alloc().payload[0] += 1
            cache.shrink()

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                cache.shrink()
                alive = type(cache.alloc().payload) is list
                os._exit(0 if alive else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    cache.destroy()
