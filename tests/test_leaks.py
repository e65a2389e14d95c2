"""Which objects are live: in errors, on demand, at exit; and where they were allocated."""

from __future__ import annotations

import gc
import inspect
import os
import subprocess
import sys
import textwrap
import threading
from typing import Any

import pytest

import haybarn


def line() -> str:
    """The caller's file and line, as a site names it."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{frame.f_back.f_code.co_filename}:{frame.f_back.f_lineno}"


def leak_of(name: str) -> dict[str, Any] | None:
    found = [leak for leak in haybarn.leaks() if name in {leak["cache"], *leak["aliases"]}]
    return found[0] if found else None


def busy(cache: haybarn.KmemCache) -> haybarn.CacheBusyError:
    with pytest.raises(haybarn.CacheBusyError) as raised:
        cache.destroy()
    return raised.value


def alone(name: str, size: int, *, track: bool) -> haybarn.KmemCache:
    return haybarn.KmemCache(name, size, flags=haybarn.SlabFlags.NO_MERGE, track=track)


def run(program: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_busy_cache_names_its_objects_and_their_lines() -> None:
    cache = alone("busy-tracked", 100, track=True)
    assert cache.track
    first, at_first = cache.alloc(), line()
    more, at_more = cache.alloc_bulk(2), line()
    sheaf = cache.prefill(2)
    taken, at_taken = sheaf.alloc(), line()
    sheaf.give_back()
    error = busy(cache)
    lines = {first.address: at_first, taken.address: at_taken} | {one.address: at_more for one in more}
    assert (error.live, error.shared) == (4, False)
    assert dict(zip([address for address, _ in error.objects], error.sites, strict=True)) == lines
    for address, index in error.objects:
        assert f"{address:#x} (index {index}), allocated at {lines[address]}" in str(error)
    cache.free_bulk([first, *more, taken])
    cache.destroy()


def test_without_tracking_there_are_addresses_only() -> None:
    cache = alone("busy-plain", 100, track=False)
    assert not cache.track
    kept = cache.alloc()
    error = busy(cache)
    assert (error.live, error.sites, error.shared) == (1, [None], False)
    assert [address for address, _ in error.objects] == [kept.address]
    assert "allocated at" not in str(error)
    kept.free()
    cache.destroy()


@pytest.mark.parametrize("how", ["free", "free_bulk", "free_rcu", "last reference", "with"])
def test_a_site_goes_with_its_object(how: str) -> None:
    # Untracked names share the slabs, so that what is named comes from the sites and not from the slabs.
    cache, other = haybarn.KmemCache("leak-gone", 2968, track=True), haybarn.KmemCache("leak-other", 2968, track=False)
    assert other.primary == "leak-gone"
    obj, kept, at = cache.alloc(), cache.alloc(), line()
    address = obj.address
    match how:
        case "free":
            obj.free()
        case "free_bulk":
            cache.free_bulk([obj])
        case "free_rcu":
            obj.free_rcu()
            cache.rcu_barrier()
        case "last reference":
            del obj
            gc.collect()
        case "with":
            with obj:
                pass
    # Whoever has the address now, it is not this name.
    cache.shrink()
    others = other.alloc_bulk(2000)
    assert address in {one.address for one in others}
    error = busy(cache)
    assert ([found for found, _ in error.objects], error.sites) == ([kept.address], [at])
    other.free_bulk(others)
    kept.free()
    cache.destroy()
    other.destroy()


def test_a_site_is_that_of_the_object_not_of_the_one_before() -> None:
    cache = alone("leak-again", 64, track=True)
    cache.alloc().free()
    kept, at = cache.alloc(zero=True), line()
    assert busy(cache).sites == [at]
    kept.free()
    on_node, at = cache.alloc(node=0), line()
    assert busy(cache).sites == [at]
    on_node.free()
    cache.destroy()


def test_a_name_among_others_names_its_own_if_it_tracks_and_else_says_whose_they_may_be() -> None:
    tracked, plain = haybarn.KmemCache("leak-mine", 2952, track=True), haybarn.KmemCache("leak-ours", 2952, track=False)
    assert plain.primary == "leak-mine"
    others = plain.alloc_bulk(100)
    mine, at = tracked.alloc(), line()
    error = busy(tracked)
    assert (error.live, error.shared, error.sites) == (1, False, [at])
    assert [address for address, _ in error.objects] == [mine.address]
    # What no tracked name knows as its own is that of the only other one.
    error = busy(plain)
    assert (error.live, error.shared, error.sites) == (100, False, [None] * 64)
    assert {address for address, _ in error.objects} <= {one.address for one in others}
    assert "still has 100 live object(s): free them, then destroy; live: 0x" in str(error)
    leak = leak_of("leak-ours")
    assert leak is not None
    assert (leak["cache"], leak["aliases"], leak["live"]) == ("leak-mine", ["leak-ours"], 101)
    assert leak["names"] == {"leak-mine": 1, "leak-ours": 100}
    whose = {one["address"]: (one["cache"], one["site"]) for one in leak["objects"]}
    assert all(
        found == (("leak-mine", at) if one == mine.address else ("leak-ours", None)) for one, found in whose.items()
    )
    # Of two that do not track, nobody can tell.
    third = haybarn.KmemCache("leak-theirs", 2952, track=False)
    theirs = third.alloc()
    error = busy(third)
    assert (error.live, error.shared, error.sites) == (1, True, [None] * 64)
    assert mine.address not in {address for address, _ in error.objects}
    assert "live in the slabs that it shares with leak-ours: 0x" in str(error)
    leak = leak_of("leak-ours")
    assert leak is not None
    assert {one["cache"] for one in leak["objects"] if one["address"] != mine.address} == {None}
    theirs.free()
    third.destroy()
    mine.free()
    plain.free_bulk(others)
    tracked.destroy()
    plain.destroy()


def test_objects_of_kmalloc_are_tracked_where_the_environment_asks() -> None:
    program = """
