"""The loom models fail on every bug that can be built into the core, so a clean run of them says something.

The quick form of this is in Rust: the models named ``loom_*_catches_*`` plant a bug for themselves at every run.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Cargo feature of rust/core, and models that must fail with it.
CAUGHT_BY = {
    "plant-no-tag": {"loom_stack_pop_survives_reuse_of_the_top"},
    "plant-weak-release": {
        "loom_stack_hands_over_what_was_written",
        "loom_barn_full_and_empty_change_hands",
        "loom_slab_kill_against_push",
    },
    "plant-reuse-listed": {"loom_slab_kill_against_pop", "loom_slab_reuse_after_death_against_refill"},
    "plant-recycle-by-first": {"loom_grave_kill_against_pop", "loom_grave_reuse_after_death"},
    "plant-no-grace-period": {"loom_grave_kill_against_reader", "loom_grave_shrink_against_reader"},
    "plant-no-membarrier": {"loom_drain_against_alloc", "loom_drain_against_swap_of_the_pair"},
    "plant-setup-one-look": {"loom_setup_first_uses_meet_a_setup"},
    "plant-no-summary-fence": {"loom_summary_bit_never_loses_a_chunk"},
}


def failing(models: set[str], *options: str) -> set[str]:
    """Runs the models; the names of those that failed."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "loom"
    env = os.environ | {
        "RUSTFLAGS": "--cfg loom",
        "RUST_BACKTRACE": "0",
        "CARGO_TARGET_DIR": str(target),
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    }
    command = ["cargo", "test", "--locked", "-p", "haybarn", "--release", "--lib", *options, "--", *sorted(models)]
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    results = dict(re.findall(r"^test \S*::(\w+) \.\.\. (\w+)", run.stdout, re.MULTILINE))
    assert models <= results.keys(), f"not every model ran:\n{run.stdout[-2000:]}\n{run.stderr[-2000:]}"
    return {model for model in models if results[model] == "FAILED"}


@pytest.mark.campaign
@pytest.mark.timeout(600)
@pytest.mark.parametrize("feature", CAUGHT_BY)
def test_models_fail_on_a_planted_bug(feature: str) -> None:
    assert failing(CAUGHT_BY[feature], "--features", feature) == CAUGHT_BY[feature]


@pytest.mark.campaign
@pytest.mark.timeout(600)
def test_the_same_models_pass_without_one() -> None:
    assert failing(set.union(*CAUGHT_BY.values())) == set()
