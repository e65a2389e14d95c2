"""Assembles the aarch64 sequences of the core with llvm-mc or GNU as: `python tools/aarch64_asm.py [ROOT]`.

There is no aarch64 machine here, and Rust's compiler needs the target's standard library to look at the whole crate.
So this takes the assembly text out of the sources, puts registers and numbers where Rust would, and asks an assembler.
It knows the few forms that these files use, and refuses what it does not know.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SEQUENCES = [Path(f"rust/core/src/percpu/seq_aarch64{part}.rs") for part in ("", "_swap")]
RSEQ = Path("rust/core/src/os/rseq.rs")
SLOT = Path("rust/core/src/percpu/slot.rs")
ASSEMBLERS = {
    "llvm-mc": ["-triple=aarch64-linux-gnu", "-mattr=+lse,+lse2", "-filetype=obj", "-o"],
    "aarch64-linux-gnu-as": ["-march=armv8.4-a", "-o"],
}
STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
SIZES = {"u64": 8, "TryFlag": 8, "Pair": 16, "*mut u64": 8}


@dataclass
class Block:
    """One `asm!` or `sequence!`, with what it is part of."""

    function: str
    macro: str
    text: str


def offsets(slot: str) -> dict[str, int]:
    """The constants of `slot::offset`, computed from the fields of `Slot` as `repr(C)` lays them out."""
    body = slot.partition("pub(crate) struct Slot {")[2].partition("\n}")[0]
    at, fields = 0, dict[str, int]()
    for name, kind in re.findall(r"^    pub (\w+): ([^,]+),", body, re.MULTILINE):
        size = SIZES[kind]
        at = -(-at // size) * size
        fields[name] = at
        at += size
    if at != 1 << 6:
        raise ValueError(f"Slot is {at} bytes, or its fields were not understood: {fields}")
    named = {f"offset::{name.upper()}": place for name, place in fields.items()}
    return named | {"offset::SHIFT": int(re.search(r"const SHIFT: usize = (\d+);", slot)[1])}  # type: ignore[index]


def sequences(root: Path) -> str:
    """The text of every file with sequences."""
    return "".join((root / path).read_text(encoding="utf-8") for path in SEQUENCES)


def unescape(text: str) -> str:
    """A Rust string's contents."""
    return text.replace('\\"', '"').replace("\\n", "\n").replace("\\t", "\t")


def close(source: str, start: int) -> int:
    """The place behind the bracket that closes the one at `start`, strings and comments skipped."""
    depth, at = 0, start
    while at < len(source):
        if source[at] == '"':
            match = STRING.match(source, at)
            at = match.end() if match else at + 1
            continue
        if source.startswith("//", at):
            at = source.index("\n", at)
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(source[at], 0)
        at += 1
        if depth == 0:
            return at
    raise ValueError("a bracket is not closed")


def blocks(source: str) -> list[Block]:
    """Every `asm!(..)` and `sequence!(..)` of a file, the macro's own definition left out."""
    found = []
    macro = re.search(r"macro_rules! sequence \{", source)
    skip = range(macro.start(), close(source, macro.end() - 1)) if macro else range(0)
    for match in re.finditer(r"\b(asm|sequence)!\(", source):
        if match.start() in skip:
            continue
        names = re.findall(r"\bfn (\w+)", source[: match.start()])
        text = source[match.end() : close(source, match.end() - 1) - 1]
        found.append(Block(names[-1], match[1], text))
    return found


def frame(source: str) -> tuple[list[str], list[str]]:
    """The lines of the macro `sequence!` in front of and behind a sequence's own."""
    body = source.partition("macro_rules! sequence {")[2].partition("};")[0]
    before, _, after = body.partition("$($body,)*")
    lines = [unescape(text) for text in STRING.findall(before.partition("asm!(")[2])]
    return lines, [unescape(text) for text in STRING.findall(after)]


def operands(text: str, constants: dict[str, int]) -> dict[str, str]:
    """What stands for each named operand: a number, or a register of its own. Those in fixed registers have no name."""
    free = [f"x{n}" for n in (*range(9, 16), *range(19, 29))]
    values: dict[str, str] = {}
    for name, what in re.findall(r"\b(\w+) = (const [\w:]+|(?:in|out|inout|lateout)\(reg\))", text):
        if what.startswith("const "):
            value = constants.get(what.removeprefix("const "))
            if value is None:
                raise ValueError(f"unknown constant: {what}")
            values[name] = str(value)
        else:
            values[name] = free.pop(0)
    return values


