//! The fast path, instruction by instruction: what `examples/fastpath.rs` compiles to, against the listings in tests/golden.
//!
//! After a change on purpose: `HAYBARN_BLESS=1 cargo test --test golden`, and read the diff. The listings are those of the release
//! profile without link-time optimisation, which changes nothing here and takes a minute (seen by hand).
#![cfg(all(target_arch = "x86_64", not(target_env = "musl")))]

#[path = "support/listing.rs"]
mod code;

use code::{Instruction, compare, diff, disassemble, listing, longest, optimised};
use std::path::{Path, PathBuf};
use std::process::Command;

const FUNCTIONS: [&str; 6] =
    ["static_alloc", "static_free", "dynamic_alloc", "dynamic_free", "counted_alloc", "counted_free"];

/// Builds the example as a release and returns its executable.
fn example() -> PathBuf {
    // target/debug/deps/golden-1234: three up is the folder that cargo was given.
    let exe = std::env::current_exe().unwrap();
    let target = exe.ancestors().nth(3).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--locked", "--quiet", "--package", "haybarn", "--example", "fastpath"])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(target)
        // The listings are those of the baseline CPU, whoever runs the test.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .envs([("RUSTFLAGS", ""), ("CARGO_INCREMENTAL", "0")]);
    command.args(optimised("haybarn"));
    let built = command.status().unwrap();
    assert!(built.success(), "the example does not build");
    target.join("debug/examples/fastpath")
}

#[test]
fn the_fast_path_is_what_it_was() {
    let exe = example();
    assert!(Command::new(&exe).status().unwrap().success());
    let Some(functions) = disassemble(&exe, "golden_") else { return };
    let changed = compare(&functions, &FUNCTIONS, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    assert!(changed.is_empty(), "the fast path has changed; if it should, run again with HAYBARN_BLESS=1:\n{changed}");
}

/// The mnemonics of a listing.
fn mnemonics(listing: &str) -> Vec<&str> {
    listing.lines().skip(1).map(|line| line.split(' ').next().unwrap_or("")).collect()
}

#[test]
fn an_alias_runs_the_instructions_of_its_primary() {
    let exe = example();
    // The program itself compares the handles, which are all that the two could differ in.
    assert!(Command::new(&exe).status().unwrap().success());
    let Some(functions) = disassemble(&exe, "golden_") else { return };
    for what in ["alloc", "free"] {
        let path = |whose: &str| {
            let name = format!("{whose}_{what}");
            let function = functions.get(&name).unwrap_or_else(|| panic!("no function golden_{name}"));
            listing(what, &longest(function, 0).unwrap_or_else(|| panic!("golden_{name} has no way to ret")))
        };
        // One function serves primary and alias; the program has compared their handles.
        let (alias, raw) = (path("typed"), path("dynamic"));
        // Besides the load of the handle from the cache, they are those of a raw handle.
        let mut typed = mnemonics(&alias);
        for mnemonic in mnemonics(&raw) {
            let at = typed.iter().position(|&own| own == mnemonic);
            typed.remove(at.unwrap_or_else(|| panic!("{mnemonic} is missing:\n{alias}")));
        }
        assert_eq!(typed, ["mov"], "{alias}");
    }
}

#[test]
fn listings_show_what_matters() {
    let lines = [
        " 10:\tmov    rcx,QWORD PTR [rip+0x56a79]        # 91f10 <frames>",
        " 17:\tmovsxd rdi,DWORD PTR fs:[rcx+0x4]",
        " 1b:\ttest   rdi,rdi",
        " 1e:\tje     29 <f+0x19>",
        " 20:\tmov    QWORD PTR [rcx+rdi*1+0x10],rsi",
        " 24:\tadd    esi,DWORD PTR [rcx]",
        " 29:\tret",
        " 30:\tcall   99 <other>",
    ];
    let function: Vec<_> = lines.iter().filter_map(|line| Instruction::parse(line)).collect();
    assert_eq!(function.len(), lines.len());
    let text = listing("f", &longest(&function, 0).unwrap());
    let expected = "f: 7 instructions, 1 branches, 3 loads, 1 stores\nmov r0, QWORD [..]\nmovsxd r1, DWORD fs:[r0+0x4]\n\
                    test r1, r1\nje ahead\nmov QWORD [r0+r1*1+0x10], r2\nadd r2.d, DWORD [r0]\nret\n";
    assert_eq!(text, expected, "\n{}", diff(expected, &text));
    assert_eq!(diff("a\nb\n", "a\nc\n"), "  a\n- b\n+ c\n");
}
