"""Shows that stress catches bugs: builds the core with all of them asleep, wakes one, runs stress, asks for a failure.

`python tools/planted.py [FEATURE ...]`. A bug is caught when stress reports violations, when an assertion or
the kernel ends the process, or when it hangs. Exits 1 if a bug survives every try. What only weak memory shows
(`plant-weak-release`, `plant-no-summary-fence`) cannot fail on x86-64: the loom models plant those.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 10
SEEDS = range(1, 13)  # the first ones catch as a rule; the others are for a machine that is busy
PANIC = 101  # what Rust exits with
# The cargo feature of a build that has the bug that HAYBARN_PLANT names, by its own feature; none if it names none.
BY_NAME = "plant-by-name"
# Feature -> how haybarn-stress is called to show it. A 128-bit head has a count beside its tag, which hides a missing
# tag for minutes; in the packed form the tag is all that there is (docs/stress.md).
PLANTED = {
    "plant-no-membarrier": ("--scenario", "shrink-under-load"),
    "plant-no-tag": ("--scenario", "burst", "--form", "packed"),
    "plant-reuse-listed": ("--scenario", "burst"),
    "plant-no-grace-period": ("--scenario", "typesafe"),
    "plant-destruct-unowned": ("--scenario", "ctor"),
    "plant-recycle-by-first": ("--scenario", "typesafe"),
    "plant-early-reclaim": ("--scenario", "rcu"),
    "plant-unwon-spare": ("--scenario", "prefill"),
    "plant-setup-one-look": ("--scenario", "prealloc"),
    "plant-stray-node": ("--scenario", "nodes"),
    "plant-join-dying": ("--scenario", "merge"),
    "plant-bulk-by-first": ("--scenario", "kmalloc"),
    # One thread: nobody but its own signal handler comes in between.
    "plant-unguarded-slot": ("--scenario", "nolock", "--threads", "1"),
}


# Features of RCU: its stress test runs on threads of its own, with no caches in between.
RCU = (
    "plant-rcu-no-membarrier",
    "plant-rcu-hidden-reader",
    "plant-rcu-no-scan",
    "plant-rcu-early-end",
    "plant-rcu-hasty-barrier",
)
RCU_ROUNDS = 5_000
# A look at a cache that does not keep it: a test of its own too.
SYSFS = "plant-look-unpinned"
SYSFS_ROUNDS = 20_000


def environment() -> dict[str, str]:
    """Where planted builds lie, and how they are made quickly."""
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute() / "planted"
    return os.environ | {
        "CARGO_TARGET_DIR": str(target),
        "CARGO_PROFILE_RELEASE_LTO": "off",
        "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16",
    }


def rcu_caught(feature: str) -> str | None:
    """How RCU's stress test failed on a build with the bug, or None if it passed."""
    done = run_test(feature, ["--test", "rcu_stress"], {"HAYBARN_RCU_ROUNDS": str(RCU_ROUNDS)})
    if done.returncode == 0:
        return None
    return "poison" if "readers met poison" in done.stdout else "a panic"


def sysfs_caught(feature: str) -> str | None:
    """How the test of looks at caches that come and go failed on a build with the bug, or None if it passed."""
    looks = ["--test", "sysfs_races", "looks_while_caches_come_and_go"]
    done = run_test(feature, looks, {"HAYBARN_SYSFS_ROUNDS": str(SYSFS_ROUNDS)})
    if done.returncode == 0:
        return None
    return "a look at two caches" if "assertion `left == right` failed" in done.stdout else "a panic"


def run_test(feature: str, which: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a test of the core with the bug, or without one; none of those bugs can hang it."""
    command = ["cargo", "test", "--locked", "-q", "--release", "-p", "haybarn", "--features", BY_NAME, *which]
    subprocess.run([*command, "--no-run"], cwd=ROOT, env=environment(), check=True)
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment() | env | {"HAYBARN_PLANT": feature},
        capture_output=True,
        text=True,
        timeout=60 * SECONDS,
        check=False,
    )


def build() -> Path:
    """Builds haybarn-stress, one for all bugs, and returns its path."""
    command = ["cargo", "build", "--locked", "-q", "--release", "-p", "haybarn-lab", "--bin", "haybarn-stress"]
    subprocess.run([*command, "--features", BY_NAME], cwd=ROOT, env=environment(), check=True)
    return Path(environment()["CARGO_TARGET_DIR"]) / "release" / "haybarn-stress"


def caught(program: Path, feature: str, arguments: tuple[str, ...], seed: int) -> str | None:
    """How one run with the bug failed, or None if it passed. A counter that never moved is no catch.

    The first violation ends the run: what comes after it may be anything, an endless loop too.
    """
    command = [str(program), "--threads", "8", "--seconds", str(SECONDS), "--seed", str(seed), *arguments]
    env = os.environ | {"HAYBARN_PLANT": feature}
    with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
        hung = threading.Event()

        def give_up() -> None:
            hung.set()
            run.kill()

        clock = threading.Timer(6 * SECONDS, give_up)
        clock.start()
        told = []
        for line in run.stderr or ():
            told.append(line)
            if line.startswith("violation: "):
                run.kill()
                break
        clock.cancel()
        code = run.wait()
    if told and told[-1].startswith("violation: "):
        return ":".join(told[-1].split(":")[1:3]).strip()
    if hung.is_set():
        return "hung"
    if code < 0:
        return f"ended by signal {-code}"
    if code == PANIC:
        return "an assertion"
    if code not in (0, 1):
        raise RuntimeError(f"haybarn-stress: exit code {code}: {''.join(told)}")
    return None


def main(arguments: list[str]) -> int:
    """Tries each bug with one seed after the other until it shows."""
    survived = 0
    for feature in arguments or (*PLANTED, *RCU, SYSFS):
        if feature in (*RCU, SYSFS):
            how = rcu_caught(feature) if feature in RCU else sysfs_caught(feature)
            survived += how is None
            sys.stdout.write(f"{feature}: {f'caught ({how})' if how else 'survived'}\n")
            sys.stdout.flush()
            continue
        program = build()
        for seed in SEEDS:
            how = caught(program, feature, PLANTED[feature], seed)
            if how:
                break
        survived += how is None
        sys.stdout.write(f"{feature}: {f'caught ({how}), seed {seed}' if how else f'survived {len(SEEDS)} runs'}\n")
        sys.stdout.flush()
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
