"""The garbage collector sees through objects of caches with callbacks: what they and the callbacks hold ends whole."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import pytest

import haybarn
from haybarn import KmemCache

MODULE = """
import haybarn

class Loud:
    def __init__(self, name):
        self.name = name
    def __del__(self):
        print("finalized", self.name)

def ctor(obj):
    return Loud("payload")

def dtor(obj):
    print("dtor", obj.payload.name)

loud = Loud("global")
cache = haybarn.KmemCache("at-exit", 64, ctor=ctor, dtor=dtor)
obj = {make}
print("slots", cache.stats()["total_objects"])
"""

WAYS = {
    "alloc": "cache.alloc()",
    "alloc_bulk": "cache.alloc_bulk(3)",
    "prefill": "(lambda sheaf: (sheaf.alloc(), sheaf.give_back())[0])(cache.prefill(2))",
}


@pytest.mark.parametrize("way", WAYS)
def test_a_live_object_in_a_global_of_its_callbacks_module_holds_up_nothing_at_exit(way):
    ran = subprocess.run(
        [sys.executable, "-c", MODULE.format(make=WAYS[way])], capture_output=True, text=True, timeout=60, check=True
    )
    lines = ran.stdout.splitlines()
    slots = next(int(line.split()[1]) for line in lines if line.startswith("slots"))
    assert lines.count("dtor payload") == slots, ran
    assert lines.count("finalized payload") == slots
    assert lines.count("finalized global") == 1
    assert ran.stderr == ""


@pytest.mark.parametrize("way", WAYS)
def test_a_cycle_through_a_live_object_and_the_callbacks_is_collected(way, payload):
    seen = []
    names = {"haybarn": haybarn, "payload": payload, "seen": seen}
    code = (
        """
def ctor(obj): return payload()
def dtor(obj): seen.append((obj.cache.name, type(obj.payload)))
cache = haybarn.KmemCache("module", 64, ctor=ctor, dtor=dtor)
"""
        + f"obj = {WAYS[way]}"
    )
    exec(code, names)
    slots, gone = names["cache"].stats()["total_objects"], weakref.ref(names["cache"])
    del names
    gc.collect()
    assert gone() is None
    assert seen == [("module", payload)] * slots
    assert payload.living() == 0
    assert "module" not in haybarn.caches()


def test_a_payload_that_holds_an_object_of_its_cache_is_collected(payload):
    cache = KmemCache("inward", 64, ctor=lambda _: [payload()], dtor=lambda obj: obj.payload)
    obj = cache.alloc()
    obj.payload.append(cache.alloc())
    gone = weakref.ref(cache)
    del cache, obj
    gc.collect()
    assert gone() is None
    assert payload.living() == 0


def test_only_caches_with_callbacks_give_the_collector_work():
    with KmemCache("plain", 64) as plain, KmemCache("called", 64, dtor=print) as called:
        for obj in (plain.alloc(), plain.alloc_bulk(1)[0]):
            assert not gc.is_tracked(obj)
            assert type(obj) is haybarn.SlabObject
            obj.free()
        for obj in (called.alloc(), called.alloc_bulk(1)[0]):
            assert gc.is_tracked(obj)
            assert isinstance(obj, haybarn.SlabObject)
            assert gc.get_referents(obj) == [called]
            called.free(obj)


def test_an_object_that_is_garbage_is_freed_and_its_cache_goes_on(payload):
    cache = KmemCache("goes-on", 64, ctor=lambda _: payload(), dtor=lambda obj: obj.payload)
    cycle = [cache.alloc()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    assert cache.stats()["objects"] == 0
    looked_into = [cache.alloc()]
    looked_into += [memoryview(looked_into[0]), looked_into]
    del looked_into
    gc.collect()
    assert cache.stats()["objects"] == 0
    cache.alloc().free()
    cache.destroy()
    assert payload.living() == 0


def test_a_finalizer_that_saves_an_object_saves_a_freed_one():
    saved = []

    class Saver:
        def __del__(self):
            saved.append(self.obj)

    cache = KmemCache("saved", 64, ctor=lambda _: None)
    saver = Saver()
    saver.obj, saver.me = cache.alloc(), saver
    del saver
    gc.collect()
    (obj,) = saved
    assert obj.freed
    with pytest.raises(haybarn.UseAfterFreeError):
        memoryview(obj)
    cache.destroy()


SEEN_THROUGH = """
import haybarn

