"""The interpreter ends while a daemon thread is in Python code that haybarn called, and wants the GIL back: no crash.

The code holds in a read from a pipe, without the GIL. What the last finalizer of all writes there lets it go on, at a
time when CPython (up to 3.13) ends every other thread that asks for the GIL, by unwinding its stack.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

START = """
    import os, sys, threading, time, warnings
    import haybarn
    from haybarn import rcu

    inside, (reader, writer) = threading.Event(), os.pipe()

    def hold(*_, read=os.read, me=threading.get_ident, main=threading.get_ident()):
        # The main thread may come first to a slab that died without the GIL.
        if me() != main:
            inside.set()
            read(reader, 1)

    def shrink():
        while not inside.is_set():
            c.alloc().free()
            c.shrink()

    def destroy():
        global c
        while not inside.is_set():
            c.alloc().free()
            c.destroy()
            c = cache(ctor=c.ctor, dtor=c.dtor)

    class Holds:
        def __del__(self):
            hold()

    def class_with(method, result=None):
        return type("Given", (), {method: lambda self: (hold(), result)[1]})

    class Last:
        write, sleep, pipe = staticmethod(os.write), staticmethod(time.sleep), writer
        cache = None
        def __del__(self):
            self.write(self.pipe, b"x")
            self.sleep(0.3)
            if self.cache is not None:
                self.after(self.cache)
    sys.last = Last()

    def cache(**callbacks):
        return haybarn.KmemCache("c", 4096, flags=haybarn.SlabFlags.NO_MERGE, **callbacks)

    def fail(*_):
        raise ValueError("on purpose")
"""

GO = """
    threading.Thread(target=work, daemon=True).start()
    inside.wait()
"""

WORK = {
    "ctor": """
        c = cache(ctor=hold)
        work = c.alloc
    """,
    "ctor of many": """
        c = cache(ctor=hold)
        work = lambda: c.alloc_bulk(1000)
    """,
    "dtor in shrink": """
        c = cache(dtor=hold)
        work = shrink
    """,
    "dtor in destroy": """
        c = cache(dtor=hold)
        work = destroy
    """,
    "dtor at the last reference": """
        def work():
            c = cache(dtor=hold)
            c.alloc().free()
            del c
    """,
    "payload in shrink": """
        c = cache(ctor=lambda obj: Holds())
        work = shrink
    """,
    "payload in destroy": """
        c = cache(ctor=lambda obj: Holds())
        work = destroy
    """,
    "hook of what a dtor raised": """
        c = cache(dtor=fail)
        sys.unraisablehook = hold
        work = shrink
    """,
    "hook of what a callback raised": """
        sys.unraisablehook = hold
        work = lambda: rcu.call(fail)
    """,
    "the end of a callback": """
        class Callback(Holds):
            def __call__(self):
                pass
        work = lambda: rcu.call(Callback())
    """,
    "what a callback returned": """
        work = lambda: rcu.call(Holds)
    """,
    "iterator": """
        c = cache()
        work = lambda: c.free_bulk(class_with("__iter__")())
    """,
    "index": """
        c = cache()
        work = lambda: c.alloc_bulk(class_with("__index__", 5)())
    """,
    "float": """
        work = lambda: haybarn.fault_inject.fail_slab(cache(), probability=class_with("__float__", 0.5)())
    """,
    "text of a number": """
        class Huge(int):
            def __str__(self):
                hold()
        work = lambda: cache().alloc_bulk(Huge(2**100))
    """,
    "path": """
        work = lambda: haybarn.sysfs.read(class_with("__fspath__", "/kernel")())
    """,
    "warning": """
        warnings.simplefilter("always")
        warnings.showwarning = hold
        def work():
            with cache() as c:
                live = c.alloc()
    """,
}


def run(*parts):
    script = "\n".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run([sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr, done.stdout


@pytest.mark.parametrize("name", WORK)
def test_a_thread_in_foreign_code(name):
    assert run(START, WORK[name], GO) == (0, "", "")


@pytest.mark.parametrize("callback", ["ctor", "dtor in destroy"])
def test_who_waits_for_such_a_thread_gets_an_error(callback):
    after = """
        def after(cache, write=os.write, stuck=haybarn.UnavailableError):
            try:
                cache.destroy()
            except stuck as error:
                write(1, str(error).encode())
        Last.after, sys.last.cache = staticmethod(after), c
    """
    expected = "cache 'c': the interpreter is ending, and a thread that is inside of a call does not run any more"
    assert run(START, WORK[callback], GO, after) == (0, "", expected)
