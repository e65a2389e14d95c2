"""Read sections, grace periods and cookies, as a Python program sees them."""

from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
import time

import pytest

import haybarn
from haybarn import rcu


def test_sections_nest_and_end_in_any_order():
    first, second = rcu.read_lock(), rcu.read_lock()
    with first:
        second.__enter__()
        cookie = rcu.get_state()
    assert not rcu.poll_state(cookie)
    with pytest.raises(haybarn.ReadSectionError, match="inside a read section"):
        rcu.synchronize()
    second.__exit__(None, None, None)
    rcu.cond_synchronize(cookie)
    assert rcu.poll_state(cookie)
    with first:  # a guard serves again
        pass


@pytest.mark.parametrize("wait", [rcu.synchronize, rcu.barrier, lambda: rcu.cond_synchronize(rcu.get_state())])
def test_waiting_inside_a_section_is_an_error(wait):
    with rcu.read_lock(), pytest.raises(haybarn.ReadSectionError):
        wait()
    wait()


def test_a_cookie_that_is_over_is_no_wait_even_inside():
    cookie = rcu.get_state()
    rcu.synchronize()
    with rcu.read_lock():
        rcu.cond_synchronize(cookie)
        assert rcu.poll_state(cookie)


def test_misused_guards():
    guard = rcu.read_lock()
    with pytest.raises(haybarn.ReadSectionError, match="never entered"):
        guard.__exit__(None, None, None)
    with guard:
        with pytest.raises(haybarn.ReadSectionError, match="inside a read section already"):
            guard.__enter__()
        assert "inside" in repr(guard)
    with pytest.raises(haybarn.ReadSectionError, match="has been left"):
        guard.__exit__(None, None, None)
    assert "outside" in repr(guard)
    rcu.synchronize()


def test_a_guard_is_left_by_its_own_thread():
    guard = rcu.read_lock()
    guard.__enter__()
    caught = []

    def leave():
        try:
            guard.__exit__(None, None, None)
        except haybarn.ReadSectionError as error:
            caught.append(str(error))

    thread = threading.Thread(target=leave)
    thread.start()
    thread.join()
    assert "another thread" in caught[0]
    cookie = rcu.get_state()
    assert not rcu.poll_state(cookie), "the section is still open"
    guard.__exit__(None, None, None)
    rcu.cond_synchronize(cookie)


def test_a_guard_that_is_dropped_leaves():
    guard = rcu.read_lock()
    guard.__enter__()
    del guard
    gc.collect()
    rcu.synchronize()


def test_a_guard_dropped_on_another_thread_is_left_at_the_owners_next_step():
    box = [rcu.read_lock()]
    box[0].__enter__()
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    cookie = rcu.get_state()
    with rcu.read_lock():
        pass
    rcu.synchronize()
    assert rcu.poll_state(cookie)


@pytest.mark.parametrize("step", ["synchronize", "cond_synchronize", "poll_state", "rcu_barrier", "destroy"])
def test_whatever_waits_leaves_what_a_guard_left_open(step):
    cache = haybarn.KmemCache("debts", 64)
    box = [rcu.read_lock()]
    box[0].__enter__()
    cookie = rcu.get_state()
    cache.alloc().free_rcu()
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    if step in ("rcu_barrier", "destroy"):
        getattr(cache, step)()
    elif step == "synchronize":
        rcu.synchronize()
    elif step == "cond_synchronize":
        rcu.cond_synchronize(cookie)
    else:
        assert rcu.poll_state(cookie)
    rcu.synchronize()


def test_a_generator_that_is_closed_on_another_thread():
    def inside():
        with rcu.read_lock():
            yield

    box = [inside()]
    next(box[0])
    caught = []

    def close():
        try:
            box[0].close()
        except haybarn.ReadSectionError as error:
            caught.append(error)

    thread = threading.Thread(target=close)
    thread.start()
    thread.join()
    assert len(caught) == 1
    box.clear()
    caught.clear()
    gc.collect()
    rcu.barrier()


