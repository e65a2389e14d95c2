"""The Python examples run as printed, and say nothing on standard error."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXAMPLES = {
    "python_attributes.py": "replies has the slabs of requests",
    "python_rcu.py": "2000 routes replaced under 4 readers, 64 objects are live",
    "python_packets.py": "packets received",
    "python_levels.py": "slabs back, 0 are left",
    "python_payload.py": "20000 requests were served by",
    "python_mistakes.py": "DoubleFreeError: cache 'mine': object at 0x",
    "python_preallocated.py": "loaded again: plugin_2 owns plugin-frames at the same address",
    "python_kmalloc.py": "890 bytes in 1024, appended to 100 times and moved 10 times",
    "python_prefilled.py": "12 words added, 6 refused as a whole, none added in part",
    "python_merging.py": "without requests the slabs are those of replies",
    "python_nodes.py": "4 nodes: fake (HAYBARN_FAKE_NODES)",
    "python_leaks.py": "5 sessions are live, allocated at python_leaks.py:14",
    "python_usercopy.py": "the header is as it was: serial 7, checksum 0xc0ffee",
    "python_out_of_memory.py": "allocation 6 fails: posted, 5 objects live, 0 failures",
}


def test_every_example_is_here(root):
    assert {path.name for path in (root / "examples").glob("*.py")} == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, root):
    done = subprocess.run(
        [sys.executable, "-W", "error", root / "examples" / name], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert EXAMPLES[name] in done.stdout
