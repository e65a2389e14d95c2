"""Many threads on the same caches and objects: nothing is lost, nothing is given out twice, one of two frees wins."""

from __future__ import annotations

import random
import sys
import threading
import time
from collections import deque

import pytest

import haybarn
from haybarn import KmemCache

THREADS = 8


@pytest.fixture(autouse=True)
def eager_switching():
    """The interpreter changes threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_stamped_churn(in_threads):
    cache = KmemCache("churn", 128)

    def body(index):
        rng = random.Random(index)
        live = []
        for step in range(4000):
            if live and rng.random() < 0.5:
                obj, stamp = live.pop(rng.randrange(len(live)))
                assert bytes(obj) == stamp
                obj.free() if step % 2 else cache.free(obj)
            else:
                obj = cache.alloc()
                stamp = bytes([index, step & 255]) * 64
                with memoryview(obj) as view:
                    view[:] = stamp
                live.append((obj, stamp))
        for obj, stamp in live:
            assert bytes(obj) == stamp

    in_threads(body)
    assert cache.stats()["objects"] == 0
    cache.validate()
    cache.destroy()


def test_producers_and_consumers(in_threads):
    cache = KmemCache("pipe", 64)
    pipe: deque = deque()
    total = 4000

    def body(index):
        if index % 2:
            for step in range(total):
                obj = cache.alloc()
                with memoryview(obj) as view:
                    view[:4] = step.to_bytes(4, "little")
                pipe.append((step, obj))
        else:
            done = 0
            while done < total:
                try:
                    step, obj = pipe.popleft()
                except IndexError:
                    time.sleep(0)
                    continue
                assert bytes(obj)[:4] == step.to_bytes(4, "little")
                obj.free()
                done += 1

    in_threads(body)
    assert not pipe
    assert cache.stats()["objects"] == 0
    cache.destroy()


@pytest.mark.parametrize("how", ["free", "cache.free", "bulk", "mixed"])
def test_of_all_who_free_one_object_exactly_one_wins(how, in_threads):
    cache = KmemCache("contested", 64)
    rounds = 300
    batch = cache.alloc_bulk(rounds)
    wins = [0] * THREADS

    def body(index):
        for obj in batch:
            way = ("free", "cache.free", "bulk")[index % 3] if how == "mixed" else how
            try:
                if way == "free":
                    obj.free()
                elif way == "cache.free":
                    cache.free(obj)
                else:
                    cache.free_bulk([obj])
            except haybarn.DoubleFreeError:
                continue
            wins[index] += 1

    in_threads(body)
    assert sum(wins) == rounds
    assert cache.stats()["objects"] == 0
    cache.validate()
    cache.destroy()


def test_a_free_and_a_new_view_exclude_each_other(in_threads):
    cache = KmemCache("viewed", 64)

    def body(index):
        for round_ in range(300):
            obj = slots[round_]
            if index % 2:
                try:
                    with memoryview(obj) as view:
                        view[:] = bytes([index]) * 64
                        assert bytes(view) in stamps
                        assert not obj.freed
                except haybarn.UseAfterFreeError:
                    assert obj.freed
            else:
                while not obj.freed:
                    try:
                        obj.free()
                    except haybarn.ObjectInUseError:
                        time.sleep(0)
                    except haybarn.DoubleFreeError:
                        break

    stamps = {bytes([index]) * 64 for index in range(THREADS)}
    slots = cache.alloc_bulk(300)
    in_threads(body)
    assert all(obj.freed for obj in slots)
    assert cache.stats()["objects"] == 0
    cache.destroy()


def test_bulk_calls_and_reports_side_by_side(in_threads):
    cache = KmemCache("bulk-threads", 256)

    def body(index):
        for round_ in range(40):
            batch = cache.alloc_bulk(700 if index % 2 else 20)
            assert len({obj.address for obj in batch}) == len(batch)
            if index == 0:
                cache.shrink()
            if index == 1:
                cache.validate()
            if index == 2:
                assert haybarn.stats()["bulk-threads"]["objects"] >= 0
                assert "bulk-threads" in haybarn.slabinfo()
            cache.free_bulk(batch)

    in_threads(body)
    assert cache.stats()["objects"] == 0
    cache.validate()
    cache.destroy()


def test_destroying_a_cache_in_use_either_refuses_or_ends_it(in_threads):
    """Whoever holds an object can use it, whatever the destroyers do."""
    for _ in range(30):
        cache = KmemCache("contended-end", 64)
        ended = []

        def body(index, cache=cache, ended=ended):
            while not ended:
                if index < 2:
                    time.sleep(0)
                    try:
                        cache.destroy()
                    except haybarn.CacheBusyError:
                        continue
                    except haybarn.CacheDestroyedError:
                        return
                    ended.append(index)
                else:
                    try:
                        obj = cache.alloc()
                        batch = cache.alloc_bulk(3)
                    except haybarn.CacheDestroyedError:
                        return
                    with memoryview(obj) as view:
                        view[:] = b"x" * 64
                    obj.free()
                    cache.free_bulk(batch)
                    time.sleep(0)

        in_threads(body)
        assert len(ended) == 1
        assert "contended-end" not in haybarn.caches()


def test_a_closed_cache_goes_with_its_last_object_whoever_frees_it(in_threads):
    for _ in range(30):
        with pytest.warns(ResourceWarning), KmemCache("closed-threads", 64) as cache:
            batches = [cache.alloc_bulk(40) for _ in range(THREADS)]

        def body(index, batches=batches, cache=cache):
            batch = batches[index]
            batches[index] = []
            for obj in batch[:20]:
                obj.free()
            cache.free_bulk(batch[20:30])

        in_threads(body)
        del batches
        assert "closed-threads" not in haybarn.caches()


def test_one_name_one_winner(in_threads):
    made = []

    def body(_):
        try:
            made.append(KmemCache("one-name", 64))
        except haybarn.BadArgumentError:
            return

    in_threads(body)
    assert len(made) == 1
    made[0].destroy()


def test_caches_come_and_go_under_the_registry(in_threads):
    def body(index):
        for round_ in range(60):
            with KmemCache(f"come-and-go-{index}", 64) as cache:
                assert haybarn.caches()[f"come-and-go-{index}"] is cache
                cache.alloc().free()

    in_threads(body)
    assert not any(name.startswith("come-and-go") for name in haybarn.caches())


def test_long_calls_let_other_threads_run():
    """While one thread is inside a long call, another one makes progress."""
    cache = KmemCache("long", 4096)
    ticks = []
    done = threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.0005)

    thread = threading.Thread(target=tick)
    thread.start()
    sys.setswitchinterval(10)  # nobody is made to let go
    met = 0
    for _ in range(100):
        start = time.perf_counter()
        batch = cache.alloc_bulk(20_000, zero=True)
        end = time.perf_counter()
        cache.free_bulk(batch)
        cache.shrink()
        met += any(start < at < end for at in ticks)
        # On a busy machine the other one may not be given a CPU in the first ones.
        if met == 3:
            break
    done.set()
    thread.join()
    assert met == 3
    del batch
    cache.destroy()
