"""Tables, progress and JSON as commands print them."""

from __future__ import annotations

import io
import sys

import pytest

from haybarn import output


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_table(capsys):
    output.table("sizes", ("name", "bytes", "share"), [("a", 1234567, 0.5), ("long name", 8, None)])
    assert capsys.readouterr().out.splitlines() == [
        "sizes",
        "name           bytes  share",
        "---------  ---------  -----",
        "a          1,234,567   0.50",
        "long name          8      -",
    ]


def test_an_empty_table_keeps_its_head(capsys):
    output.table("none", ("a", "b"), [])
    assert capsys.readouterr().out.splitlines() == ["none", "a  b", "-  -"]


def test_a_table_on_a_terminal_has_the_same_cells(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Terminal())
    output.table("sizes", ("name", "bytes"), [("[bold]a", 1234567)])
    shown = sys.stdout.getvalue()
    assert "[bold]a" in shown
    assert "1,234,567" in shown


def test_progress_is_silent_without_a_terminal(capsys):
    with output.progress(10, "work") as bar:
        bar.update(5)
        bar.set(10)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_progress_on_a_terminal_goes_to_standard_error(monkeypatch, capsys, no_color):
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stderr", Terminal())
    with output.progress(4, "work") as bar:
        bar.update()
        bar.set(4)
    assert "work" in sys.stderr.getvalue()
    assert "100%" in sys.stderr.getvalue() or not no_color
    assert capsys.readouterr().out == ""


def test_progress_ends_its_line_when_the_work_fails(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(KeyError), output.progress(4, "work"):
        raise KeyError
    assert sys.stderr.getvalue().endswith("\n")
