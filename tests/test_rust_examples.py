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


def test_every_example_has_a_test_and_a_row(root: Path) -> None:
    folder = root / "examples"
    programs = {path.name for path in folder.glob("*.rs")} | {
        f"{path.parent.name}/" for path in folder.glob("*/main.rs")
    }
    assert programs == {"ctor.rs", "free_rcu.rs", "nolock.rs", "rcu.rs", "typesafe_table/"}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in [*programs, *(path.name for path in folder.glob("*.py"))])


def test_decoders_that_are_made_once_per_slab(root: Path) -> None:
    printed = run(root, "ctor")
    made = re.match(r"10000 allocations, (\d+) decoders made\n", printed)
    assert made is not None, printed
    assert 0 < int(made[1]) < 200, printed
    assert "then: no licence is left" in printed
    assert printed.endswith("all licences are back\n"), printed


def test_a_table_replaced_under_its_readers(root: Path) -> None:
    assert run(root, "rcu")


def test_events_allocated_in_a_signal_handler(root: Path) -> None:
    printed = run(root, "nolock", "0.5")
    counts = re.match(r"(\d+) events from the handler, (\d+) lost, the last after (\d+) packets\n", printed)
    assert counts is not None, printed
    assert int(counts[1]) > 0, printed
    assert int(counts[3]) > 0, printed


def test_routes_freed_after_a_grace_period(root: Path) -> None:
    assert "routes waited for readers" in run(root, "free_rcu", "0.3", "locked")


@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_the_table_with_lock_free_look_ups(root: Path, backend: str) -> None:
    printed = run(root, "typesafe_table", "0.5", backend)
    counts = re.match(r"(\d+) entries changed, (\d+) looked up, (\d+) found\n", printed)
    assert counts is not None, printed
    assert all(int(count) > 0 for count in counts.groups()), printed
    assert "nodes of 32 bytes every 32 bytes" in printed
    assert "every slab went back after its grace period" in printed
