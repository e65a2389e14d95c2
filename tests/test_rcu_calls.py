"""Functions that run after a grace period, and the barrier that waits for them."""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import pytest

import haybarn
from haybarn import rcu


def test_callbacks_run_in_order_after_the_readers_have_left(reader):
    ran = []
    with reader() as one:
        for n in range(100):
            rcu.call(lambda n=n: ran.append(n))
        time.sleep(0.05)
        assert ran == []
        assert one.thread.is_alive()
    rcu.barrier()
    assert ran == list(range(100))
    stats = rcu.stats()
    assert stats["callbacks_queued"] == stats["callbacks_run"]


def test_callbacks_run_on_one_other_thread_without_a_barrier():
    seen = []
    done = threading.Event()
    for _ in range(3):
        rcu.call(lambda: seen.append(threading.get_ident()))
    rcu.call(done.set)
    assert done.wait(60)
    assert len(seen) == 3
    assert set(seen) != {threading.get_ident()}
    assert len(set(seen)) == 1


def test_a_callback_may_be_queued_inside_a_section_and_inside_a_callback():
    ran = []
    with rcu.read_lock():
        rcu.call(lambda: rcu.call(lambda: ran.append("inner")))
        ran.append("section")
    rcu.barrier()
    rcu.barrier()
    assert ran == ["section", "inner"]


def test_a_callback_may_wait_but_not_for_itself(unraisable):
    ran = []

    def body():
        rcu.synchronize()
        with rcu.read_lock():
            pass
        ran.append("waited")
        rcu.barrier()

    rcu.call(body)
    rcu.barrier()
    assert ran == ["waited"]
    assert [type(seen.exc_value) for seen in unraisable] == [haybarn.ReentryError]


def test_what_a_callback_raises_is_told_and_the_others_run(unraisable):
    def bad():
        raise ValueError("from a callback")

    ran = []
    rcu.call(bad)
    rcu.call(lambda: ran.append(1))
    rcu.call(lambda: sys.exit(3))
    rcu.call(lambda: ran.append(2))
    rcu.barrier()
    assert ran == [1, 2]
    assert [type(seen.exc_value) for seen in unraisable] == [ValueError, SystemExit]
    assert unraisable[0].object is bad


def test_only_callables():
    for wrong in (None, 1, "f"):
        with pytest.raises(TypeError, match="callable"):
            rcu.call(wrong)


def test_a_callback_keeps_what_it_needs_and_lets_go_of_it():
    class Thing:
        pass

    thing = Thing()
    seen = weakref.ref(thing)
    ran = []
    rcu.call(lambda thing=thing: ran.append(type(thing)))
    del thing
    gc.collect()
    rcu.barrier()
    gc.collect()
    assert ran == [Thing]
    assert seen() is None
