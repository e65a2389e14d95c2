"""The README's commands are those that CI runs, its example works, and its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def fences(root):
    """The fenced blocks of the README: (language, text)."""
    return FENCE.findall((root / "README.md").read_text())


@pytest.fixture
def commands(fences):
    return [line for language, text in fences if language == "sh" for line in text.splitlines() if line]


def test_ci_runs_the_two_commands_word_for_word(root, commands):
    script = (root / ".ci" / "run").read_text()
    assert len(commands) >= 2
    for command in commands[:2]:
        assert f'"{command}"' in script


def test_the_main_command_works_as_printed(root, commands):
    install, _, main = commands[0].partition(" && ")
    assert install == "pip install '.[lab]'"  # CI ran it; here the package is installed already
    program, *arguments = main.split()
    assert program == "haybarn"
    done = subprocess.run(
        [sys.executable, "-m", "haybarn", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
