"""In steady state, alloc, free, bulk, refill and flush make no system call: no waiting lock, no yield, nothing else."""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

BEGINS, ENDS = '"steady state begins"', '"steady state ends"'


@pytest.fixture(scope="module")
def example(root):
    """The example's executable, built as the tests of the core are."""
    if shutil.which("cargo") is None:
        pytest.skip("needs cargo, to build the example")
    build = ["cargo", "build", "--locked", "--quiet", "-p", "haybarn", "--example", "steady"]
    done = subprocess.run(build, cwd=root, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    target = root / os.environ.get("CARGO_TARGET_DIR", "target")
    return target / "debug" / "examples" / "steady"


def between(trace: str) -> list[str]:
    """The lines of a trace between the two markers."""
    lines = trace.splitlines()
    begin, end = (next(i for i, line in enumerate(lines) if marker in line) for marker in (BEGINS, ENDS))
    assert begin < end
    return lines[begin + 1 : end]


@pytest.mark.timeout(700)
@pytest.mark.parametrize("kind", ["plain", "counted"])
@pytest.mark.parametrize("backend", ["rseq", "locked", "virtual"])
def test_no_system_call_in_steady_state(tool, example, tmp_path, backend, kind):
    trace = tmp_path / "trace"
    command = [tool("strace"), "-f", "-o", trace, example, backend, kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    if "PTRACE" in done.stderr or "ptrace" in done.stderr:
        pytest.skip(f"strace may not trace here: {done.stderr.strip()}")
    if "is not to be had here" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    calls = between(trace.read_text())
    assert not [line for line in calls if re.search(r"\b(futex|sched_yield)\b", line)]
    assert calls == []
    # All of the paths were taken.
    counters = dict(line.split() for line in done.stdout.splitlines())
    assert counters.pop("backend") == backend
    assert not [name for name, value in counters.items() if int(value) == 0], counters


def test_the_trace_would_show_a_call():
    trace = f"7 write(-1, {BEGINS}, 19) = -1 EBADF\n8 futex(0x1, FUTEX_WAKE) = 0\n7 write(-1, {ENDS}, 17) = -1\n"
    assert between(trace) == ["8 futex(0x1, FUTEX_WAKE) = 0"]
