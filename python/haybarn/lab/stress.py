"""Stress campaigns: Python threads that each run one of the lab's Rust loops with the GIL released.

`campaign` runs scenarios one after the other and gives the JSON of `haybarn stress` as a dict.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from haybarn import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: A scenario that gets this many seconds is a long campaign: counters of races must move as well.
LONG = 60.0

#: The counters in a report, in the order of the table.
COUNTERS = (
    *("refill", "flush", "barn_get", "barn_put", "new_slab", "freed_slab", "drain", "drain_retry", "cas_fail"),
    *("reaped_slab", "prefill_fast", "prefill_slow", "prefill_oversize", "return_fast", "return_slow"),
    *("ctor_object", "dtor_object", "ctor_fail", "free_queued"),
    *("free_rcu_sheaf", "free_rcu_sheaf_fail", "free_rcu_done"),
    *("first_use", "setup", "setup_met", "use_met", "storage_read"),
    *("alloc_node_mismatch", "free_slowpath"),
    *("joined", "left", "primary_left", "storage_ended"),
    *("zero_size", "large", "huge", "krealloc_stayed", "krealloc_moved", "freed_elsewhere"),
    *("interrupts", "handler_none", "in_alloc_slow", "in_free_slow", "in_barn", "in_refill", "in_partial"),
    *("in_new_slab", "in_flush", "in_slab_free", "in_slab_gone", "in_bulk", "in_shrink"),
)


def scenarios() -> dict[str, dict[str, Any]]:
    """The table of scenarios: name -> "about", and the counters to move by backend, "among" threads, as "races"."""
    return _core.stress_scenarios()


def campaign(
    names: Sequence[str] = (),
    *,
    threads: int = 4,
    seconds: float = 10.0,
    seed: int = 1,
    backend: str | None = None,
    form: str | None = None,
    ops: int | None = None,
    long_campaign: bool = False,
    inject: float = 0.0,
    progress: Callable[[str, float], None] = lambda _name, _seconds: None,
) -> dict[str, Any]:
    """Runs scenarios and reports.

    Args:
        names: the scenarios; all of them if empty.
        threads: threads of each scenario, 1 to 1024.
        seconds: time of the whole campaign, shared evenly by its scenarios.
        seed: 0 to 2**64 - 1; the same seed gives each thread the same sequence of operations.
        backend: "rseq", "locked" or "virtual"; None for what HAYBARN_BACKEND names, or else the best.
        form: of the words that change by one swap: "double" (128 bits) or "packed" (64 bits); None for the best.
        ops: a thread stops after so many allocations and frees, if its time is not up before; the counters that a
            scenario must move are then not asked for.
        long_campaign: ask for the counters of races also where a scenario gets less than `LONG` seconds.
        inject: probability, 0 to 1, with which requests for memory and for objects fail, in spells of some milliseconds
            (objects, memory or both; nothing in every other). An allocation that fails is then no violation, one that
            fails without a fault is. 0 for no failures.
        progress: called about five times a second with the scenario's name and the seconds of the campaign so far.

    Returns:
        The dict that `haybarn stress --json` writes.

    Raises:
        haybarn.UnavailableError: the backend is not to be had here.
        haybarn.BadArgumentError: an argument is out of its range.
    """
    field = _core.StressField(backend, threads, form)
    chosen = list(dict.fromkeys(names)) or list(scenarios())
    share = seconds / len(chosen)
    reports: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(chosen):
        run = _core.StressRun(
            field,
            name,
            seconds=share,
            seed=seed,
            ops=ops,
            long_campaign=long_campaign or share >= LONG,
            inject=inject,
        )
        begun = time.monotonic()
        _drive(run, threads, lambda: progress(name, number * share + min(share, time.monotonic() - begun)))  # noqa: B023
        reports[name] = run.finish()
    spent = sum(report["seconds"] for report in reports.values())
    done = sum(report["ops"] for report in reports.values())
    return {
        "seed": seed,
        "backend": field.backend,
        "threads": threads,
        "seconds": spent,
        "ops": done,
        "ops_per_second": done / spent if spent > 0 else 0.0,
        "violations": sum(report["violations"] for report in reports.values()),
        "inject": inject,
        "faults": sum(report["faults"] for report in reports.values()),
        "scenarios": reports,
    }


def passed(report: dict[str, Any]) -> bool:
    """Whether a campaign's report has no violation and every scenario moved the counters that it must."""
    return not any(row["violations"] or row["missing_counters"] for row in report["scenarios"].values())


def _drive(run: _core.StressRun, threads: int, tick: Callable[[], None]) -> None:
    """Runs the threads of one scenario to their end; stops them early if anything goes wrong here."""
    failures: list[BaseException] = []

    def one(index: int) -> None:
        try:
            run.thread(index)
        except BaseException as error:  # kept, and raised by the thread that drives
            failures.append(error)
            run.stop()

    workers = [threading.Thread(target=one, args=(index,), name=f"stress-{index}") for index in range(threads)]
    started: list[threading.Thread] = []
    try:
        for worker in workers:
            worker.start()
            started.append(worker)
        for worker in started:
            while worker.is_alive():
                worker.join(0.2)
                tick()
    except BaseException:
        run.stop()
        raise
    finally:
        for worker in started:
            worker.join()
    if failures:
        raise failures[0]
