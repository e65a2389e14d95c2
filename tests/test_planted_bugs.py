"""Stress against bugs that a cargo feature plants in the real core: each must be caught.

The broken allocators that the oracle is tested against are in rust/lab/tests/oracle_broken.rs.
"""

from __future__ import annotations

import shutil

import pytest

import planted

# A build of the core and some tries of ten seconds, on a machine that may be busy.
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo to build the core with a bug"),
]


@pytest.mark.parametrize("feature", planted.PLANTED)
def test_a_planted_bug_is_caught(feature: str, capsys: pytest.CaptureFixture[str]) -> None:
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
    program = planted.build("plant-reuse-listed")
    arguments = ("--scenario", "burst", "--backend", backend)
    assert any(planted.caught(program, arguments, seed) for seed in planted.SEEDS)


@pytest.mark.campaign
@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_a_slot_without_its_flag_is_caught_by_handlers_alone(backend: str) -> None:
    program = planted.build("plant-unguarded-slot")
    arguments = ("--scenario", "nolock", "--threads", "1", "--backend", backend)
    assert any(planted.caught(program, arguments, seed) for seed in planted.SEEDS)


@pytest.mark.campaign
def test_a_missing_membarrier_needs_rseq_to_show() -> None:
    # The control: on a backend without restartable sequences the same build is right, so what catches it is not noise.
    program = planted.build("plant-no-membarrier")
    assert planted.caught(program, ("--scenario", "shrink-under-load", "--backend", "locked"), 1) is None