def fill(line: str, values: dict[str, str]) -> str:
    """Puts the operands into a line as Rust does: `{t}`, or `{t:w}` for the low half."""

    def put(match: re.Match[str]) -> str:
        value = values[match[1]]
        if match[2] == "w":
            return "w" + value.removeprefix("x")
        if match[2]:
            raise ValueError(f"unknown modifier: {match[0]}")
        return value

    return re.sub(r"\{(\w+)(?::(\w))?\}", put, line)


def assembly(block: Block, source: str, constants: dict[str, int]) -> str:
    """A block as an assembler's source: a function that holds it."""
    if block.macro == "sequence":
        end = close(block.text, 0)
        before, after = frame(source)
        lines = before + [unescape(text) for text in STRING.findall(re.sub(r"//.*", "", block.text[:end]))] + after
        values = operands(block.text[end:], constants)
        values |= {"signature": str(constants["SIGNATURE"]), "area": "x8"}
    else:
        lines = [unescape(text) for text in STRING.findall(re.sub(r'(in|out|inout)\("\w+"\)', "", block.text))]
        values = operands(block.text, constants)
    filled = [fill(line, values) for line in lines]
    return "\n".join([f"// fn {block.function}", ".text", f"haybarn_{block.function}:", *filled, "ret", ""])


def statics(source: str) -> str:
    """Each `global_asm!` that is built on aarch64: our own area, and its constructor."""
    lines = []
    for match in re.finditer(r'(?:#\[cfg\(target_arch = "(\w+)"\)\]\s*)?^global_asm!\(', source, re.MULTILINE):
        if match[1] in (None, "aarch64"):
            lines += STRING.findall(source[match.end() : close(source, match.end() - 1) - 1])
    if not any("gottprel" in line for line in lines):
        raise ValueError("no constructor for aarch64 in global_asm!")
    return "\n".join(["// global_asm!", *(unescape(line) for line in lines), ""])


def generate(root: Path) -> dict[str, str]:
    """Everything that is assembly on aarch64, by name."""
    source, rseq = sequences(root), (root / RSEQ).read_text(encoding="utf-8")
    constants = offsets((root / SLOT).read_text(encoding="utf-8"))
    signature = re.search(r'target_arch = "aarch64"\)\]\npub\(crate\) const SIGNATURE: u32 = (\w+);', rseq)
    if signature is None:
        raise ValueError("no signature for aarch64")
    constants["SIGNATURE"] = int(signature[1].replace("_", ""), 0)
    own = re.findall(r"const (\w+): \w+ = (\d+);", source)
    constants |= {name: int(value) for name, value in own}
    units = {"global_asm": statics(rseq)}
    for block in blocks(source):
        # Generic over which pair a cache uses: once for each.
        for pair in ("PLAIN", "HELD"):
            text = assembly(block, source, constants | {"MAIN": constants[f"offset::{pair}"]})
            units[f"{block.function}_{pair.lower()}"] = text
    thread = re.search(r'target_arch = "aarch64"\)\]\s*asm!\("([^"]+)"', rseq)
    if thread is None:
        raise ValueError("no thread pointer for aarch64")
    units["thread_pointer"] = f"// fn thread_pointer\n{fill(thread[1], {'p': 'x0'})}\n"
    return units


def assembler() -> list[str] | None:
    """The command of an assembler for aarch64 that this machine has, without its output and input."""
    for name, options in ASSEMBLERS.items():
        path = shutil.which(name)
        if path is not None:
            return [path, *options]
    return None


def assemble(text: str, command: list[str], output: Path) -> str:
    """What the assembler complains of; empty if the text is good."""
    done = subprocess.run([*command, str(output), "-"], input=text, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode or done.stderr else ""


def main(arguments: list[str]) -> int:
    """Assembles all of it; prints what is refused."""
    root = Path(arguments[0]) if arguments else Path(__file__).resolve().parent.parent
    command = assembler()
    if command is None:
        sys.stdout.write(f"none of {', '.join(ASSEMBLERS)} is here: see tools/host_tools.py\n")
        return 2
    units = generate(root)
    complaints = [text for unit in units.values() if (text := assemble(unit, command, Path("/dev/null")))]
    sys.stdout.write("".join(complaints) + f"aarch64: {len(units)} texts, {len(complaints)} refused\n")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