def ctor(obj):
    return payload()

def dtor(obj):
    seen.append(type(obj.payload))

cache = haybarn.KmemCache("garbage", 64, ctor=ctor, dtor=dtor, **more)
obj = cache.alloc()
"""


def module(payload, code="", **more):
    """A module's names, what its destructor saw, and how many slots its cache has."""
    seen = []
    names = {"payload": payload, "seen": seen, "more": more}
    exec(SEEN_THROUGH + code, names)
    return names, seen, names["cache"].stats()["total_objects"]


def collect():
    for _ in range(3):
        gc.collect()
        haybarn.rcu.barrier()


def ended(name="garbage"):
    """The core has no such cache any more, whether Python's object is there or not."""
    KmemCache(name, 64, flags=haybarn.SlabFlags.NO_MERGE).destroy()
    return True


def assert_all_destructed(seen, slots, payload, raised):
    """After a collection each slot had its destructor, nothing is left, and nothing was complained about."""
    collect()
    assert raised == []
    assert seen == [payload] * slots
    assert payload.living() == 0
    assert ended()


@pytest.fixture
def raised(monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: raised.append(type(args.exc_value)))
    return raised


@pytest.mark.parametrize("retired", [False, True])
def test_garbage_that_a_buffer_looks_into_goes_without_its_destructors(retired, payload, raised):
    names, seen, slots = module(payload, "view = memoryview(obj)")
    if retired:
        names["obj"].free_rcu()
    del names
    collect()
    assert raised == [haybarn.ObjectInUseError]
    # Slabs that are empty end while everything is whole; that of the object does not.
    assert len(seen) < slots
    assert payload.living() == 0
    assert ended()


def test_without_a_destructor_there_is_nothing_to_say(payload, raised):
    names = {"payload": payload, "seen": [], "more": {}}
    exec(SEEN_THROUGH.replace(", dtor=dtor", "") + "view = memoryview(obj)", names)
    del names
    collect()
    assert raised == []
    assert payload.living() == 0
    assert ended()


@pytest.mark.parametrize("flags", [haybarn.SlabFlags.NO_MERGE, haybarn.SlabFlags.TYPESAFE_BY_RCU])
def test_garbage_with_something_pending_ends_with_its_destructors(flags, payload, raised):
    names, seen, slots = module(payload, "cache.alloc().free_rcu()", flags=flags)
    del names
    assert_all_destructed(seen, slots, payload, raised)


@pytest.mark.parametrize("code", ["sheaf = cache.prefill(3)", "sheaf = cache.prefill(3); taken = sheaf.alloc()"])
@pytest.mark.parametrize("keeps", ["", "del obj"])
def test_a_prefilled_sheaf_that_is_garbage_goes_back_before_its_destructors_do(code, keeps, payload, raised):
    names, seen, slots = module(payload, f"{code}\n{keeps}")
    del names
    assert_all_destructed(seen, slots, payload, raised)


def test_an_object_that_was_looked_into_once_holds_up_no_destructors_later(payload, raised):
    cache, seen = KmemCache("later", 64, ctor=lambda _: payload(), dtor=lambda _: seen.append(1)), []
    for retired in (False, True):
        cycle = [cache.alloc()]
        cycle += [memoryview(cycle[0]), cycle]
        if retired:
            cycle[0].free_rcu()
        del cycle
        gc.collect()
    haybarn.rcu.barrier()
    assert cache.stats()["objects"] == 0
    slots, obj = cache.stats()["total_objects"], cache.alloc()
    del cache
    gc.collect()
    del obj
    gc.collect()
    assert raised == []
    assert len(seen) == slots
    assert payload.living() == 0


def test_what_a_finalizer_saves_of_the_garbage_goes_on(payload, raised):
    saved = []

    class Saver:
        def __del__(self):
            saved.append(self.names)

    names, seen, slots = module(payload)
    names["saver"] = Saver()
    names["saver"].names = names
    del names
    gc.collect()
    (names,) = saved
    assert names["obj"].freed
    assert len(seen) == slots
    with pytest.raises(haybarn.CacheDestroyedError):
        names["cache"].alloc()
    assert raised == []
    assert payload.living() == 0


