"""The table of linux/slab.h in docs/slab-h.md names what is there: in the header, in the core, in the package."""

from __future__ import annotations

import re
from functools import reduce

import pytest

import haybarn

NAME = re.compile(r"`([\w.:]+)`")


@pytest.fixture(scope="module")
def rows(root):
    """The rows that say where a function is: (Linux, C, Rust, Python)."""
    text = (root / "docs" / "slab-h.md").read_text()
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    found = [tuple(cell.strip() for cell in line) for line in lines if len(line) == 4]
    return [row for row in found if row[1] not in ("C", "---")]


@pytest.fixture(scope="module")
def header(root):
    return (root / "rust" / "malloc" / "include" / "haybarn.h").read_text()


@pytest.fixture(scope="module")
def core(root):
    return "\n".join(path.read_text() for path in sorted((root / "rust" / "core" / "src").rglob("*.rs")))


def test_the_table_is_there(rows):
    assert len(rows) > 35


def test_what_c_has_the_header_declares(rows, header):
    names = [name for linux, c, *_ in rows if c.startswith("the same") for name in NAME.findall(f"{linux} {c}")]
    assert len(names) > 70
    missing = [name for name in names if not re.search(rf"\b{name}\b", header)]
    assert not missing


def test_what_rust_has_the_core_defines(rows, core):
    names = {part for row in rows for name in NAME.findall(row[2]) for part in name.split("::") if part != "rcu"}
    assert len(names) > 35
    kinds = r"fn|struct|const|type|enum"
    missing = [
        name
        for name in sorted(names)
        if not re.search(rf"\b({kinds}) {name}\b|^ +const {name} =|\b{name}:", core, re.M)
    ]
    assert not missing


def test_what_python_has_the_package_exports(rows):
    names = {name for row in rows for name in NAME.findall(row[3]) if name not in ARGUMENTS}
    assert len(names) > 20
    for name in sorted(names):
        reduce(getattr, name.split("."), haybarn)


# Keywords and a bare name in remarks of the column.
ARGUMENTS = {"storage", "useroffset", "usersize", "alloc"}