import haybarn
held = [haybarn.kmalloc(n) for n in (0, 100, 100, 20_000)]
held.append(haybarn.krealloc(haybarn.kmalloc(8), 8))
moved = haybarn.krealloc(haybarn.kmalloc(
    20), 900)
sites = {leak["cache"]: [one["site"] for one in leak["objects"]] for leak in haybarn.leaks()}
assert sites == {"kmalloc-128": ["<string>:3"] * 2, "kmalloc-8": ["<string>:4"], "kmalloc-1k": ["<string>:5"]}, sites
held.pop(1).free()
del held[1]
assert "kmalloc-128" not in str(haybarn.leaks())
moved = None
again = haybarn.kmalloc(900)
(leak,) = [leak for leak in haybarn.leaks() if leak["cache"] == "kmalloc-1k"]
assert [one["site"] for one in leak["objects"]] == ["<string>:13"], leak
"""
    done = run(program, HAYBARN_TRACK="1", HAYBARN_LEAKS="1")
    assert done.returncode == 0, done.stderr
    assert "of 'kmalloc-1k', allocated at <string>:13" in done.stderr
    done = run("import haybarn\nhaybarn.kmalloc(9)", HAYBARN_TRACK="perhaps")
    assert "BadArgumentError: HAYBARN_TRACK = perhaps is not legal: 0 or 1" in done.stderr


def test_objects_of_kmalloc_are_listed_by_class() -> None:
    kept = haybarn.kmalloc(3000)
    leak = leak_of("kmalloc-4k")
    assert leak is not None
    assert leak["names"] == {"kmalloc-4k": leak["live"]}
    assert {one["cache"] for one in leak["objects"]} == {"kmalloc-4k"}
    assert kept.address in {one["address"] for one in leak["objects"]}
    kept.free()
    assert leak_of("kmalloc-4k") is None


def test_leaks_lists_what_is_live_and_only_that() -> None:
    with alone("leaks-listed", 256, track=True) as cache:
        assert leak_of("leaks-listed") is None
        objects = [cache.alloc() for _ in range(300)]
        objects[7].free()
        sheaf = cache.prefill(4)
        taken, at_taken = sheaf.alloc(), line()
        leak = leak_of("leaks-listed")
        assert leak is not None
        assert (leak["live"], leak["prefilled"], leak["aliases"]) == (300, 1, [])
        assert len(leak["objects"]) == 64
        assert {tuple(one) for one in leak["objects"]} == {("address", "index", "cache", "site")}
        assert all(one["site"] is not None and one["cache"] == "leaks-listed" for one in leak["objects"])
        sheaf.give_back()
        cache.free_bulk([obj for obj in objects if not obj.freed])
        leak = leak_of("leaks-listed")
        assert leak is not None
        assert (leak["live"], [one["site"] for one in leak["objects"]]) == (1, [at_taken])
        taken.free()
        assert leak_of("leaks-listed") is None


def test_caches_that_are_not_to_be_watched_are_not() -> None:
    cache = haybarn.KmemCache("leak-untraced", 64, flags=haybarn.SlabFlags.NOLEAKTRACE)
    kept = cache.alloc()
    assert leak_of("leak-untraced") is None
    kept.free()
    cache.destroy()


def test_leaving_with_names_the_lines() -> None:
    cache = alone("leak-with", 64, track=True)
    where = r"1 live object\(s\) \(0x[0-9a-f]+ \(index \d+\), allocated at .*test_leaks.py:\d+\): it takes"
    with pytest.warns(ResourceWarning, match=where), cache:
        kept = cache.alloc()
    kept.free()


def test_a_tracked_cache_with_a_constructor() -> None:
    cache = haybarn.KmemCache("leak-ctor", 64, ctor=lambda _: "made", track=True)
    kept, at = cache.alloc(), line()
    assert (kept.payload, busy(cache).sites) == ("made", [at])
    kept.free()
    cache.destroy()


def test_an_error_that_is_on_its_way_survives_the_frees_that_it_causes() -> None:
    cache = alone("leak-raising", 64, track=True)

    def fails() -> None:
        kept = cache.alloc()
        raise KeyError(kept.address)

    with pytest.raises(KeyError) as raised:
        fails()
    assert isinstance(raised.value.args[0], int)
    del raised
    gc.collect()
    cache.destroy()


def test_threads_that_allocate_and_free_leave_what_they_keep() -> None:
    cache, other = haybarn.KmemCache("leak-busy", 2936, track=True), haybarn.KmemCache("leak-busier", 2936, track=True)
    kept: list[haybarn.SlabObject] = []

    def work(which: haybarn.KmemCache) -> None:
        for turn in range(300):
            held = [which.alloc(), *which.alloc_bulk(3)]
            if turn % 100 == 0 and which is cache:
                kept.append(held.pop())
            which.free_bulk(held[1:])
            held[0].free_rcu() if turn % 2 else held[0].free()

    threads = [threading.Thread(target=work, args=(which,)) for which in (cache, other, cache, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    error = busy(cache)
    assert sorted(address for address, _ in error.objects) == sorted(one.address for one in kept)
    assert len(kept) == 6
    other.destroy()
    cache.free_bulk(kept)
    cache.destroy()


LEAKS = """
    import haybarn
    plain = haybarn.KmemCache("plain", 64, flags=haybarn.SlabFlags.NO_MERGE)
    kept = [plain.alloc() for _ in range(70)]
    tracked = haybarn.KmemCache("tracked", 64, track=True)
    more = tracked.alloc()
    clean = haybarn.KmemCache("clean", 128)
    clean.alloc().free()
