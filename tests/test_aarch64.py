"""The aarch64 sequences are assembled here; they cannot be run here."""

from __future__ import annotations

import os

import pytest

import aarch64_asm

SEQUENCES = "alloc free alloc_counted free_counted free_rcu pop push replace replace_rcu swap_empty swap_full take_hits"


@pytest.fixture(scope="module")
def units(root):
    return aarch64_asm.generate(root)


@pytest.fixture
def command():
    found = aarch64_asm.assembler()
    if found is None:
        text = f"needs one of {', '.join(aarch64_asm.ASSEMBLERS)}; tools/host_tools.py installs llvm-mc as root"
        pytest.fail(text) if os.environ.get("CI") == "true" else pytest.skip(text)
    return found


def test_every_text_assembles(units, command, tmp_path):
    refused = {name: text for name in units if (text := aarch64_asm.assemble(units[name], command, tmp_path / "o"))}
    assert refused == {}
    together = "\n".join(units[name] for name in units if name.endswith("_held"))
    assert aarch64_asm.assemble(together, command, tmp_path / "o") == ""
    # The descriptors that the kernel reads, one of 32 bytes for each sequence, are in a section of their own.
    assert (tmp_path / "o").read_bytes().count(b"__rseq_cs") >= 1


def test_nothing_is_left_out(units, root):
    names = {name.removesuffix("_plain").removesuffix("_held") for name in units}
    assert names >= {
        *SEQUENCES.split(),
        "read",
        "write",
        "write_pair",
        "swap_remote",
        "swap_remote_word",
        "global_asm",
        "thread_pointer",
    }
    # As many texts as there are asm! and sequence! in the files.
    source = aarch64_asm.sequences(root)
    assert len(aarch64_asm.blocks(source)) == source.count("asm!(") + source.count("sequence!(") - 1
    for part in ("", "_rcu", "_swap"):
        x86 = (root / f"rust/core/src/percpu/seq_x86_64{part}.rs").read_text()
        assert {block.function for block in aarch64_asm.blocks(x86)} <= names


def test_sequences_commit_by_one_store_at_their_end(units, root):
    source = aarch64_asm.sequences(root)
    sequences = [block.function for block in aarch64_asm.blocks(source) if block.macro == "sequence"]
    assert set(sequences) >= set(SEQUENCES.split())
    for name in sequences:
        lines = units[f"{name}_held"].splitlines()
        end = next(i for i, line in enumerate(lines) if line.startswith("5:"))
        assert lines[end - 1].split()[0] in ("str", "stp"), (name, lines[end - 1])
        # Inside, nothing calls, and nothing jumps back out in front of the start.
        inside = lines[next(i for i, line in enumerate(lines) if line.startswith("4:")) : end]
        assert not [line for line in inside if line.split()[0] in ("bl", "blr", "ret", "svc")]


def test_slot_offsets_are_those_of_the_struct(root):
    offsets = aarch64_asm.offsets((root / aarch64_asm.SLOT).read_text())
    assert offsets["offset::PLAIN"] % 16 == offsets["offset::HELD"] % 16 == 0
    assert offsets["offset::HITS"] + 8 == offsets["offset::HELD"]
    assert offsets["offset::SHIFT"] == 6


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("cbz {object}, 5f", "cbnull {object}, 5f"),
        ("ldrsw {slot}, [{area}, #4]", "ldrsw {slot:w}, [{area}, #4]"),
        ("stp {new_main}", "stq {new_main}"),
    ],
)
def test_a_wrong_instruction_is_refused(root, command, tmp_path, good, bad):
    place = tmp_path / "tree"
    for path in (*aarch64_asm.SEQUENCES, aarch64_asm.RSEQ, aarch64_asm.SLOT):
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text((root / path).read_text())
    file = place / aarch64_asm.SEQUENCES[0]
    source = file.read_text()
    assert good in source
    file.write_text(source.replace(good, bad))
    assert aarch64_asm.main([str(place)]) == 1


@pytest.mark.parametrize("bad", ["shift = const offset::NONE", "shift = const UNKNOWN"])
def test_a_form_that_is_not_known_is_an_error(root, bad):
    source = aarch64_asm.sequences(root)
    block = next(block for block in aarch64_asm.blocks(source) if block.function == "alloc")
    block.text = block.text.replace("shift = const offset::SHIFT", bad)
    with pytest.raises(ValueError, match="unknown constant"):
        aarch64_asm.assembly(block, source, {"SIGNATURE": 0, "offset::PLAIN": 16})
