"""`haybarn bench`: the wheel's own engine, the executable in its place, the JSON; and the page of stored results."""

from __future__ import annotations

import importlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from haybarn import _core, cli
from haybarn.commands import bench
from haybarn.output import CommandError

FAST = ["--rounds", "2", "--row", "pair-call", "--target", "system", "--target", "haybarn"]


@pytest.fixture
def no_executable(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def test_without_an_executable_the_wheel_compares_with_the_system_alone_and_says_so(no_executable, capsys):
    assert cli.main(["bench", *FAST]) == 0
    said = capsys.readouterr()
    assert "system's malloc alone" in said.err
    assert "pair-call (ns; best peer: system)" in said.out


def test_json_has_the_promised_fields(no_executable, capsys):
    assert cli.main(["bench", *FAST, "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["engine"] == "wheel"
    assert report["peers"] is False
    lines = {line["target"]: line for line in report["rows"]}
    assert set(lines) == {"haybarn", "system"}
    for line in lines.values():
        assert set(line) == {"row", "target", "value", "unit", "spread", "ratio_to_best_peer", "best_peer"}
        assert line["value"] > 0
        assert line["spread"][0] <= line["value"] <= line["spread"][1]
        assert line["best_peer"] == "system"
    assert lines["system"]["ratio_to_best_peer"] == 1


def golden(root, name: str) -> dict[str, int]:
    """The counts in the first line of one of the core's listings."""
    first = (root / "rust" / "core" / "tests" / "golden" / f"{name.replace(' ', '_')}.txt").read_text().splitlines()[0]
    return {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", first)}


def test_the_static_row_counts_instructions_or_says_why_not(no_executable, capsys, root):
    assert cli.main(["bench", "--rounds", "2", "--row", "static", "--json", "-"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {line["target"] for line in report["rows"]} == {"static", "global", "dynamic"}
    (note,) = report["notes"]
    assert cli.main(["bench", "--rounds", "2", "--row", "static"]) == 0
    said = capsys.readouterr().out
    if "uncounted" in note:
        assert "instructions" not in note
        assert "not an optimised build" in note["uncounted"] or "x86-64 only" in note["uncounted"]
        assert "static: instructions not counted" in said
        pytest.skip(f"no instruction was counted: {note['uncounted']}")
    assert "static: static alloc: " in said
    paths = note["instructions"]
    assert set(paths) == {"static alloc", "static free", "dynamic alloc", "dynamic free"}
    for path, counts in paths.items():
        listed = golden(root, path)
        # A function of its own may add a move of an argument.
        assert counts["instructions"] - listed.pop("instructions") in (0, 1), path
        assert {what: counts[what] for what in listed} == listed, path


def test_the_row_of_processes_runs_from_the_wheel(no_executable, tmp_path):
    file = tmp_path / "out.json"
    arguments = ["--rounds", "1", "--row", "threads64", "--target", "system", "--target", "haybarn"]
    assert cli.main(["bench", *arguments, "--json", str(file)]) == 0
    lines = json.loads(file.read_text())["rows"]
    assert {(line["row"], line["unit"]) for line in lines} == {("threads64", "ns"), ("threads64-resident", "MiB")}
    # 64 x 100 blocks of 16 to 496 bytes are 1.6 MiB: whoever shows less did not touch them.
    assert all(line["value"] > 1.5 for line in lines if line["unit"] == "MiB")


@pytest.mark.parametrize(
    "arguments", [["--row", "no-such"], ["--target", "no-such"], ["--rounds", "0"], ["--rounds", "two"]]
)
def test_usage_errors_exit_2(no_executable, capsys, arguments):
    assert cli.main(["bench", *arguments]) == 2
    assert capsys.readouterr().err.startswith("haybarn: ")


def test_the_engine_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="pair-inlined"):
        _core._bench_run(["no-such"], [], 1, [], print)
    with pytest.raises(ValueError, match="no-such"):
        _core._bench_iterate("no-such", "system", 1)
    with pytest.raises(RuntimeError, match="no-such"):
        _core._bench_child("no-such", "1")


def test_an_error_of_the_progress_stops_the_run():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _core._bench_run(["pair-call"], ["system"], 1, [], stop)


def test_a_row_leaves_the_caller_where_it_may_run():
    allowed = os.sched_getaffinity(0)
    _core._bench_iterate("pair-call", "haybarn", 1000)
    assert os.sched_getaffinity(0) == allowed


# Rows that compare ways of this allocator's own bring their own targets.
FREE_RCU = ("free-rcu-20", "free-rcu-100", "free-rcu-300", "free-rcu-1000", "free-rcu")
OWN = {row: {"free", "free_rcu", "free_rcu-read"} for row in FREE_RCU}
OWN["ctor"] = {"constructed", "anew", "anew-boxed"}
OWN["static"] = {"static", "global", "dynamic"}


def test_every_row_runs_on_every_target_of_its_own():
    rows, targets = _core._bench_names()
    names = {row for row, _ in rows}
    assert set(OWN) <= names
    for row in names:
        for target in targets:
            common = all(target not in own for own in OWN.values())
            there = target in OWN[row] if row in OWN else common
            if (row == "threads64" and target == "control") or (
                row in ("mixed", "threads64") and target == "haybarn-static"
            ):
                there = False
            if there:
                _core._bench_iterate(row, target, 1000)
            else:
                with pytest.raises(ValueError, match=r"."):
                    _core._bench_iterate(row, target, 1000)


def checkout(folder: Path, script: str | None, target: str = "target") -> Path:
    (folder / "rust" / "lab").mkdir(parents=True)
    (folder / "rust" / "lab" / "Cargo.toml").touch()
    path = folder / target / "release" / bench.EXECUTABLE
    if script is not None:
        path.parent.mkdir(parents=True)
        path.write_text(script)
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_executable_is_found_where_cargo_puts_it(tmp_path):
    path = checkout(tmp_path / "a", "")
    assert bench.built({}, tmp_path / "a" / "rust" / "lab") == path
    elsewhere = checkout(tmp_path / "b", "", target="elsewhere")
    assert bench.built({"CARGO_TARGET_DIR": "elsewhere"}, tmp_path / "b") == elsewhere
    assert bench.built({}, tmp_path / "b") is None
    assert bench.built({}, tmp_path) is None


SCRIPT = """#!/bin/sh
[ "$1" = --list ] && { echo "row-a  what it does"; echo "targets: x, y"; exit 0; }
echo "[1/1] row-a" >&2
[ "$2" = 3 ] && { echo "broke" >&2; exit 1; }
[ "$3 $5 $6" = "--json --row row-a" ] || exit 3
echo '{"rows": [], "notes": [{"row": "row-a", "missing": {"y": "gone"}, "disturbed": 2}]}' > "$4"
"""


def test_an_executable_runs_in_the_wheels_place(tmp_path, monkeypatch, capsys):
    path = checkout(tmp_path, SCRIPT)
    monkeypatch.delenv("CARGO_TARGET_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["bench", "--row", "row-a"]) == 0
    said = capsys.readouterr()
    assert "without y: gone" in said.out
    assert "2 rounds" in said.out
    assert cli.main(["bench", "--list"]) == 0
    assert "what it does" in capsys.readouterr().out
    started: list[int] = []
    assert bench.Executable(path).run(["row-a"], [], 5, started.append)["engine"] == str(path)
    assert started == [0]
    with pytest.raises(CommandError, match="broke"):
        bench.Executable(path).run(["row-a"], [], 3, started.append)


def test_the_page_of_results_is_up_to_date_and_reads_offline(root, monkeypatch):
    monkeypatch.syspath_prepend(root / "benches")
    page = importlib.import_module("page")
    text = (root / "benches" / "results" / "index.html").read_text(encoding="utf-8")
    assert text == page.make()
    assert "<script" not in text
    assert "http" not in text
    assert "<svg" in text


def test_asv_settings_name_what_exists(root):
    lines = (root / "asv.conf.json").read_text(encoding="utf-8").splitlines()
    settings = json.loads("\n".join(line for line in lines if not line.strip().startswith("//")))
    assert (root / settings["benchmark_dir"] / "rows.py").is_file()
    assert (root / settings["results_dir"]).is_dir()
    assert settings["project"] == "haybarn"


def test_a_backend_that_is_not_to_be_had_is_an_error_not_a_table_without_haybarn():
    environment = os.environ | {"HAYBARN_BACKEND": "bogus"}
    command = [sys.executable, "-m", "haybarn", "bench", "--row", "pair-inlined", "--rounds", "3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "rseq, locked or virtual" in done.stderr