"""


def test_the_report_at_exit_names_caches_objects_and_lines() -> None:
    done = run(LEAKS, HAYBARN_LEAKS="1")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("haybarn: at exit: cache 'plain': 70 live object(s): 0x")
    assert lines[0].endswith(", ...")
    assert lines[1].startswith("haybarn: at exit: cache 'tracked': 1 live object(s): 0x")
    assert lines[2].endswith("of 'tracked', allocated at <string>:6")
    # Once, though the core would report too.
    assert len(lines) == 3, done.stderr


@pytest.mark.parametrize("value", ["", "0"])
def test_no_report_unless_asked(value: str) -> None:
    done = run(LEAKS, HAYBARN_LEAKS=value)
    assert (done.returncode, done.stderr) == (0, "")


def test_tracking_for_every_cache_by_the_environment() -> None:
    program = """
        import haybarn
        assert haybarn.KmemCache("a", 64).track
        assert not haybarn.KmemCache("b", 64, track=False).track
    """
    done = run(program, HAYBARN_TRACK="1")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["HAYBARN_LEAKS", "HAYBARN_TRACK"])
def test_a_value_that_is_not_legal_is_said(name: str) -> None:
    done = run("import haybarn; haybarn.KmemCache('a', 64)", **{name: "yes"})
    assert done.returncode == 1
    assert f"{name} = yes is not legal: 0 or 1" in done.stderr
    assert "BadArgumentError" in done.stderr


def test_a_value_that_is_not_legal_is_said_by_kmalloc_too() -> None:
    done = run("import haybarn; haybarn.kmalloc(3)", HAYBARN_LEAKS="yes")
    assert done.returncode == 1
    assert "BadArgumentError: HAYBARN_LEAKS = yes is not legal: 0 or 1" in done.stderr


def test_track_is_a_bool() -> None:
    with pytest.raises(TypeError):
        haybarn.KmemCache("leak-type", 64, track="yes")  # type: ignore[arg-type]
    haybarn.KmemCache("leak-type", 64).destroy()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reports_nothing_and_goes_on_tracking() -> None:
    program = """
        import os, sys, haybarn
        cache = haybarn.KmemCache("forked", 64, track=True)
        kept = cache.alloc()
        pid = os.fork()
        if pid == 0:
            more = cache.alloc()
            try:
                cache.destroy()
            except haybarn.CacheBusyError as error:
                sys.exit(0 if sorted(error.sites) == ["<string>:4", "<string>:7"] else 3)
        assert os.waitpid(pid, 0)[1] == 0
    """
    done = run(program, HAYBARN_LEAKS="1")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cache 'forked': 1 live object(s)") == 1
