"""What only a build without the GIL can show. Elsewhere these tests skip; `nox -s free_threaded` runs them."""

from __future__ import annotations

import sys
import sysconfig

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
