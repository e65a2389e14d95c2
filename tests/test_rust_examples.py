"""The Rust examples that are programs of their own: each runs to its end and says what it should."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo to build the examples"),
]


def run(root: Path, name: str, *arguments: str) -> str:
    """Builds and runs an example of the core; what it printed."""
    command = ["cargo", "run", "--locked", "--quiet", "-p", "haybarn", "--example", name, "--", *arguments]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_the_table_with_lock_free_look_ups(root: Path, backend: str) -> None:
    printed = run(root, "typesafe_table", "0.5", backend)
    counts = re.match(r"(\d+) entries changed, (\d+) looked up, (\d+) found\n", printed)
    assert counts is not None, printed
    assert all(int(count) > 0 for count in counts.groups()), printed
    assert "nodes of 32 bytes every 32 bytes" in printed
    assert "every slab went back after its grace period" in printed
