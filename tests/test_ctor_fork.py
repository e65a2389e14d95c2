"""fork with payloads: the child has its own, and callbacks may fork themselves."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback

import pytest

from haybarn import KmemCache

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def in_child(body):
    pid = os.fork()
    if pid == 0:
        # A child that hangs dies of it.
        signal.alarm(60)
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_forked_child_has_payloads_of_its_own(payload):
    cache = KmemCache("forked", 64, ctor=lambda obj: payload([]), dtor=lambda obj: None)
    obj = cache.alloc()
    obj.payload.kept[0].append("parent")

    def body():
        assert obj.payload.kept == (["parent"],)
        obj.payload.kept[0].append("child")
        cache.free_bulk(cache.alloc_bulk(500))
        cache.shrink()
        obj.free()
        cache.destroy()
        assert payload.living() == 0

    in_child(body)
    assert obj.payload.kept == (["parent"],)
    obj.free()
    cache.destroy()


@pytest.mark.parametrize("callback", ["ctor", "dtor"])
def test_a_callback_that_forks(callback, payload):
    children = []

    def body(obj):
        if not children:
            children.append(os.fork())
            if not children[0]:
                signal.alarm(60)
        return payload()

    cache = KmemCache("forks", 1024, **{callback: body})
    cache.alloc().free()
    if callback == "dtor":
        cache.shrink()
    code = 1
    try:
        cache.free_bulk(cache.alloc_bulk(100))
        assert cache.stats()["objects"] == 0
        cache.validate()
        cache.shrink()
        with KmemCache("another", 64, dtor=lambda obj: None) as another:
            another.free_bulk(another.alloc_bulk(600))
        # Nobody is thought to be inside any more.
        cache.destroy()
        code = 0
    finally:
        if children[0] == 0:
            if code:
                traceback.print_exc()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0


def test_fork_while_threads_are_in_their_constructors(payload):
    # No event and no lock: a thread that vanishes with the fork would leave it locked in the child.
    stop = []

    def dawdle(_):
        if not stop:
            time.sleep(0.0005)
        return payload()

    cache = KmemCache("busy", 1024, ctor=dawdle, dtor=dawdle)

    def churn():
        while not stop:
            cache.free_bulk(cache.alloc_bulk(40))
            cache.shrink()

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()

    def body():
        stop.append(1)
        batch = cache.alloc_bulk(50)
        assert all(isinstance(obj.payload, payload) for obj in batch)
        cache.free_bulk(batch)
        plain = KmemCache("plain", 64)
        plain.free_bulk(plain.alloc_bulk(100))
        plain.destroy()
        cache.shrink()

    try:
        for _ in range(8):
            in_child(body)
    finally:
        stop.append(1)
        for thread in threads:
            thread.join()
    assert cache.stats()["objects"] == 0
    cache.destroy()
