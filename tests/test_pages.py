"""What the pages show is true: their Python examples run, say what is beside them, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "examples/README.md"]
)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)")
# A statement and what is beside it: `print(...)  # what it prints`, `expression  # its value`.
SHOWN = re.compile(r"^( *)(?!#)(\S.*?)  # (.*)$", re.MULTILINE)
BLOCKS = [
    pytest.param(page, text, id=f"{page}:{number}")
    for page in PAGES
    for number, text in enumerate(PYTHON.findall((ROOT / page).read_text()), 1)
]


def checked(text: str) -> str:
    """The program, with its values compared with what the page says of them where that is a literal."""

    def check(found: re.Match[str]) -> str:
        indent, code, comment = found.groups()
        if code.startswith(("print(", "with ", "def ", "for ", "from ", "import ")) or " = " in code:
            return found.group()
        try:
            value = compile(comment, "", "eval", flags=0) and eval(comment, {"__builtins__": {}})
        except (SyntaxError, NameError):
            return found.group()
        return f"{indent}found = {code}\n{indent}assert found == {value!r}, (found, {code!r})"

    return SHOWN.sub(check, text)


@pytest.mark.parametrize(("page", "text"), BLOCKS)
def test_the_examples_run_and_say_what_is_beside_them(page, text, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", checked(text)], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), page
    for _, code, comment in SHOWN.findall(text):
        if code.startswith("print(") and "..." not in comment:
            assert comment in done.stdout.splitlines(), (page, code)


def test_some_values_are_compared():
    compared = [page.values[0] for page in BLOCKS if "assert found ==" in checked(page.values[1])]
    assert "docs/sysfs.md" in compared
    with pytest.raises(AssertionError):
        exec(checked("1 + 1  # 3"), {})


def anchors(page: Path) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target, anchor in LINK.findall(path.read_text()):
        there = path.parent / target if target else path
        assert there.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(there), f"{page}: {target}#{anchor}"
