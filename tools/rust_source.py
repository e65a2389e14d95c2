"""Just enough Rust to see which file of a crate names which other.

Comments and strings are blanked, `use` trees and rooted paths are resolved to files, through re-exports.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

Segments = tuple[str, ...]

_LITERAL = re.compile(
    r"""
      //[^\n]*
    | (?P<block>/\*)
    | b?r(?P<hashes>\#*)"(?:.|\n)*?"(?P=hashes)
    | [bc]?"(?:\\(?:.|\n)|[^"\\])*"
    | b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[0-9a-fA-F_]+\}|.)|[^\\'\n])'
    """,
    re.VERBOSE,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_INLINE_MODULE = re.compile(r"\bmod\s+(\w+)\s*\{")
_PLACED = re.compile(r"#\[path\s*=\s*\"(\w+)\.rs\"\]\s*(?:pub(?:\s*\([^)]*\))?\s+)?mod\s+(\w+)\s*;")
_VISIBILITY = re.compile(r"\bpub\s*\(\s*in\s+[^)]*\)")
_USE = re.compile(r"(?P<pub>\bpub(?:\s*\([^)]*\))?\s+)?\buse\s+(?P<tree>[^;]+);")
_ROOTED = re.compile(r"\b(?P<root>crate|super|self)\s*::\s*")
_BARE = re.compile(r"(?<![\w:$])(\w+)\s*::")


def _blank(text: str) -> str:
    return "".join("\n" if character == "\n" else " " for character in text)


def code_only(text: str) -> str:
    """The source with comments, strings and character literals blanked; positions and line numbers stay."""
    out: list[str] = []
    at = 0
    while match := _LITERAL.search(text, at):
        end = match.end()
        # A raw identifier's or lifetime's quote is no literal: the pattern asks for a closing quote, so both pass.
        if match["block"]:
            depth = 1
            while depth and (edge := _BLOCK_EDGE.search(text, end)):
                depth += 1 if edge[0] == "/*" else -1
                end = edge.end()
            if depth:
                end = len(text)
        out += [text[at : match.start()], _blank(text[match.start() : end])]
        at = end
    return "".join(out) + text[at:]


def _closing(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return at
    return len(text)


def inline_modules(text: str) -> list[tuple[int, int, str]]:
    """Start, end and name of every `mod name { .. }`, outermost first."""
    return [(m.start(), _closing(text, m.end() - 1), m[1]) for m in _INLINE_MODULE.finditer(text)]


def parse_tree(text: str) -> list[tuple[Segments, str]]:
    """The leaves of a use tree such as `a::{b, c::{d as e, *}}`, each with the name that it gets ("*" for a glob)."""
    text = text.strip()
    brace = text.find("{")
    if brace < 0:
        path, _, alias = text.partition(" as ")
        segments = tuple(part.strip() for part in path.split("::") if part.strip())
        if segments and segments[-1] == "self":
            segments = segments[:-1]
        return [(segments, alias.strip() or (segments[-1] if segments else ""))]
    head = tuple(part.strip() for part in text[:brace].split("::") if part.strip())
    leaves: list[tuple[Segments, str]] = []
    depth, start = 0, brace + 1
    end = _closing(text, brace)
    for at in range(brace + 1, end + 1):
        if at == end or (text[at] == "," and depth == 0):
            if text[start:at].strip():
                leaves += [((*head, *tail), name or head[-1]) for tail, name in parse_tree(text[start:at])]
            start = at + 1
        else:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
    return leaves


@dataclass
class Source:
    """One file of a crate."""

    path: Path
    module: Segments
    text: str  # stripped
    uses: set[Segments] = field(default_factory=set)  # absolute paths in the crate that its code names
    exports: dict[str, Segments] = field(default_factory=dict)  # `pub use`: name -> absolute path


def _absolute(path: Segments, here: Segments) -> Segments | None:
    """`crate::a`, `self::a`, `super::super::a` seen from module `here`; None for a path that starts otherwise."""
    if path[:1] == ("crate",):
        return path[1:]
    base, rest = here, path
    if rest[:1] == ("self",):
        rest = rest[1:]
    elif rest[:1] != ("super",):
        return None
    while rest[:1] == ("super",):
        base, rest = base[:-1], rest[1:]
    return (*base, *rest)


def read_source(path: Path, module: Segments, children: set[str]) -> Source:
    """Reads a file; `children` are the names of the modules that lie below it in files of their own."""
    raw = path.read_text(encoding="utf-8")
    text = _VISIBILITY.sub(lambda m: _blank(m[0]), code_only(raw))
    source = Source(path, module, text)
    for match in _PLACED.finditer(raw):
        source.exports[match[2]] = (*module, match[1])  # `#[path = "seq_x86_64.rs"] mod seq;`: a second name
    inline = inline_modules(text)

    def here(at: int) -> Segments:
        return (*module, *(name for start, end, name in inline if start < at < end))

    rest = list(text)
    for match in _USE.finditer(text):
        for path_, name in parse_tree(match["tree"]):
            target = _absolute(path_, here(match.start()))
            if target is None and path_[:1] and path_[0] in children:
                target = (*module, *path_)
            if target is None:
                continue
            if match["pub"]:
                source.exports[name] = target  # "*" is no name: what a glob lends counts as the parent's own
            else:
                source.uses.add(target[:-1] if target[-1:] == ("*",) else target)
        rest[match.start() : match.end()] = _blank(match[0])
    body = "".join(rest)
    for match in _ROOTED.finditer(body):
        if body[: match.start()].rstrip().endswith("::"):
            continue  # the second `super` of `super::super::x` is read with the first
        tail = re.match(r"(?:\w+\s*::\s*)*\w+", body[match.end() :])
        words = tuple(re.findall(r"\w+", tail[0])) if tail else ()
        target = _absolute((match["root"], *words), here(match.start()))
        if target is not None:
            source.uses.add(target)
    for match in _BARE.finditer(body):
        if match[1] in children:
            tail = re.match(r"(?:\w+\s*::\s*)*\w+", body[match.start() :])
            source.uses.add((*module, *re.findall(r"\w+", tail[0] if tail else match[1])))
    return source


def is_test(path: Path) -> bool:
    """Whether a file holds nothing but tests: they may look at any layer."""
    names = ("tests", "testing", "models", "loom", "shuttle")
    return "tests" in path.parts or path.stem.rpartition("_")[2] in names


def read_crate(folder: Path) -> dict[Segments, Source]:
    """The modules of the crate at `folder`/src by path; binaries and tests are left out."""
    root = folder / "src"
    files: dict[Segments, Path] = {}
    for path in sorted(root.rglob("*.rs")):
        parts = path.relative_to(root).with_suffix("").parts
        if parts[0] in ("bin", "main") or is_test(path.relative_to(root)):
            continue
        if parts[-1] in ("mod", "lib"):
            parts = parts[:-1]
        files[parts] = path
    return {
        module: read_source(path, module, {m[-1] for m in files if m and m[:-1] == module})
        for module, path in files.items()
    }


def resolve(crate: dict[Segments, Source], target: Segments) -> Segments | None:
    """The module whose file defines `target`, through re-exports; None where it is not in the crate."""
    for _ in range(16):  # re-exports of re-exports end; a loop of them would not compile
        module = target
        while module not in crate:
            if not module:
                return None
            module = module[:-1]
        source = crate[module]
        rest = target[len(module) :]
        if not rest or rest[0] not in source.exports:
            return module
        target = (*source.exports[rest[0]], *rest[1:])
    return None


def graph(crate: dict[Segments, Source]) -> dict[Segments, set[Segments]]:
    """Which module uses which. A re-export is no use: it only lends a name."""
    edges: dict[Segments, set[Segments]] = {}
    for module, source in crate.items():
        found = {resolve(crate, target) for target in source.uses}
        edges[module] = {other for other in found if other is not None and other != module}
    return edges
