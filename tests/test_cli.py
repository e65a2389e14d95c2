"""The command line: its list of commands, exit codes, one-line errors, and `haybarn info`."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import subprocess
import sys

import pytest

import haybarn
from haybarn import cli, commands
from haybarn.output import CommandError, UsageError


def test_the_list_names_every_command_module():
    found = {module.name for module in pkgutil.iter_modules(commands.__path__)}
    listed = set(commands.COMMANDS)
    assert listed <= found
    for name in found:
        module = importlib.import_module(f"haybarn.commands.{name}")
        # A helper of a command has no NAME; whatever has one is a command and must be listed.
        assert (getattr(module, "NAME", None) == name) == (name in listed)


def test_help_shows_every_command(haybarn_cli):
    done = haybarn_cli("--help")
    assert done.returncode == 0
    for name in commands.COMMANDS:
        assert f"    {name} " in done.stdout
        assert haybarn_cli(name, "--help").returncode == 0


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(haybarn_cli, flag):
    done = haybarn_cli(flag)
    assert (done.returncode, done.stdout) == (0, f"haybarn {haybarn.__version__}\n")


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["info", "--nonsense"], ["info", "extra"]])
def test_usage_errors_are_one_line_and_exit_2(haybarn_cli, arguments):
    done = haybarn_cli(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("haybarn: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CommandError("broke"), 1),
        (UsageError("wrong"), 2),
        (KeyboardInterrupt(), 130),
        (haybarn.HaybarnError("two\nlines"), 1),
        (haybarn.UnavailableError("not here"), 2),
        (haybarn.BadArgumentError("no"), 2),
    ],
)
def test_errors_become_exit_codes(monkeypatch, capsys, error, code):
    def fail(args):
        raise error

    info = importlib.import_module("haybarn.commands.info")
    monkeypatch.setattr(info, "run", fail)
    assert cli.main(["info"]) == code
    shown = capsys.readouterr().err
    assert shown.startswith("haybarn: ")
    assert shown.count("\n") == 1


def test_only_the_named_command_is_imported():
    code = "import sys; from haybarn import cli; cli.main(['info']); print('haybarn.commands.replay' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"


def test_info_json_and_table_say_the_same(haybarn_cli, tmp_path):
    file = tmp_path / "info.json"
    shown = haybarn_cli("info", "--json", str(file))
    assert (shown.returncode, shown.stderr) == (0, "")
    facts = json.loads(file.read_text())
    assert facts["backend"] in ("rseq", "locked", "virtual")
    assert facts["kernel"] == os.uname().release
    for name in facts:
        assert name.replace("_", " ") in shown.stdout
    bare = haybarn_cli("info", "--json", "-")
    assert json.loads(bare.stdout).keys() == facts.keys()


@pytest.mark.parametrize("backend", ["locked", "virtual"])
def test_info_reports_a_forced_backend(haybarn_cli, backend):
    done = haybarn_cli("info", "--json", "-", HAYBARN_BACKEND=backend)
    assert json.loads(done.stdout)["backend"] == backend


def test_a_backend_that_does_not_exist_exits_2(haybarn_cli):
    done = haybarn_cli("info", HAYBARN_BACKEND="nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_json_that_cannot_be_written_exits_2(haybarn_cli, tmp_path):
    done = haybarn_cli("info", "--json", str(tmp_path / "no" / "folder.json"))
    assert done.returncode == 2
    assert "cannot write" in done.stderr


def test_a_reader_that_goes_away_is_no_error():
    done = subprocess.run(
        f"{sys.executable} -m haybarn info | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("reserved_bytes", 1 << 38, "256 GiB"),
        ("used_bytes", 2 << 20, "2 MiB"),
        ("used_bytes", 4097, "4097 bytes"),
        ("used_bytes", 0, "0"),
        ("cpus", 2048, "2048"),
        ("gil", True, True),
    ],
)
def test_info_shows_bytes_in_whole_units(name, value, expected):
    assert importlib.import_module("haybarn.commands.info").shown(name, value) == expected


@pytest.mark.parametrize("place", ["missing/report.json", "."])
def test_a_report_that_cannot_be_written_is_told_before_the_work(tmp_path, place):
    command = [sys.executable, "-m", "haybarn", "stress", "--seconds", "300", "--json", str(tmp_path / place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "cannot write" in done.stderr
