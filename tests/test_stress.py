"""`haybarn stress` and `haybarn.lab.stress`."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import platform
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

import haybarn
from haybarn import _core, fault_inject
from haybarn.lab import stress

Cli = Callable[..., CompletedProcess[str]]
BACKENDS = ("rseq", "locked", "virtual")


def available(backend: str) -> str:
    try:
        _core.StressField(backend, 1)
    except haybarn.UnavailableError as error:
        pytest.skip(str(error))
    return backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return available(request.param)


# For a run that hangs: pytest would end everything.
LATEST = 60.0


def assert_clean_and_walked(report: dict[str, Any]) -> None:
    """No violation, and every counter moved that the table asks for.

    A campaign asks this only of runs that end with their time; these end with their operations, on a busy machine too.
    """
    assert stress.passed(report), report
    for name, needs in stress.scenarios().items():
        row = report["scenarios"][name]
        needed = needs[report["backend"]] + (needs["among"] if report["threads"] > 1 else [])
        assert [counter for counter in needed if row["counters"][counter] == 0] == [], (name, row)


def test_every_scenario_is_clean_on_every_backend(backend: str) -> None:
    report = stress.campaign(threads=8, ops=150_000, seconds=LATEST, seed=3, backend=backend)
    assert_clean_and_walked(report)
    assert report["backend"] == backend
    assert list(report["scenarios"]) == list(stress.scenarios())
    for name, row in report["scenarios"].items():
        assert row["ops"] > 0, name


@pytest.mark.parametrize("probability", [0.05, 1.0])
def test_every_scenario_is_clean_while_memory_and_objects_fail(backend: str, probability: float) -> None:
    report = stress.campaign(threads=4, ops=300_000, seconds=LATEST, seed=5, backend=backend, inject=probability)
    assert_clean_and_walked(report)
    assert report["inject"] == probability
    for name, row in report["scenarios"].items():
        assert 0 < row["refused"] <= row["faults"], name
    assert report["faults"] == sum(row["faults"] for row in report["scenarios"].values())
    assert haybarn.info()["fault_injection"] == []


def test_inject_on_the_command_line(haybarn_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "stress.json"
    arguments = ("--seconds", "0.5", "--scenario", "churn", "--json", str(file))
    done = haybarn_cli("stress", *arguments, "--inject", "0.2")
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["inject"] == 0.2
    assert 0 < report["scenarios"]["churn"]["refused"] <= report["faults"]
    assert "requests made to fail" in done.stdout
    done = haybarn_cli("stress", *arguments)
    report = json.loads(file.read_text())
    assert (report["inject"], report["faults"], report["scenarios"]["churn"]["refused"]) == (0, 0, 0)
    assert "made to fail" not in done.stdout


@pytest.mark.parametrize("name", ["HAYBARN_FAIL_SLAB", "HAYBARN_FAIL_PAGE_ALLOC"])
def test_faults_of_others_are_refused_not_taken_for_violations(haybarn_cli: Cli, name: str) -> None:
    done = haybarn_cli("stress", "--seconds", "0.3", "--scenario", "churn", **{name: "2,100,0,-1"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "a fault is on, end it and ask stress to inject failures instead: fail_" in done.stderr
    fault = fault_inject.fail_slab(probability=0.5)
    with fault, pytest.raises(haybarn.BadArgumentError, match="a fault is on"):
        stress.campaign(["churn"], seconds=0.3)


@pytest.mark.parametrize("form", ["double", "packed"])
def test_both_forms_of_swapped_words_are_clean(form: str) -> None:
    try:
        _core.StressField(None, 1, form)
    except haybarn.UnavailableError as error:
        pytest.skip(str(error))
    assert stress.passed(stress.campaign(["burst", "churn"], threads=4, seconds=1.0, form=form))


def test_one_thread_passes_on_every_backend(backend: str) -> None:
    report = stress.campaign(threads=1, ops=500_000, seconds=LATEST, seed=4, backend=backend)
    assert_clean_and_walked(report)


def test_json_has_what_a_reader_needs(haybarn_cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "stress.json"
    file.write_text("older and longer than what comes" * 1000)
    # Long enough that each scenario's threads meet on a machine that is busy.
    done = haybarn_cli("stress", "--threads", "2", "--seconds", "8", "--seed", "9", "--json", str(file))
    assert done.returncode == 0, done.stderr
    report = json.loads(file.read_text())
    assert report["seed"] == 9
    assert report["threads"] == 2
    assert report["backend"] in BACKENDS
    assert report["violations"] == 0
    assert report["ops"] == sum(row["ops"] for row in report["scenarios"].values())
    assert report["ops_per_second"] == pytest.approx(report["ops"] / report["seconds"])
    # The whole run shares --seconds: all scenarios and their ends, not eight seconds for each.
    assert 7.9 < report["seconds"] < 30
    assert list(report["scenarios"]) == list(stress.scenarios())
    for row in report["scenarios"].values():
        assert set(row) >= {"ops", "violations", "counters"}
        assert set(row["counters"]) == set(stress.COUNTERS)
    assert "stress on" in done.stdout
    assert "shrink-under-load" in done.stdout


def test_json_to_standard_output_is_all_that_is_there(haybarn_cli: Cli) -> None:
    done = haybarn_cli("stress", "--seconds", "0.5", "--scenario", "churn", "bulk", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout)["scenarios"]) == ["churn", "bulk"]


def test_a_new_seed_is_made_and_told(haybarn_cli: Cli) -> None:
    seeds = set()
    for _ in range(2):
        done = haybarn_cli("stress", "--seconds", "0.2", "--scenario", "burst", "--threads", "1")
        found = re.search(r"seed (\d+)", done.stdout)
        assert found, done.stdout
        seeds.add(found[1])
    assert len(seeds) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--threads", "0"),
        ("--threads", "many"),
        ("--threads", "1025"),
        ("--seconds", "0"),
        ("--seconds", "nan"),
        ("--seed", "-1"),
        ("--seed", str(2**64)),
        ("--scenario", "nonsense"),
        ("--backend", "nonsense"),
        ("--form", "nonsense"),
        ("--inject", "1.1"),
        ("--inject", "-0.1"),
        ("--inject", "often"),
        ("--nonsense",),
    ],
)
def test_called_wrongly_exits_2_and_says_why(haybarn_cli: Cli, arguments: tuple[str, ...]) -> None:
    done = haybarn_cli("stress", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert arguments[0].lstrip("-") in done.stderr


def test_a_backend_from_the_environment_is_used_and_checked(haybarn_cli: Cli) -> None:
    arguments = ("stress", "--seconds", "0.2", "--scenario", "burst", "--json", "-")
    done = haybarn_cli(*arguments, HAYBARN_BACKEND="virtual")
    assert json.loads(done.stdout)["backend"] == "virtual"
    assert haybarn_cli(*arguments, HAYBARN_BACKEND="nonsense").returncode == 2


def refuse_rseq_and_membarrier() -> None:
    """A seccomp filter like that of a strict container: both calls fail with ENOSYS. To be called in the child."""
    numbers = (334, 324)
    load, jump_equal, ret = 0x20, 0x15, 0x06
    code = [
        (load, 0, 0, 0),
        *((jump_equal, len(numbers) - at, 0, number) for at, number in enumerate(numbers)),
        (ret, 0, 0, 0x7FFF0000),  # allow
        (ret, 0, 0, 0x00050000 | errno.ENOSYS),
    ]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in code))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    set_no_new_privileges, set_seccomp, filtered = 38, 22, 2
    if libc.prctl(set_no_new_privileges, 1, 0, 0, 0) or libc.prctl(set_seccomp, filtered, program, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers of x86-64")
def test_a_backend_that_is_not_to_be_had_exits_2() -> None:
    def run(*arguments: str) -> CompletedProcess[str]:
        command = [sys.executable, "-m", "haybarn", "stress", "--seconds", "0.3", "--scenario", "burst", *arguments]
        return subprocess.run(
            command, preexec_fn=refuse_rseq_and_membarrier, capture_output=True, text=True, timeout=60, check=False
        )

    forced = run("--backend", "rseq")
    assert forced.returncode == 2, forced.stderr
    assert "rseq" in forced.stderr
    assert len(forced.stderr.splitlines()) == 1
    chosen = run("--json", "-")
    assert chosen.returncode == 0, chosen.stderr
    assert json.loads(chosen.stdout)["backend"] == "locked"


def test_the_same_seed_does_the_same_on_one_virtual_thread() -> None:
    def once() -> dict[str, object]:
        report = stress.campaign(
            ["churn", "remote", "burst", "bulk", "create-destroy"],
            threads=1, seconds=60, seed=11, backend="virtual", ops=20_000
        )  # fmt: skip
        return {name: (row["ops"], row["counters"], row["violations"]) for name, row in report["scenarios"].items()}

    first = once()
    assert first == once()
    assert all(violations == 0 for _, _, violations in first.values())


def test_the_table_names_counters_that_exist() -> None:
    for name, row in stress.scenarios().items():
        assert row["about"], name
        for column in (*BACKENDS, "among", "races"):
            assert set(row[column]) <= set(stress.COUNTERS), name
        for backend in BACKENDS:
            assert {"refill", "new_slab"} <= set(row[backend]), name
    assert stress.scenarios()["shrink-under-load"]["races"] == ["cas_fail", "drain_retry"]
    assert {name: row["among"] for name, row in stress.scenarios().items() if row["among"]} == {
        "kmalloc": ["freed_elsewhere"]
    }


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_short_run_of_kmalloc_fills_barns_and_frees_elsewhere(backend: str) -> None:
    report = stress.campaign(["kmalloc"], threads=2, seconds=1.0, seed=3, backend=available(backend))
    assert stress.passed(report), report
    counters = report["scenarios"]["kmalloc"]["counters"]
    assert counters["flush"] > 0
    assert counters["freed_elsewhere"] > 0
    # Alone nobody frees what another took, and nothing is missing.
    report = stress.campaign(["kmalloc"], threads=1, seconds=0.3, seed=3, backend=available(backend))
    assert stress.passed(report), report
    assert report["scenarios"]["kmalloc"]["counters"]["freed_elsewhere"] == 0


def test_the_documentation_has_the_same_table(root: Path) -> None:
    text = (root / "docs" / "stress.md").read_text(encoding="utf-8")
    rows = {
        cells[0].strip("`"): cells[1:]
        for line in text.splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")]) and len(cells) == 4
    }
    for name, row in stress.scenarios().items():
        own, virtual, races = ([] if cell == "" else cell.split(", ") for cell in rows[name])
        assert row["rseq"] == row["locked"] == own, name
        assert row["virtual"] == (own if virtual == ["the same"] else virtual), name
        assert row["races"] == races, name


def test_an_interrupt_ends_the_run_soon() -> None:
    command = [sys.executable, "-m", "haybarn", "stress", "--seconds", "100", "--scenario", "churn"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        while len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        # In the middle of it.
        time.sleep(0.5)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    assert time.monotonic() - begun < 30


def test_a_counter_that_must_move_and_does_not_fails_the_scenario() -> None:
    # Too short for anything but the first steps.
    report = stress.campaign(["shrink-under-load"], threads=2, seconds=1e-6, long_campaign=True, backend="locked")
    row = report["scenarios"]["shrink-under-load"]
    assert row["violations"] == 0
    assert row["missing_counters"]
    assert not stress.passed(report)


def test_missing_counters_exit_1(haybarn_cli: Cli) -> None:
    done = haybarn_cli("stress", "--seconds", "0.001", "--campaign", "--backend", "locked")
    assert done.returncode == 1
    assert "never moved on locked" in done.stderr


def test_other_python_threads_run_meanwhile() -> None:
    field = _core.StressField(None, 1)
    run = _core.StressRun(field, "churn", seconds=30, seed=1)
    worker = threading.Thread(target=run.thread, args=(0,))
    worker.start()
    # Only if the loop has released the GIL do these lines run before its 30 seconds are over.
    while run.ops == 0:
        pass
    run.stop()
    worker.join(20)
    assert not worker.is_alive()
    assert run.finish()["violations"] == 0


def test_a_run_refuses_what_would_confuse_its_oracle() -> None:
    field = _core.StressField("virtual", 1)
    run = _core.StressRun(field, "burst", seconds=0.01, seed=1)
    with pytest.raises(haybarn.BadArgumentError, match="not one of 1"):
        run.thread(1)
    run.thread(0)
    with pytest.raises(haybarn.BadArgumentError, match="run before"):
        run.thread(0)
    run.finish()
    with pytest.raises(haybarn.BadArgumentError, match="finished before"):
        run.finish()
    for bad in ({"seconds": -1.0, "seed": 1}, {"seconds": float("nan"), "seed": 1}):
        with pytest.raises(haybarn.BadArgumentError, match="seconds"):
            _core.StressRun(field, "burst", **bad)
    with pytest.raises(haybarn.BadArgumentError, match="nonsense"):
        _core.StressRun(field, "nonsense", seconds=1, seed=1)
    with pytest.raises(haybarn.BadArgumentError, match="1024"):
        _core.StressRun(_core.StressField("virtual", 5000), "burst", seconds=1, seed=1)


def children() -> set[str]:
    """This process's children, ended ones included."""
    found = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has ended meanwhile
            found |= set(file.read_text().split())
    return found


