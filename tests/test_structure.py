"""tools/structure.py: each rule finds the breach that it is for, and the tree has none."""

from __future__ import annotations

import copy
import tomllib
from typing import TYPE_CHECKING, Any

import pytest

import rust_source
import structure

if TYPE_CHECKING:
    from pathlib import Path

TABLE = {
    "max_lines": 20,
    "sources": ["rust", "python"],
    "crate": [
        {"name": "core", "folder": "rust/core", "layers": ["sync", "slab", "cache"], "never": ["pyo3"]},
        {"name": "lab", "folder": "rust/lab"},
    ],
    "python": {"package": "python/pkg", "layers": ["_core", "pkg", "commands", "cli"]},
    "confined": [{"word": r"\bOrdering::Relaxed\b", "suffix": ".rs", "within": ["rust/core/src/sync"], "why": "role"}],
    "unsafe": {"files": ["rust/core/src/sync/wide.rs"]},
}
FORBID = "#![forbid(unsafe_code)]\n"
TREE = {
    "Cargo.toml": '[workspace]\nmembers = ["rust/core", "rust/lab"]\n',
    "rust/core/Cargo.toml": '[package]\nname = "core"\n[dependencies]\nlibc = "0.2"\n',
    "rust/core/src/lib.rs": "pub mod sync;\nmod slab;\nmod cache;\npub use sync::Flag;\n",
    "rust/core/src/sync/mod.rs": "mod flag;\nmod wide;\npub use flag::Flag;\npub use wide::swap;\n",
    "rust/core/src/sync/flag.rs": FORBID + "pub struct Flag; const O: u8 = Ordering::Relaxed;\n",
    "rust/core/src/sync/wide.rs": "use super::Flag;\npub fn swap() { unsafe { go() } }\n",
    "rust/core/src/slab.rs": FORBID + "use crate::{sync::{self, swap as s}, Flag};\n",
    "rust/core/src/cache.rs": FORBID + "use crate::slab::Slab; fn f() { crate::sync::swap() }\n",
    "rust/lab/Cargo.toml": '[package]\nname = "lab"\n[dependencies]\ncore = { path = "../core" }\n',
    "rust/lab/src/lib.rs": FORBID,
    "python/pkg/__init__.py": "from pkg._core import thing\n",
    "python/pkg/_core.pyi": "thing: int\n",
    "python/pkg/cli.py": "import pkg\nfrom . import commands\n",
    "python/pkg/commands/__init__.py": "",
    "python/pkg/commands/info.py": "import pkg\n",
}


@pytest.fixture
def breaches(tmp_path):
    """Writes the tree with some files changed and returns what the check says."""

    def check(changes=None, **table):
        for name, text in (TREE | (changes or {})).items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return structure.breaches(tmp_path, copy.deepcopy(TABLE) | table)

    return check


def test_a_sound_tree_has_no_breach(breaches):
    assert breaches() == []


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("rust/core/src/slab.rs", FORBID + "\n" * 20, "21 lines, at most 20"),
        ("rust/core/src/slab.rs", FORBID + "fn f() { x.load(Ordering::Relaxed) }", "Ordering::Relaxed': role"),
        ("rust/core/src/slab.rs", "fn f() { unsafe { go() } }", "not listed in tools/structure.toml"),
        ("rust/core/src/slab.rs", "fn f() {}", "needs #![forbid(unsafe_code)]"),
        ("rust/core/src/sync/wide.rs", "fn f() {}", "is listed as unsafe and has none"),
        ("rust/core/src/slab.rs", FORBID + "use crate::cache::Cache;", "uses cache, which is above slab"),
        ("rust/core/src/slab.rs", FORBID + "fn f() { super::cache::make() }", "uses cache, which is above slab"),
        ("rust/core/src/slab.rs", FORBID + "mod t { use super::super::cache; }", "uses cache, which is above slab"),
        ("rust/core/src/slab.rs", FORBID + "use crate::{sync, cache::{a, b}};", "uses cache, which is above slab"),
        ("rust/core/src/extra.rs", FORBID, "module extra has no row"),
        ("rust/core/src/sync/flag.rs", FORBID + "pub struct Flag; use super::swap;", "cycle between"),
        ("rust/core/src/sync/flag.rs", FORBID + "use crate::slab::X;", "cycle between slab, sync::flag"),
        ("rust/core/Cargo.toml", '[package]\n[dependencies]\npyo3 = "0.29"\n', "must not depend on pyo3"),
        ("rust/core/Cargo.toml", "[package]\n[dev-dependencies]\nlab = {}\n", "must not depend on lab"),
        ("Cargo.toml", '[workspace]\nmembers = ["rust/core", "rust/lab", "rust/new"]\n', "rust/new has no row"),
        ("python/pkg/__init__.py", "from pkg import cli\n", "imports cli, which is above pkg"),
        ("python/pkg/__init__.py", "from .commands import info\n", "imports commands.info, which is above pkg"),
        ("python/pkg/other.py", "", "module other has no row"),
        (
            "python/pkg/commands/__init__.py",
            "from pkg.commands import info\nfrom pkg.commands.info import a",
            "commands",
        ),
    ],
)
def test_each_rule_finds_its_breach(breaches, file, text, expected):
    found = breaches({file: text})
    if file == "python/pkg/commands/__init__.py":  # a package may import its own modules; only a cycle is a breach
        assert found == []
        found = breaches({file: text, "python/pkg/commands/info.py": "from pkg import commands\n"})
        expected = "cycle between commands, commands.info"
    assert any(expected in line for line in found), found


