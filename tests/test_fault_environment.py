"""Failures on demand by environment, on the command line, and the examples of the pages."""

from __future__ import annotations

import doctest
import json
import os
import re
import subprocess
import sys

import pytest

from haybarn import fault_inject

SCRIPT = """
import haybarn
try:
    with haybarn.KmemCache("env", 64) as cache:
        refused = 0
        for _ in range(100):
            try:
                cache.alloc().free()
            except haybarn.OutOfMemoryError:
                refused += 1
        print(refused)
except haybarn.HaybarnError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("env", "printed"),
    [
        ({"HAYBARN_FAIL_SLAB": "10,100,0,3"}, "3"),
        ({"HAYBARN_FAIL_SLAB": "1,100,0,-1"}, "100"),
        ({"HAYBARN_FAIL_SLAB": ""}, "0"),
        ({"HAYBARN_FAIL_PAGE_ALLOC": "1,100,0,-1"}, "OutOfMemoryError cache 'env': out of memory for"),
        ({"HAYBARN_FAIL_PAGE_ALLOC": "1,100,1000000,-1"}, "0"),
        ({"HAYBARN_FAIL_SLAB": "1,101,0,-1"}, 'BadArgumentError HAYBARN_FAIL_SLAB = "1,101,0,-1" is not legal: int'),
        ({"HAYBARN_FAIL_PAGE_ALLOC": "often"}, 'BadArgumentError HAYBARN_FAIL_PAGE_ALLOC = "often" is not legal:'),
    ],
)
def test_the_environment(env, printed):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, env=os.environ | env, check=True
    )
    assert done.stdout.startswith(printed), done.stdout


def test_the_command_line_shows_what_the_environment_asks_for(haybarn_cli):
    done = haybarn_cli("info", "--json", "-", HAYBARN_FAIL_SLAB="5,12.5,0,-1")
    assert json.loads(done.stdout)["fault_injection"] == [
        "fail_slab: probability 0.125, interval 5, space 0, times without end, fired 0"
    ]
    assert "none" in haybarn_cli("info").stdout
    done = haybarn_cli("info", HAYBARN_FAIL_SLAB="nonsense")
    assert done.returncode == 2
    assert "HAYBARN_FAIL_SLAB" in done.stderr


def test_the_modules_example_does_what_it_says():
    failed, tried = doctest.testmod(fault_inject)
    assert (failed, tried > 0) == (0, True)


def test_the_pages_example_runs(root, capsys):
    page = (root / "docs" / "fault-injection.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(example, {})
    assert re.fullmatch(r"\d+ allocations failed\n", capsys.readouterr().out)
