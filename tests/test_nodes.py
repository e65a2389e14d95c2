"""Nodes from Python: HAYBARN_FAKE_NODES, objects of a node's memory, the defrag ratio, statistics by node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

import haybarn
from haybarn import KmemCache

BACKENDS = ("rseq", "locked", "virtual")


def run(body: str, nodes: str | None, backend: str | None = None) -> subprocess.CompletedProcess[str]:
    """Runs body in an interpreter of its own, with so many fake nodes."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("HAYBARN_")}
    env |= {"HAYBARN_FAKE_NODES": nodes} if nodes is not None else {}
    env |= {"HAYBARN_BACKEND": backend} if backend else {}
    program = textwrap.dedent(body)
    return subprocess.run(
        [sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def cache():
    with KmemCache("by-node", 256) as made:
        yield made


def test_one_node_is_all_that_a_process_without_the_variable_needs(cache):
    obj = cache.alloc(node=0)
    assert obj.node == 0
    assert cache.alloc(node=None, thisnode=True).node == 0
    with cache.alloc(zero=True, node=0, thisnode=True) as zeroed:
        assert bytes(zeroed) == bytes(256)
    obj.free()
    with pytest.raises(haybarn.UseAfterFreeError):
        _ = obj.node


@pytest.mark.parametrize("node", [haybarn.info()["nodes"], 64, 2**32, 2**80, -1])
def test_a_node_that_is_not_there(cache, node):
    before = cache.stats()
    with pytest.raises(haybarn.BadArgumentError, match=r"by-node.*node.*0 to"):
        cache.alloc(node=node)
    assert cache.stats() == before


@pytest.mark.parametrize(("name", "value"), [("node", "1"), ("node", 1.0), ("thisnode", 1), ("thisnode", None)])
def test_arguments_of_other_types(cache, name, value):
    with pytest.raises(TypeError, match=name):
        cache.alloc(**{name: value})


def test_the_defrag_ratio(cache):
    assert cache.remote_node_defrag_ratio == 100
    for ratio in (0, 37, 100):
        cache.remote_node_defrag_ratio = ratio
        assert cache.remote_node_defrag_ratio == ratio
    for ratio in (101, -1, 2**40):
        with pytest.raises(haybarn.BadArgumentError, match=r"remote_node_defrag_ratio.*0 to 100"):
            cache.remote_node_defrag_ratio = ratio
    with pytest.raises(TypeError):
        cache.remote_node_defrag_ratio = "half"
    assert cache.remote_node_defrag_ratio == 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_fake_nodes_on_every_backend(backend):
    done = run(
        """
        import json
        import haybarn

        cache = haybarn.KmemCache("three", 512)
        held = []
        for n in range(600):
            held.append(cache.alloc(node=n % 3, thisnode=n % 2 == 0))
            assert held[-1].node == n % 3
        own = {cache.alloc(thisnode=True).node for _ in range(200)}
        nodes = cache.node_stats()
        stats = cache.stats()
        assert sum(part["slabs"] for part in nodes) == stats["slabs"]
        assert sum(part["total_objects"] for part in nodes) == stats["total_objects"]
        assert sum(part["in_barn"] + part["in_cpus"] for part in nodes) == stats["in_sheaves"]
        before = stats["free_slowpath"]
        for obj in held:
            obj.free()
        remote = cache.stats()["free_slowpath"] - before
        cache.shrink()
        print(json.dumps([haybarn.info()["nodes"], haybarn.info()["nodes_why"], sorted(own), remote, nodes]))
        """,
        "3",
        backend,
    )
    if "UnavailableError" in done.stderr:
        pytest.skip(f"no backend {backend} here")
    assert done.returncode == 0, done.stderr
    count, why, own, remote, nodes = json.loads(done.stdout)
    assert count == 3
    assert why.startswith("fake (HAYBARN_FAKE_NODES)")
    assert all(part["slabs"] > 0 for part in nodes)
    # At any moment the CPU is on one node: what is of the other two went to its slabs.
    assert 200 <= remote <= 600
    assert own


@pytest.mark.parametrize("value", ["0", "65", "-1", "many", "1.5"])
def test_a_variable_that_is_no_number_of_nodes(value):
    done = run("import haybarn; haybarn.KmemCache('x', 64)", value)
    assert done.returncode != 0
    assert "BadArgumentError" in done.stderr
    assert "HAYBARN_FAKE_NODES" in done.stderr
    assert "1 to 64" in done.stderr


def test_info_says_which_nodes():
    assert haybarn.info()["nodes"] >= 1
    assert haybarn.info()["nodes_why"]


@pytest.mark.parametrize("backend", ["rseq", "locked"])
def test_one_thread_stays_one_and_shrinks_for_itself(backend):
    body = """
        import os, haybarn
        cache = haybarn.KmemCache("alone", 256, flags=haybarn.SlabFlags.NO_MERGE)
        for obj in cache.alloc_bulk(500): obj.free()
        others = [haybarn.KmemCache(f"other-{n}", 64 + 8 * n) for n in range(5)]
        assert cache.stats()["in_sheaves"] > 0
        cache.shrink()
        stats = cache.stats()
        assert (stats["in_sheaves"], stats["slabs"]) == (0, 0), stats
        del others
        print(len(os.listdir("/proc/self/task")))
    """
    done = run(body, None, backend)
    if "not available" in done.stderr or "Unavailable" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
