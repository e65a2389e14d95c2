"""The interpreter ends with readers, callbacks and pending frees, in whatever order: no crash, no text, no hang."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

# name: (script, what it prints)
SCRIPTS = {
    "callbacks that can still run do": (
        """
        for n in range(3):
            rcu.call(lambda n=n: print(n))
        """,
        "0\n1\n2\n",
    ),
    "a callback that queues another": (
        """
        rcu.call(lambda: rcu.call(lambda: print("second")))
        """,
        "second\n",
    ),
    "a callback that would queue itself for ever": (
        """
        def again():
            rcu.call(again)
        again()
        """,
        "",
    ),
    "a daemon thread inside a section": (
        """
        inside = threading.Event()
        def read():
            with rcu.read_lock():
                inside.set()
                while True:
                    time.sleep(0.001)
        threading.Thread(target=read, daemon=True).start()
        inside.wait()
        rcu.call(lambda: print("never"))
        cache = haybarn.KmemCache("g", 64)
        cache.alloc().free_rcu()
        """,
        "",
    ),
    "a daemon thread that waits": (
        """
        def wait():
            with rcu.read_lock():
                inside.set()
                out.wait()
        inside, out = threading.Event(), threading.Event()
        threading.Thread(target=wait, daemon=True).start()
        inside.wait()
        for work in (rcu.synchronize, rcu.barrier):
            threading.Thread(target=work, daemon=True).start()
        time.sleep(0.05)
        """,
        "",
    ),
    "daemon threads at everything": (
        """
        cache = haybarn.KmemCache("g", 256)
        def churn():
            while True:
                with rcu.read_lock():
                    for obj in cache.alloc_bulk(20):
                        obj.free_rcu()
                rcu.call(lambda: None)
                rcu.synchronize()
                cache.rcu_barrier()
                rcu.barrier()
        for _ in range(4):
            threading.Thread(target=churn, daemon=True).start()
        time.sleep(0.1)
        """,
        "",
    ),
    "a callback that does not return": (
        """
        running = threading.Event()
        def stuck():
            running.set()
            while True:
                time.sleep(0.001)
        rcu.call(stuck)
        running.wait()
        """,
        "",
    ),
    "inside a section": (
        """
        guard = rcu.read_lock()
        guard.__enter__()
        rcu.call(lambda: print("never"))
        """,
        "",
    ),
    "a guard that dies late": (
        """
        sys.guard = rcu.read_lock()
        sys.guard.__enter__()
        """,
        "",
    ),
    "atexit before and after ours": (
        """
        atexit.register(lambda: (rcu.synchronize(), rcu.barrier(), print("after")))
        rcu.call(lambda: print("callback"))
        """,
        "callback\nafter\n",
    ),
    "atexit that was emptied": (
        """
        rcu.call(lambda: None)
        rcu.barrier()
        atexit._clear()
        rcu.call(lambda: time.sleep(0))
        """,
        "",
    ),
    "everything in a finaliser": (
        """
        class Late:
            def __init__(self, read_lock=rcu.read_lock, call=rcu.call, waits=(rcu.synchronize, rcu.barrier)):
                self.cache, self.error = haybarn.KmemCache("g", 64), haybarn.DoubleFreeError
                self.read_lock, self.call, self.waits, self.write = read_lock, call, waits, os.write
            def __del__(self):
                with self.read_lock():
                    obj = self.cache.alloc()
                    obj.free_rcu()
                    try:
                        obj.free()
                    except self.error:
                        pass
                self.call(self.waits[0])
                for wait in self.waits:
                    wait()
                self.cache.rcu_barrier()
                self.cache.alloc().free_rcu()
                self.cache.destroy()
                self.write(1, b"done\\n")
        sys.late = Late()
        """,
        "done\n",
    ),
    "a finaliser that waits for a daemon thread": (
        """
        inside = threading.Event()
        def read():
            with rcu.read_lock():
                inside.set()
                time.sleep(1000)
        threading.Thread(target=read, daemon=True).start()
        inside.wait()
        class Late:
            def __init__(self, wait):
                self.cache, self.wait, self.write = haybarn.KmemCache("g", 64), wait, os.write
                self.error = haybarn.UnavailableError
            def __del__(self):
                self.cache.alloc().free_rcu()
                for wait in (self.wait, self.cache.rcu_barrier, self.cache.destroy):
                    try:
                        wait()
                    except self.error:
                        self.write(1, b"gave up\\n")
        sys.late = Late(rcu.synchronize)
        """,
        "gave up\n" * 3,
    ),
    "pending frees": (
        """
        cache = haybarn.KmemCache("g", 64)
        objects = cache.alloc_bulk(500)
        views = [memoryview(obj) for obj in objects[:10]]
        for obj in objects:
            obj.free_rcu()
        """,
        "",
    ),
    "pending frees of a cache that is gone": (
        """
        cache = haybarn.KmemCache("g", 64)
        for obj in cache.alloc_bulk(500):
            obj.free_rcu()
        del cache, obj
        """,
        "",
    ),
    "a view that outlives all": (
        """
        obj = haybarn.KmemCache("g", 64).alloc()
        view = memoryview(obj)
        obj.free_rcu()
        del obj
        """,
        "",
    ),
    "a forked child ends normally": (
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        rcu.call(lambda: None)
        rcu.barrier()
        rcu.call(lambda: os.write(1, b"ran\\n"))
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
        """,
        "ran\nran\n",
    ),
    "without the module": (
        """
        rcu.call(lambda: print("ran"))
        for name in [name for name in sys.modules if name.startswith("haybarn")]:
            del sys.modules[name]
        del haybarn, rcu
        """,
        "ran\n",
    ),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_exit(name):
    body, printed = SCRIPTS[name]
    script = "import atexit, os, sys, threading, time, haybarn\nfrom haybarn import rcu\n" + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, timeout=60, env=os.environ
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", printed)


def test_ctrl_c_at_exit_is_not_lost():
    """Pressed while the exit waits for a callback that does not end."""
    script = """
        import os, signal, threading, time
        from haybarn import rcu
        running = threading.Event()
        def stuck():
            running.set()
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        rcu.call(stuck)
        running.wait()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "KeyboardInterrupt" in done.stderr
