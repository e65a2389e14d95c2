"""The interpreter ends with caches and objects alive, in whatever order it takes things down: no crash, no text."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

SCRIPTS = {
    "globals": """
        cache = haybarn.KmemCache("g", 64)
        obj = cache.alloc()
        batch = cache.alloc_bulk(100)
    """,
    "object before cache": """
        obj = haybarn.KmemCache("g", 64).alloc()
        cache = obj.cache
    """,
    "view outlives all": """
        view = memoryview(haybarn.KmemCache("g", 64).alloc())
    """,
    "cycle": """
        class Node: pass
        node = Node()
        node.me, node.cache = node, haybarn.KmemCache("g", 64)
        node.obj = node.cache.alloc()
        node.view = memoryview(node.obj)
    """,
    "closed with live objects": """
        import warnings
        warnings.simplefilter("ignore")
        with haybarn.KmemCache("g", 64) as cache:
            obj = cache.alloc()
    """,
    "used in atexit": """
        import atexit
        cache = haybarn.KmemCache("g", 64)
        obj = cache.alloc()
        atexit.register(lambda: (obj.free(), cache.alloc_bulk(10), cache.stats()))
    """,
    "used in a finaliser": """
        class Late:
            def __init__(self):
                self.cache = haybarn.KmemCache("g", 64)
                self.obj = self.cache.alloc()
                self.error = haybarn.DoubleFreeError
            def __del__(self):
                self.obj.free()
                try:
                    self.obj.free()
                except self.error:
                    pass
                self.cache.alloc()
                self.cache.alloc_bulk(1000)
                self.cache.stats()
                self.cache.destroy()
        late = Late()
        sys.late = late
    """,
    "only in sys": """
        sys.cache = haybarn.KmemCache("g", 64)
        sys.obj = sys.cache.alloc()
        del sys.modules["haybarn"], sys.modules["haybarn._core"]
    """,
    "daemon threads inside": """
        import threading
        cache = haybarn.KmemCache("g", 4096)
        started = threading.Barrier(4)
        def churn():
            started.wait()
            while True:
                cache.free_bulk(cache.alloc_bulk(2000))
                cache.shrink()
        for _ in range(3):
            threading.Thread(target=churn, daemon=True).start()
        started.wait()
    """,
    "payloads alive": """
        class Payload:
            def __del__(self):
                self.gone = True
        cache = haybarn.KmemCache("g", 64, ctor=lambda obj: Payload(), dtor=lambda obj: obj.payload)
        obj = cache.alloc()
        batch = cache.alloc_bulk(100)
    """,
    "payloads in cycles": """
        cache = haybarn.KmemCache("g", 64, ctor=lambda obj: [obj, obj.cache, cache], dtor=lambda obj: obj.payload)
        obj = cache.alloc()
        held = haybarn.KmemCache("h", 64, ctor=lambda obj: cache.alloc())
        inner = held.alloc().payload
    """,
    "payloads only in sys": """
        sys.cache = haybarn.KmemCache("g", 64, ctor=lambda obj: {}, dtor=lambda obj: obj.payload)
        sys.obj = sys.cache.alloc()
        del sys.modules["haybarn"], sys.modules["haybarn._core"]
    """,
    "destroyed in atexit": """
        import atexit
        ends = []
        cache = haybarn.KmemCache("g", 64, ctor=lambda obj: obj.address, dtor=ends.append)
        batch = cache.alloc_bulk(10)
        atexit.register(lambda: (cache.free_bulk(batch), cache.destroy(), len(ends) >= 10 or print("no destructors")))
    """,
    "daemon threads in constructors": """
        import threading
        cache = haybarn.KmemCache("g", 4096, ctor=lambda obj: [], dtor=lambda obj: obj.payload)
        started = threading.Barrier(4)
        def churn():
            started.wait()
            while True:
                cache.free_bulk(cache.alloc_bulk(20))
                cache.shrink()
        for _ in range(3):
            threading.Thread(target=churn, daemon=True).start()
        started.wait()
    """,
    "a constructor's buffer left behind": """
        views = []
        cache = haybarn.KmemCache("g", 64, ctor=lambda obj: views.append(memoryview(obj)))
        try:
            cache.alloc()
        except haybarn.ObjectInUseError:
            pass
    """,
    "thread ends first": """
        import threading
        kept = []
        def work():
            cache = haybarn.KmemCache("g", 64)
            kept.extend(cache.alloc_bulk(1000))
            [cache.alloc() for _ in range(100)]
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        del kept[:500]
    """,
    "thread local": """
        import threading
        local = threading.local()
        def work():
            local.cache = haybarn.KmemCache("g", 64)
            local.objects = local.cache.alloc_bulk(10)
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert haybarn.caches() == {}, haybarn.caches()
    """,
    "weak references with callbacks": """
        import weakref
        cache = haybarn.KmemCache("g", 64)
        obj = cache.alloc()
        seen = [weakref.ref(obj, lambda _: cache.alloc()), weakref.ref(cache, lambda _: None)]
    """,
    "forked child ends normally": """
        import os
        cache = haybarn.KmemCache("g", 64)
        batch = cache.alloc_bulk(100)
        pid = os.fork()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
    """,
    "imported anew": """
        cache = haybarn.KmemCache("g", 64)
        obj = cache.alloc()
        for name in [name for name in sys.modules if name.startswith("haybarn")]:
            del sys.modules[name]
        import haybarn as anew
        assert anew is not haybarn
        assert anew.KmemCache is type(cache) and anew.SlabObject is type(obj)
        assert anew.caches() == {"g": cache}
        obj.free()
    """,
    "imported again": """
        import importlib
        cache = haybarn.KmemCache("g", 64)
        importlib.reload(haybarn)
        cache.alloc().free()
        assert haybarn.KmemCache is type(cache)
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("backend", ["", "locked"])
def test_exit(name, backend):
    script = "import sys, haybarn\n" + textwrap.dedent(SCRIPTS[name])
    env = os.environ | ({"HAYBARN_BACKEND": backend} if backend else {})
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script], capture_output=True, text=True, timeout=60, env=env
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