KNOT = {
    "rust/core/src/sync/flag.rs": FORBID + "pub struct Flag; use super::swap;",
    "rust/core/src/sync/wide.rs": "use super::Flag; fn f() { unsafe { go() } } pub fn swap() {}",
}


def test_a_listed_knot_is_no_breach(breaches):
    row = {"crate": "core", "modules": ["sync::flag", "sync::wide"], "why": "two halves"}
    assert breaches(KNOT, knot=[row]) == []
    assert any("is in no cycle" in line for line in breaches(knot=[row]))
    assert any("cycle between" in line for line in breaches(KNOT, knot=[row | {"modules": ["sync::flag"]}]))
    spanning = row | {"modules": ["slab", "sync::flag", "sync::wide"]}
    assert any("spans folders" in line for line in breaches(KNOT, knot=[spanning]))


def test_a_module_placed_by_path_is_known_by_both_names(breaches):
    placed = {
        "rust/core/src/sync/mod.rs": '#[path = "wide.rs"]\nmod far;\nmod flag;\npub use flag::Flag;\n',
        "rust/core/src/sync/flag.rs": FORBID + "pub struct Flag; fn f() { super::far::swap() }\n",
        "rust/core/src/lib.rs": "mod cache;\n",
        "rust/core/src/slab.rs": FORBID,
        "rust/core/src/cache.rs": FORBID,
    }
    assert any("cycle between sync::flag, sync::wide" in line for line in breaches(placed))


def test_tests_may_look_up(breaches):
    assert breaches({"rust/core/src/slab_tests.rs": "use crate::cache::Cache;"}) == []


@pytest.mark.parametrize(
    "text",
    [
        "// unsafe",
        "/* a /* unsafe */ unsafe */",
        '"unsafe"',
        r'"\" unsafe"',
        'r#"a " unsafe"#',
        'b"unsafe"',
        "let q = '\"'; // unsafe",
    ],
)
def test_words_in_comments_and_strings_do_not_count(text):
    assert "unsafe" not in rust_source.code_only(text)


def test_a_lifetime_is_no_literal():
    assert "unsafe" in rust_source.code_only("fn f<'a>(x: &'a str) { unsafe {} } // 'b'")


def test_use_trees():
    assert rust_source.parse_tree("a::{b, c::{self, d as e}, f::*}") == [
        (("a", "b"), "b"),
        (("a", "c"), "c"),
        (("a", "c", "d"), "e"),
        (("a", "f", "*"), "*"),
    ]


def test_the_tree_itself(root):
    table = tomllib.loads((root / "tools" / "structure.toml").read_text())
    assert structure.breaches(root, table) == []


def test_an_sdist_has_every_member_of_the_workspace(root: Path) -> None:
    # maturin packs what the binding depends on and leaves the other members out, with which Cargo.lock would not agree.
    def manifest(folder: Path) -> dict[str, Any]:
        """Its Cargo.toml."""
        return tomllib.loads((folder / "Cargo.toml").read_text(encoding="utf-8"))

    def paths(folder: Path) -> set[Path]:
        """The crates of the workspace that it depends on."""
        made = manifest(folder)
        tables = [made, *made.get("target", {}).values()]
        rows = [row for table in tables for row in table.get("dependencies", {}).values() if isinstance(row, dict)]
        direct = {(folder / row["path"]).resolve() for row in rows if "path" in row}
        return direct.union(*(paths(other) for other in direct))

    binding = (root / "rust/python").resolve()
    members = {(root / member).resolve() for member in manifest(root)["workspace"]["members"]}
    assert paths(binding) | {binding} == members
