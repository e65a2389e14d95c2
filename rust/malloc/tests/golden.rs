//! The fast path of the C interface, instruction by instruction: the functions as they lie in `libhaybarn.so`, against the listings in
//! tests/golden.
//!
//! After a change on purpose: `HAYBARN_BLESS=1 cargo test -p haybarn-malloc --test golden`, and read the diff.
#![cfg(all(target_arch = "x86_64", not(target_env = "musl")))]
#![forbid(unsafe_code)]

#[path = "../../core/tests/support/listing.rs"]
mod code;

use code::{compare, disassemble};
use std::path::{Path, PathBuf};
use std::process::Command;

const FUNCTIONS: [&str; 3] = ["kmem_cache_alloc", "kmem_cache_free", "kmalloc"];

/// The library as a program gets it, built where `cargo build --release -p haybarn-malloc` builds it.
fn library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    // target/debug/deps/golden-1234
    let target = exe.ancestors().nth(3).unwrap();
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["build", "--release", "--locked", "--quiet", "--package", "haybarn-malloc", "--target-dir"])
        .arg(target);
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // The listings are those of the baseline CPU, whoever runs the test.
    command.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "");
    assert!(command.status().unwrap().success(), "the library does not build");
    target.join("release/libhaybarn.so")
}

#[test]
fn the_fast_path_is_what_it_was() {
    let Some(functions) = disassemble(&library(), "") else { return };
    let changed = compare(&functions, &FUNCTIONS, &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden"));
    assert!(changed.is_empty(), "the fast path has changed; if it should, run again with HAYBARN_BLESS=1:\n{changed}");
}