def test_garbage_found_in_a_constructor_of_another_cache_ends_when_that_is_over(payload, raised):
    names, seen, slots = module(payload)
    del names

    def ctor(_):
        gc.collect()

    with KmemCache("outer", 64, ctor=ctor) as outer:
        outer.alloc().free()
    collect()
    assert raised == []
    assert len(seen) == slots
    assert payload.living() == 0
    assert ended()


# In a process of its own: a function that is called after the collector took it apart is a segmentation fault.
KEPT_FOR_A_WHILE = """
import gc, sys
from haybarn import BadArgumentError, KmemCache, SlabFlags, rcu

raised, saved, whole = [], [], []
sys.unraisablehook = lambda args: raised.append(type(args.exc_value).__name__)

class Node:
    pass

class Saver(Node):
    def __del__(self):
        saved.append(self)

def build(node, ctor=None, flags=SlabFlags.NO_MERGE):
    node.self = node
    node.cache = KmemCache("c", 4096, ctor=ctor, dtor=lambda obj: whole.append(node.self is node), flags=flags)
    node.obj = node.cache.alloc()
    node.view = memoryview(node.obj)
    {pending}

{collect}
for _ in range(3):
    gc.collect()
    rcu.barrier()
assert not any(isinstance(left, (Node, KmemCache)) for left in gc.get_objects())
assert all(whole)
KmemCache("c", 64, flags=SlabFlags.NO_MERGE).destroy()
print(*raised)
"""
PENDING = {
    "a free": "node.cache.alloc().free_rcu()",
    "a free and a retired view": (
        "other = node.cache.alloc(); node.other = memoryview(other); other.free_rcu(); node.cache.alloc().free_rcu()"
    ),
    "a retired view that only garbage holds": "node.obj.free_rcu(); node.obj = None; node.cache.alloc().free_rcu()",
    "dead slabs": "node.cache.alloc_bulk(40); node.cache.shrink()",
}
# What is garbage is found while something is pending; then it is garbage again.
COLLECT = {
    "a barrier": "build(Node()); gc.collect(); rcu.barrier()",
    "the name asked for again": (
        'build(Node()); gc.collect()\ntry: KmemCache("c", 64).destroy()\nexcept BadArgumentError: pass'
    ),
    "a constructor too": "build(Node(), ctor=lambda obj: [obj.cache]); gc.collect(); rcu.barrier()",
    "a finalizer that saves it": "build(Saver()); gc.collect(); rcu.barrier(); assert saved; saved.clear()",
    "a finalizer that saves it longer": (
        "build(Saver()); gc.collect(); rcu.barrier(); gc.collect(); assert saved[0].cache.name == 'c'; saved.clear()"
    ),
    "a reader": (
        "with rcu.read_lock():\n"
        "    build(Node(), flags=SlabFlags.TYPESAFE_BY_RCU)\n"
        "    for _ in range(3): gc.collect()\n"
        "rcu.barrier()"
    ),
}


@pytest.mark.parametrize("pending", PENDING)
@pytest.mark.parametrize("found", COLLECT)
def test_garbage_that_pending_frees_kept_for_a_while_calls_nothing_that_was_taken_apart(found, pending):
    code = KEPT_FOR_A_WHILE.format(pending=PENDING[pending], collect=COLLECT[found])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, ""), ran
    assert ran.stdout.split() == ["ObjectInUseError"]


def test_a_cache_that_pending_frees_keep_is_whole_while_they_do(payload, raised):
    seen, flags = [], haybarn.SlabFlags.NO_MERGE
    cache = KmemCache("garbage", 64, ctor=lambda _: payload(), dtor=lambda _: seen.append(1), flags=flags)
    cycle = [cache.alloc()]
    cycle += [memoryview(cycle[0]), cycle]
    cache.alloc().free_rcu()
    slots = cache.stats()["total_objects"]
    with haybarn.rcu.read_lock():
        del cache, cycle
        gc.collect()
    collect()
    assert raised == []
    assert len(seen) == slots
    assert payload.living() == 0
    assert ended()


def test_a_fault_injection_does_not_hide_its_cache_from_the_collector(payload):
    names, seen, slots = module(payload)
    names["fault"] = haybarn.fault_inject.fail_slab(names["cache"], probability=0.0)
    del names
    collect()
    assert seen == [payload] * slots
    assert payload.living() == 0
    assert ended()
