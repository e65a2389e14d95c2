"""Stress against bugs that a cargo feature plants in the real core: each must be caught.

The broken allocators that the oracle is tested against are in rust/lab/tests/oracle_broken.rs.
"""

from __future__ import annotations

import os
import shutil

import pytest

import planted

# A build of the core, one for all, and some tries of ten seconds, on a machine that may be busy.
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo to build the core with a bug"),
]


@pytest.mark.parametrize("feature", planted.PLANTED)
def test_a_planted_bug_is_caught(feature: str, capsys: pytest.CaptureFixture[str]) -> None:
    if feature == "plant-no-membarrier" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("a sequence on another CPU must be running while its slot is drained: needs two CPUs")
    code = planted.main([feature])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert printed.startswith(f"{feature}: caught (")


@pytest.mark.campaign
@pytest.mark.parametrize("feature", planted.RCU)
def test_a_planted_bug_of_rcu_is_caught(feature: str) -> None:
    assert planted.rcu_caught(feature)


@pytest.mark.campaign
def test_a_look_that_does_not_keep_its_cache_is_caught() -> None:
    assert planted.sysfs_caught(planted.SYSFS)
    assert planted.sysfs_caught("") is None


@pytest.mark.campaign
def test_rcu_without_a_bug_passes_as_long_a_run() -> None:
    assert planted.rcu_caught("") is None


@pytest.mark.campaign
@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_reuse_while_listed_is_caught_without_rseq_too(backend: str) -> None:
    program = planted.build()
    arguments = ("--scenario", "burst", "--backend", backend)
    assert any(planted.caught(program, "plant-reuse-listed", arguments, seed) for seed in planted.SEEDS)


@pytest.mark.campaign
@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_a_slot_without_its_flag_is_caught_by_handlers_alone(backend: str) -> None:
    program = planted.build()
    arguments = ("--scenario", "nolock", "--threads", "1", "--backend", backend)
    assert any(planted.caught(program, "plant-unguarded-slot", arguments, seed) for seed in planted.SEEDS)


@pytest.mark.campaign
def test_a_missing_membarrier_needs_rseq_to_show() -> None:
    # The control: on a backend without restartable sequences the same build is right, so what catches it is not noise.
    arguments = ("--scenario", "shrink-under-load", "--backend", "locked")
    assert planted.caught(planted.build(), "plant-no-membarrier", arguments, 1) is None


def test_a_build_whose_bugs_sleep_is_right() -> None:
    # The control of all of them: what is caught is the bug, and not what the build does differently.
    program = planted.build()
    assert planted.caught(program, "", ("--scenario", "burst"), 1) is None
    assert planted.caught(program, "plant-nothing", ("--scenario", "merge"), 1) is None