def test_forked_children_are_waited_for() -> None:
    before = children()
    assert stress.passed(stress.campaign(["fork"], threads=2, seconds=0.5))
    assert children() <= before


def test_signal_handlers_come_in_on_every_slow_path(backend: str) -> None:
    report = stress.campaign(["nolock"], threads=4, seconds=4.0, seed=6, backend=backend)
    assert stress.passed(report), report
    counters = report["scenarios"]["nolock"]["counters"]
    sampled = stress.scenarios()["nolock"]["sampled"]
    assert len(sampled) == 11
    assert {name for name in sampled if counters[name] == 0} == set()
    assert sum(counters[name] for name in sampled) <= counters["interrupts"]


def test_too_short_a_run_asks_for_no_samples() -> None:
    report = stress.campaign(["nolock"], threads=1, seconds=0.2, seed=6, backend="virtual")
    missing = report["scenarios"]["nolock"]["missing_counters"]
    assert not set(missing) & set(stress.scenarios()["nolock"]["sampled"])


@pytest.mark.campaign
@pytest.mark.timeout(120)
def test_a_minute_of_signal_handlers_on_every_slow_path(backend: str) -> None:
    report = stress.campaign(["nolock"], threads=4, seconds=60.0, seed=7, backend=backend)
    assert stress.passed(report), report
    counters = report["scenarios"]["nolock"]["counters"]
    assert all(counters[name] > 1000 for name in stress.scenarios()["nolock"]["sampled"]), counters


@pytest.mark.campaign
def test_a_minute_of_each_race_moves_its_counters() -> None:
    for backend in ("rseq", "locked"):
        names = [name for name, row in stress.scenarios().items() if row["races"]]
        report = stress.campaign(names, threads=8, seconds=60.0 * len(names), backend=available(backend))
        assert stress.passed(report), report