@pytest.mark.parametrize("keep", [False, True])
def test_a_thread_that_ends_inside(keep):
    kept = []

    def body():
        guard = rcu.read_lock()
        guard.__enter__()
        if keep:
            kept.append(guard)

    for _ in range(5):
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
    rcu.synchronize()
    for guard in kept:
        with pytest.raises(haybarn.ReadSectionError, match="another thread"):
            guard.__exit__(None, None, None)
    kept.clear()
    rcu.synchronize()


def test_too_many_sections():
    guards = [rcu.read_lock() for _ in range(60_001)]
    for guard in guards[:60_000]:
        guard.__enter__()
    with pytest.raises(haybarn.ReadSectionError, match="60000 read sections inside one another"):
        guards[60_000].__enter__()
    cookie = rcu.get_state()
    for guard in guards[:60_000]:
        guard.__exit__(None, None, None)
    rcu.cond_synchronize(cookie)


def test_a_grace_period_waits_for_readers_of_other_threads(reader):
    with reader():
        cookie = rcu.get_state()
        done = threading.Event()
        waiter = threading.Thread(target=lambda: (rcu.synchronize(), done.set()))
        waiter.start()
        assert not done.wait(0.1)
        assert not rcu.poll_state(cookie)
    waiter.join()
    assert done.is_set()
    assert rcu.poll_state(cookie)


def test_a_reader_that_came_later_is_not_waited_for(reader):
    cookie = None
    with reader() as old:
        cookie = rcu.get_state()
        rcu.poll_state(cookie)  # the grace period has begun
        with reader():
            old.leave.set()
            old.thread.join()
            rcu.cond_synchronize(cookie)


def test_cookies_are_opaque():
    cookie = rcu.get_state()
    assert cookie == cookie
    assert hash(cookie) == hash(cookie)
    assert "Cookie" in repr(cookie)
    for wrong in (0, None, object(), "cookie", -1, 2**70):
        for use in (rcu.poll_state, rcu.cond_synchronize):
            with pytest.raises(TypeError, match="Cookie"):
                use(wrong)
    with pytest.raises(TypeError):
        type(cookie)()
    with pytest.raises(TypeError):
        pickle.dumps(cookie)
    with pytest.raises(TypeError):
        cookie < cookie  # noqa: B015


def test_waiting_lets_other_threads_run(reader):
    """The reader needs the interpreter to leave, so whoever waits must have let go of it."""
    for _ in range(20):
        with reader() as one:
            one.leave.set()
            rcu.synchronize()


def test_many_threads_read_and_wait(in_threads):
    """What is taken out of the table is poisoned after a grace period; no reader may see poison."""
    table = {n: [n, True] for n in range(16)}
    seen = []

    def body(index):
        for round_ in range(150):
            key = (index + round_) % 16
            if index < 5:
                with rcu.read_lock():
                    entry = table[key]
                    for _ in range(3):
                        if entry != [key, True]:
                            seen.append(entry)
            else:
                old = table[key]
                table[key] = [key, True]
                if round_ % 3 == 0:
                    rcu.call(lambda old=old: old.__setitem__(1, False))
                elif round_ % 3 == 1:
                    rcu.synchronize()
                    old[1] = False
                else:
                    cookie = rcu.get_state()
                    rcu.cond_synchronize(cookie)
                    old[1] = False

    in_threads(body)
    rcu.barrier()
    assert seen == []


@pytest.mark.parametrize("wait", ["synchronize", "cond_synchronize", "barrier"])
def test_ctrl_c_ends_the_waiting(wait, reader):
    def interrupt():
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    calls = {
        "synchronize": rcu.synchronize,
        "cond_synchronize": lambda: rcu.cond_synchronize(rcu.get_state()),
        "barrier": rcu.barrier,
    }
    with reader():
        rcu.call(lambda: None)
        thread = threading.Thread(target=interrupt)

        def interrupted():
            thread.start()
            calls[wait]()

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        thread.join()
    calls[wait]()


def test_the_functions_say_what_they_do():
    for name in rcu.__all__:
        thing = getattr(rcu, name)
        assert thing.__doc__, name
        if not isinstance(thing, type):
            assert thing.__name__ == name
