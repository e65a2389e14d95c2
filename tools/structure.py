"""Checks the shape of the sources against tools/structure.toml.

Layers, cycles, file length, unsafe files, confined words. A rule that is not run is not a rule:
`python tools/structure.py [ROOT]` prints each breach and exits 1 if there is one.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rust_source

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SUFFIXES = {".rs", ".py", ".pyi", ".sh", ".s", ".S", ".c", ".h"}
FORBID = re.compile(r"#!\[forbid\([^)]*\bunsafe_code\b[^)]*\)\]")
Table = dict[str, Any]


def source_files(root: Path, table: Table) -> list[Path]:
    """Every source file that the table names."""
    found: list[Path] = []
    for name in table["sources"]:
        place = root / name
        found += [place] if place.is_file() else sorted(place.rglob("*"))
    return [path for path in found if path.suffix in SUFFIXES and path.is_file() and "target" not in path.parts]


def check_length(root: Path, table: Table) -> Iterator[str]:
    """No file longer than the limit, but for what a generator writes."""
    generated = set(table.get("generated", []))
    for path in source_files(root, table):
        if path.relative_to(root).as_posix() in generated:
            continue
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > table["max_lines"]:
            yield f"{path.relative_to(root)}: {lines} lines, at most {table['max_lines']}: split it by idea"


def check_words(root: Path, table: Table) -> Iterator[str]:
    """Confined words stay where they are allowed."""
    for rule in table.get("confined", []):
        pattern = re.compile(rule["word"])
        for path in source_files(root, table):
            name = path.relative_to(root).as_posix()
            if path.suffix != rule.get("suffix", path.suffix):
                continue
            if any(name == place or name.startswith(place + "/") for place in rule["within"]):
                continue
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".rs" and not rule.get("raw", False):
                text = rust_source.code_only(text)
            for match in pattern.finditer(text):
                yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}: {rule['why']}"


def check_unsafe(root: Path, table: Table) -> Iterator[str]:
    """`unsafe` in listed files only; every other Rust file forbids it; the list has no dead rows. Tests are free."""
    listed = set(table["unsafe"]["files"])
    above = {parent.as_posix() for name in listed for parent in Path(name).parents}
    seen: set[str] = set()
    for path in source_files(root, table):
        if path.suffix != ".rs":
            continue
        name = path.relative_to(root).as_posix()
        text = rust_source.code_only(path.read_text(encoding="utf-8"))
        if rust_source.is_test(path.relative_to(root)):
            continue
        has = re.search(r"\bunsafe\b", text) is not None
        if has:
            seen.add(name)
        if has and name not in listed:
            yield f"{name}: `unsafe` in a file that is not listed in tools/structure.toml"
        # A file of a module forbids for the files below it too, so it cannot where one of them is listed.
        below = path.parent if path.stem in ("mod", "lib", "main") else path.with_suffix("")
        if not has and below.relative_to(root).as_posix() not in above and not FORBID.search(text):
            yield f"{name}: needs #![forbid(unsafe_code)]: it is not listed as unsafe"
    for name in sorted(listed - seen):
        yield f"tools/structure.toml: {name} is listed as unsafe and has none"


def cycles(edges: Mapping[Any, set[Any]]) -> list[list[Any]]:
    """The groups of nodes that reach each other (strongly connected, more than one node), by Tarjan's algorithm."""
    index: dict[Any, int] = {}
    low: dict[Any, int] = {}
    stack: list[Any] = []
    groups: list[list[Any]] = []

    def visit(node: Any) -> None:  # noqa: ANN401
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(edges.get(node, set())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return groups


def check_knots(table: Table, crate: str, found: list[set[str]], folders: Mapping[str, Path]) -> Iterator[str]:
    """Cycles are breaches, but for knots: listed files of one folder that are one idea, with the reason."""
    knots = [row for row in table.get("knot", []) if row["crate"] == crate]
    for group in found:
        if not any(group <= set(row["modules"]) for row in knots):
            yield f"{crate}: cycle between {', '.join(sorted(group))}"
    for row in knots:
        names = set(row["modules"])
        if len({folders.get(name) for name in names}) > 1:
            yield f"tools/structure.toml: the knot {', '.join(sorted(names))} of {crate} spans folders"
        for name in sorted(names - set().union(*(group for group in found if group <= names))):
            yield f"tools/structure.toml: {name} of {crate} is listed in a knot and is in no cycle there"


def check_modules(root: Path, table: Table) -> Iterator[str]:
    """In each crate: no cycle between files, and no module that uses one above it."""
    for row in table["crate"]:
        crate = rust_source.read_crate(root / row["folder"])
        edges = rust_source.graph(crate)
        groups = [{"::".join(module) or "lib.rs" for module in group} for group in cycles(edges)]
        folders = {"::".join(module): source.path.parent for module, source in crate.items()}
        yield from check_knots(table, row["name"], groups, folders)
        layers = row.get("layers")
        if layers is None:
            continue
        top = {module[0] for module in crate if module}
        for name in sorted(top - set(layers)):
            yield f"{row['name']}: module {name} has no row among the layers of tools/structure.toml"
        for name in sorted(set(layers) - top):
            yield f"tools/structure.toml: layer {name} of {row['name']} does not exist"
        for module, others in edges.items():
            for other in sorted(others):
                if not module or module[0] not in layers or (other and other[0] not in layers):
                    continue
                if not other or layers.index(other[0]) > layers.index(module[0]):
                    where = crate[module].path.relative_to(root).as_posix()
                    yield f"{where}: uses {'::'.join(other) or 'lib.rs'}, which is above {module[0]}"


def check_crates(root: Path, table: Table) -> Iterator[str]:
    """A crate depends only on crates below it, and never on those that it must not know."""
    rank = {row["name"]: at for at, row in enumerate(table["crate"])}
    manifest = tomllib.loads((root / "Cargo.toml").read_text(encoding="utf-8"))
    for member in manifest["workspace"]["members"]:
        if member not in {row["folder"] for row in table["crate"]}:
            yield f"Cargo.toml: member {member} has no row in tools/structure.toml"
    for row in table["crate"]:
        own = tomllib.loads((root / row["folder"] / "Cargo.toml").read_text(encoding="utf-8"))
        for scope in (own, *own.get("target", {}).values()):
            for kind in ("dependencies", "dev-dependencies", "build-dependencies"):
                for name in scope.get(kind, {}):
                    if rank.get(name, -1) >= rank[row["name"]] or name in row.get("never", []):
                        yield f"{row['folder']}/Cargo.toml: {row['name']} must not depend on {name}"


def python_imports(path: Path, module: str, package: str) -> set[str]:
    """Modules of the package that a file imports, by dotted name below the package ("" is its __init__)."""
    here = [package, *([part for part in module.split(".") if part])]
    folder = here if path.stem == "__init__" else here[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(folder[: len(folder) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (base, node.module or "") if part)
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            if name == package or name.startswith(package + "."):
                found.add(name[len(package) + 1 :])
    return found


def check_python(root: Path, table: Table) -> Iterator[str]:
    """In the Python package: every module has a row, none imports from above, no cycles."""
    folder = root / table["python"]["package"]
    package, layers = folder.name, table["python"]["layers"]
    modules: dict[str, Path] = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    # The binary module has no .py of its own; its stub, which may import nothing, stands for it.
    known = set(modules) | {path.stem for path in folder.glob("*.pyi")}

    def row(module: str) -> str:
        return module.split(".")[0] or package

    edges: dict[str, set[str]] = {}
    for module, path in modules.items():
        edges[module] = set()
        for name in python_imports(path, module, package):
            target = name
            while target not in known and target:
                target = target.rpartition(".")[0]
            if target != module:
                edges[module].add(target)
        where = path.relative_to(root).as_posix()
        if row(module) not in layers:
            yield f"{where}: module {module} has no row among the layers of tools/structure.toml"
            continue
        for target in sorted(edges[module]):
            if row(target) in layers and layers.index(row(target)) > layers.index(row(module)):
                yield f"{where}: imports {target}, which is above {row(module)}"
    for group in cycles(edges):
        yield f"{table['python']['package']}: cycle between {', '.join(name or '__init__' for name in group)}"


CHECKS = (check_length, check_words, check_unsafe, check_crates, check_modules, check_python)


def breaches(root: Path, table: Table) -> list[str]:
    """Every breach of every rule, in the order of the rules."""
    return [text for check in CHECKS for text in check(root, table)]


def main(arguments: list[str]) -> int:
    """Checks a tree, by default the one that this script lies in."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    table = tomllib.loads((root / "tools" / "structure.toml").read_text(encoding="utf-8"))
    found = breaches(root, table)
    for text in found:
        sys.stdout.write(text + "\n")
    sys.stdout.write(f"structure: {len(source_files(root, table))} files, {len(found)} breaches\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
