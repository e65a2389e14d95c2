"""fork with readers, callbacks and pending frees: parent and child go on, each with its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import haybarn
from haybarn import KmemCache, rcu

# CPython warns of forks while threads run; here they are the point.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")


def test_fork_while_others_read(reader, in_child):
    """The readers are not in the child, which waits for none of them."""
    with reader(), reader():
        cookie = rcu.get_state()
        assert not rcu.poll_state(cookie)

        def body():
            rcu.cond_synchronize(cookie)
            rcu.synchronize()
            with rcu.read_lock():
                pass
            rcu.barrier()

        in_child(body)
        assert not rcu.poll_state(cookie)
    rcu.cond_synchronize(cookie)


def test_fork_inside_a_section(in_child):
    with rcu.read_lock() as guard:
        cookie = rcu.get_state()

        def body():
            assert not rcu.poll_state(cookie)
            with pytest.raises(haybarn.ReadSectionError):
                rcu.synchronize()
            guard.__exit__(None, None, None)
            rcu.cond_synchronize(cookie)

        in_child(body)
        assert not rcu.poll_state(cookie)
    rcu.cond_synchronize(cookie)


def test_callbacks_that_are_queued_run_in_parent_and_child(reader, in_child):
    ran = []
    rcu.barrier()
    with reader():
        for n in range(5):
            rcu.call(lambda n=n: ran.append((os.getpid(), n)))

        def body():
            rcu.barrier()
            assert ran == [(os.getpid(), n) for n in range(5)]
            done = threading.Event()
            rcu.call(done.set)
            assert done.wait(60), "the child has a service thread of its own"

        in_child(body)
        assert ran == []
    rcu.barrier()
    assert ran == [(os.getpid(), n) for n in range(5)]


def test_fork_while_a_callback_runs(in_child):
    """It goes on in the parent only; the child waits for the others, not for it."""
    ran, running, go_on = [], threading.Event(), threading.Event()

    def slow():
        running.set()
        go_on.wait()
        ran.append("slow")

    rcu.call(slow)
    rcu.call(lambda: ran.append("next"))
    running.wait()

    def body():
        rcu.barrier()
        assert ran == ["next"]

    in_child(body)
    go_on.set()
    rcu.barrier()
    assert ran == ["slow", "next"]


def test_a_callback_that_forks():
    status = []

    def body():
        pid = os.fork()
        if pid == 0:
            # It is the service thread here too, inside the callback.
            try:
                rcu.synchronize()
                rcu.barrier()
            except haybarn.ReentryError:
                os._exit(7)
            os._exit(1)
        status.append(os.waitpid(pid, 0)[1])

    rcu.call(body)
    rcu.barrier()
    assert [os.waitstatus_to_exitcode(code) for code in status] == [7]


def ends(pid, seconds=20):
    """Waits for a child, which may hang before it can run anything of ours."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            return True
        time.sleep(0.0002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return False


def test_forks_while_the_service_thread_comes_to_the_interpreter():
    """One child of 250 to 1,100 hung in os.fork (3.11), where the service thread was being given its thread state."""
    stop = threading.Event()

    def churn():
        while not stop.is_set():
            rcu.call(lambda: None)
            time.sleep(0)

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for number in range(3000):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            assert ends(pid), f"fork {number}"
    finally:
        stop.set()
        thread.join()
    rcu.barrier()


def test_fork_again_and_again_under_load(in_child):
    stop = threading.Event()
    ran = []

    def churn(index):
        while not stop.is_set():
            with rcu.read_lock():
                pass
            rcu.call(lambda: ran.append(index))
            if index == 0:
                rcu.barrier()
            else:
                rcu.synchronize()

    threads = [threading.Thread(target=churn, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()

    def body():
        rcu.barrier()
        with rcu.read_lock():
            rcu.call(lambda: ran.append("child"))
        rcu.barrier()
        assert ran[-1] == "child"

    try:
        for _ in range(20):
            in_child(body)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    rcu.barrier()


def test_pending_frees_go_on_in_parent_and_child(reader, in_child):
    cache = KmemCache("pending-fork", 64)
    viewed = cache.alloc()
    view = memoryview(viewed)
    with reader():
        for obj in cache.alloc_bulk(300):
            obj.free_rcu()
        viewed.free_rcu()

        def body():
            view.release()
            cache.rcu_barrier()
            assert cache.stats()["objects"] == 0
            cache.alloc().free_rcu()
            cache.destroy()
            KmemCache("pending-fork", 64).destroy()

        in_child(body)
        stats = cache.stats()
        assert (stats["objects"], stats["rcu_pending"]) == (1, 300)
    view.release()
    cache.destroy()


def test_fork_while_others_free(in_child):
    cache = KmemCache("free-rcu-fork", 64)
    stop = threading.Event()

    def churn(index):
        while not stop.is_set():
            for obj in cache.alloc_bulk(50):
                obj.free_rcu()
            if index == 0:
                cache.rcu_barrier()
            if index == 1:
                KmemCache("dropped-fork", 64).alloc().free_rcu()

    threads = [threading.Thread(target=churn, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()

    def body():
        with rcu.read_lock():
            for obj in cache.alloc_bulk(100):
                obj.free_rcu()
        cache.rcu_barrier()
        rcu.barrier()
        with KmemCache("free-rcu-child", 64) as own:
            own.alloc().free_rcu()

    try:
        for _ in range(20):
            in_child(body)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    rcu.barrier()
    assert cache.stats()["objects"] == 0
    cache.destroy()


ENDS = """
import os, threading, time, haybarn
from haybarn import KmemCache, rcu

cache = KmemCache("fork-ends", 64)
told, tell = os.pipe()
pids = []


def child():
    os.write(tell, b"a")
    rcu.call(lambda: os.write(tell, b"b"))
    cache.alloc().free_rcu()

    def later():
        time.sleep(0.3)
        os.write(tell, b"c")

    threading.Thread(target=later).start()


def forks():
    pid = os.fork()
    if pid == 0:
        child()
    else:
        pids.append(pid)


if MODE == "callback":
    rcu.call(forks)
    rcu.barrier()
else:
    thread = threading.Thread(target=forks)
    thread.start()
    thread.join()
os.close(tell)
said = b""
while more := os.read(told, 100):
    said += more
_, status = os.waitpid(pids[0], 0)
print(said.decode(), status)
"""


@pytest.mark.parametrize("mode", ["callback", "thread"])
def test_a_child_that_returns_from_where_it_forked_goes_on_and_ends(mode):
    """It has no main thread to return to: it ends with its last thread, not with the service."""
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", f"MODE = {mode!r}\n{ENDS}"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=40)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert said.split() == ["abc", "0"]
