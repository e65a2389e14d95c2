"""info, slabinfo: what the arena says of itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import haybarn
from haybarn import KmemCache


def python(script, **env):
    """Runs a script in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=os.environ | env, check=False
    )


def test_info():
    info = haybarn.info()
    assert info["version"] == haybarn.__version__
    assert info["backend"] in {"rseq", "locked", "virtual"}
    assert info["cpus"] >= 1
    assert info["nodes"] >= 1
    assert info["rcu_reader_fence"] in {"none (membarrier by who waits)", "full (membarrier refused)"}


def test_slabinfo_is_version_2_1():
    cache = KmemCache("slabinfo", 200, align=64)
    batch = cache.alloc_bulk(100)
    header, columns, *rows = haybarn.slabinfo().splitlines()
    assert header == "slabinfo - version: 2.1"
    assert columns == (
        "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
        " : tunables <limit> <batchcount> <sharedfactor>"
        " : slabdata <active_slabs> <num_slabs> <sharedavail>"
    )
    row = next(row for row in rows if row.startswith("slabinfo "))
    numbers, tunables, data = row.split(" : ")
    name, active, total, size, per_slab, pages = numbers.split()
    stats = cache.stats()
    assert name == "slabinfo"
    assert int(total) == stats["total_objects"]
    assert 100 <= int(active) <= int(total)
    assert (int(size), int(per_slab), int(pages)) == (cache.slab_size, cache.objs_per_slab, 1 << cache.order)
    assert tunables.split() == ["tunables", "0", "0", "0"]
    assert data.split() == ["slabdata", str(stats["slabs"]), str(stats["slabs"]), "0"]
    cache.free_bulk(batch)
    del batch
    cache.destroy()
    assert "slabinfo " not in haybarn.slabinfo().split("\n", 2)[2]


@pytest.mark.parametrize("backend", ["rseq", "locked", "virtual"])
def test_the_environment_forces_a_backend(backend):
    script = """
import haybarn
with haybarn.KmemCache("forced", 64) as cache:
    cache.free_bulk(cache.alloc_bulk(1000))
    objs = [cache.alloc() for _ in range(1000)]
    assert cache.stats()["objects"] == 1000
    del objs
    assert cache.stats()["objects"] == 0
    cache.shrink()
    cache.validate()
print(haybarn.info()["backend"])
"""
    done = python(script, HAYBARN_BACKEND=backend)
    if (
        backend == "rseq"
        and python("import haybarn; print(haybarn.info()['backend'])", HAYBARN_BACKEND="").stdout != "rseq\n"
    ):
        assert "UnavailableError" in done.stderr
        return
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, backend, "")


def test_a_backend_that_is_not_there_is_an_error_at_first_use_and_not_at_import():
    done = python("import haybarn; print('imported'); haybarn.KmemCache('a', 64)", HAYBARN_BACKEND="fastest")
    assert done.stdout == "imported\n"
    assert "haybarn.BadArgumentError" in done.stderr or "haybarn.UnavailableError" in done.stderr
    assert "fastest" in done.stderr
    assert done.returncode == 1
