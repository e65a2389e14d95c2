"""Programs that mean no good, or mean well at the wrong moment. Each pins a crash, a hang, or a cache that was lost."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import weakref

import pytest

import haybarn
from haybarn import KmemCache

LONG = 10_000

# A thread that stays in a read section until it is told to leave; not started yet.
READER = """
import haybarn, threading

inside, leave = threading.Event(), threading.Event()

def reader():
    with haybarn.rcu.read_lock():
        inside.set()
        leave.wait()

thread = threading.Thread(target=reader)
"""


def run(program: str, before: str = "") -> str:
    """What a program in a process of its own prints; it may neither crash nor hang."""
    command = [sys.executable, "-W", "ignore", "-c", before + textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.strip()


@pytest.mark.parametrize("link", ["cache", "[cache]", "cache.alloc()", "cache.prefill(1)", "memoryview(cache.alloc())"])
def test_a_long_chain_of_owners_takes_no_stack(link):
    """An owner is let go of in the end of its cache, and in that of an owner that is a cache comes the next one's."""
    program = f"""
        import haybarn
        first = None
        for at in range({LONG}):
            cache = haybarn.KmemCache(f"link-{{at}}", 64, owner=first)
            first = {link}
        del cache, first
        print(len(haybarn.caches()))
    """
    assert run(program) == "0"


def test_a_tuple_that_is_still_being_made():
    """The garbage collector shows it to whoever asks, with nothing where its last items will be."""
    cache = KmemCache("half", 64)
    refused = []

    def items():
        first = cache.alloc()
        yield first
        for found in gc.get_referrers(first):
            if type(found) is tuple and len(found) > 2:
                with pytest.raises(TypeError, match="tuple without item 1"):
                    cache.free_bulk(found)
                refused.append(found)
        refused.clear()
        yield cache.alloc()

    class Sized:
        def __iter__(self):
            return items()

        def __len__(self):
            return 5

    batch = tuple(Sized())
    assert not any(obj.freed for obj in batch)
    cache.free_bulk(batch)
    cache.destroy()


@pytest.mark.parametrize("outer", ["c.destroy()", "c.rcu_barrier()", "c.__exit__(None, None, None)"])
@pytest.mark.parametrize("inner", ["c.destroy()", "c.__exit__(None, None, None)"])
@pytest.mark.parametrize("kind", ["", "flags=haybarn.SlabFlags.TYPESAFE_BY_RCU", "dtor=lambda view: None"])
def test_a_signal_handler_that_ends_the_cache_which_is_waited_for(outer, inner, kind):
    program = f"""
        import signal

        c = haybarn.KmemCache("c", 64, {kind})
        def handler(*_):
            try:
                {inner}
            except haybarn.ReentryError:
                print("refused")
            leave.set()

        thread.start()
        inside.wait()
        c.alloc().free_rcu()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        {outer}
        thread.join()
        if not haybarn.caches():
            print("gone")
    """
    printed = run(program, READER).split()
    assert printed == (["refused"] if outer == "c.rcu_barrier()" else ["refused", "gone"])


def test_a_signal_handler_frees_the_last_object_of_a_closed_cache_and_raises():
    """The wait that it interrupted has the cache's gate, and sees to the end of the cache."""
    program = """
        import signal

        def handler(*_):
            kept.pop().free()
            raise KeyboardInterrupt

        with haybarn.KmemCache("c", 64) as cache:
            kept = [cache.alloc()]
            pending = cache.alloc()
            thread.start()
            inside.wait()
        pending.free_rcu()
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            cache.rcu_barrier()
        except KeyboardInterrupt:
            print("interrupted")
        leave.set()
        thread.join()
        haybarn.rcu.barrier()
        print(list(haybarn.caches()))
    """
    assert run(program, READER).split() == ["interrupted", "[]"]


def test_a_cache_that_the_collector_found_is_still_known():
    """It lives on for what is pending: a forked child has to free it of the threads that it does not have."""
    program = """
        import gc, os, signal, time

        shown = []

        def make():
            def dtor(view):
                shown.append(view.cache)
                if len(shown) == 1:
                    time.sleep(1)

            cache = haybarn.KmemCache("garbage", 4000, dtor=dtor)
            dtor.cache = cache
            obj = cache.alloc()
            thread.start()
            inside.wait()
            obj.free_rcu()

        make()
        gc.collect()
        print(list(haybarn.caches()))
        leave.set()
        thread.join()
        while not shown:
            time.sleep(0.01)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            print(shown[0].stats()["objects"], flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1])
        haybarn.rcu.barrier()
    """
    assert run(program, READER).split() == ["['garbage']", "0", "0"]


def test_a_plain_cache_that_a_finalizer_brings_back_is_still_known():
    class Keeper:
        def __del__(self):
            kept.append(self.cache)

    kept = []
    keeper = Keeper()
    keeper.cache = KmemCache("brought-back", 64)
    keeper.itself = keeper
    del keeper
    gc.collect()
    assert haybarn.caches()["brought-back"] is kept[0]
    kept[0].alloc().free()
    kept.pop().destroy()


def test_a_stranger_in_the_table_of_caches():
    """The collector shows the table. What else is put in there keeps nobody from finding the caches."""
    cache = KmemCache("in-the-table", 64)
    references = weakref.getweakrefs(cache)
    tables = [found for found in gc.get_referrers(*references) if type(found) is dict]
    assert len(tables) == 1
    tables[0]["stranger"] = "strange"
    assert haybarn.caches()["in-the-table"] is cache
    for at in range(200):
        KmemCache(f"next-{at}", 64).destroy()
    assert "stranger" not in tables[0], "what is no cache is dropped like one that is gone"
    cache.destroy()


def test_constructors_inside_constructors_end_with_an_error():
    """Under a recursion limit that somebody raised they took the stack."""
    program = """
        import haybarn, sys

        sys.setrecursionlimit(100_000)
        caches = []

        def ctor(view, at):
            if at + 1 < len(caches):
                caches[at + 1].alloc()

        for at in range(300):
            caches.append(haybarn.KmemCache(f"nested-{at}", 2000, ctor=lambda view, at=at: ctor(view, at)))
        try:
            caches[0].alloc()
        except haybarn.ReentryError as error:
            print(error)
        caches[-1].alloc().free()
    """
    assert "inside 30 constructors" in run(program)


def test_a_free_at_exit_while_the_cache_has_a_destroyer_that_does_not_run_any_more():
    """The daemon thread stays in `destroy()`, the gate in its hands: what is freed then goes with the process."""
    program = """
        import haybarn, os, sys, threading, time

        cache = haybarn.KmemCache("c", 64)
        objects = cache.alloc_bulk(300_000)

        class Last:
            kept, write = objects, staticmethod(os.write)

            def __del__(self):
                for _ in range(100):
                    self.kept.pop().free()
                    self.kept.pop().free_rcu()
                self.write(1, b"freed")

        sys.last = Last()

        def destroy():
            while True:
                try:
                    cache.destroy()
                except haybarn.HaybarnError:
                    pass

        def validate():
            while True:
                cache.validate()

        for body in (destroy, validate, validate, validate):
            threading.Thread(target=body, daemon=True).start()
        time.sleep(0.5)
    """
    assert run(program) == "freed"


def test_what_an_owner_does_at_its_end_happens_outside_of_other_calls():
    """Walks of all caches let go of names without the GIL; the owner of such a one went in the middle of any call."""
    program = """
        import haybarn, sys, threading, time

        victim = haybarn.KmemCache("victim", 64)
        end = time.monotonic() + 2

        class Owner:
            def __del__(self):
                # Between two calls of user() it is another line.
                if sys._getframe(1).f_code.co_name == "user":
                    try:
                        victim.destroy()
                    except haybarn.HaybarnError:
                        pass

        def make(index):
            while time.monotonic() < end:
                for cache in [haybarn.KmemCache(f"{index}-{at}", 64, owner=Owner()) for at in range(20)]:
                    cache.destroy()

        def walk():
            while time.monotonic() < end:
                haybarn.slabinfo()
                haybarn.leaks()
                haybarn.sysfs.listdir("/")

        def user():
            global victim
            while time.monotonic() < end:
                try:
                    victim.shrink()
                except haybarn.CacheDestroyedError:
                    victim = haybarn.KmemCache("victim", 64)

        bodies = [lambda: make(0), lambda: make(1), walk, walk, walk]
        threads = [threading.Thread(target=body) for body in bodies]
        for thread in threads:
            thread.start()
        user()
        for thread in threads:
            thread.join()
        print("ended")
    """
    # A walk is caught with the last name in its hands where it is interrupted: on a busy machine.
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        assert run(program) == "ended"
    finally:
        for process in busy:
            process.kill()
            process.wait()
