//! Counts of the fast paths, against the listings that the core's golden test keeps.

use crate::bench::rows::fixed_instructions;

/// The first line of a listing: `static_alloc: 16 instructions, 2 branches, 5 loads, 2 stores`.
#[cfg(target_arch = "x86_64")]
fn golden(name: &str) -> [u32; 4] {
    let file = format!("{}/../core/tests/golden/{}.txt", env!("CARGO_MANIFEST_DIR"), name.replace(' ', "_"));
    let text = std::fs::read_to_string(&file).expect("a listing of that name");
    let (_, counts) = text.lines().next().and_then(|line| line.split_once(": ")).expect("a line of counts");
    let numbers: Vec<u32> = counts.split(", ").filter_map(|part| part.split(' ').next()?.parse().ok()).collect();
    numbers.try_into().expect("four counts")
}

/// But for a move of an argument, which a function of its own may add. tests/test_bench.py does the same with what the wheel says.
#[cfg(target_arch = "x86_64")]
#[cfg_attr(debug_assertions, ignore = "of an optimised build: cargo test --release -p haybarn-lab --lib disassembly")]
#[test]
fn the_fast_paths_are_as_long_as_their_listings() {
    let paths = fixed_instructions().expect("counts");
    assert_eq!(paths.len(), 4);
    for (name, counts) in paths {
        let [instructions, others @ ..] = golden(name);
        assert_eq!([counts.branches, counts.loads, counts.stores], others, "{name}");
        assert!((instructions..=instructions + 1).contains(&counts.instructions), "{name}: {counts:?}");
    }
}

/// Where nothing can be counted that is said: without the release profile's settings not all is inlined.
#[cfg(any(debug_assertions, not(target_arch = "x86_64")))]
#[test]
fn what_cannot_be_counted_is_said() {
    let why = fixed_instructions().expect_err("a build that is not optimised");
    let expected = if cfg!(target_arch = "x86_64") { "not an optimised build" } else { "x86-64 only" };
    assert!(why.contains(expected), "{why}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_path_is_followed_to_its_return_and_not_into_calls() {
    use super::{Counts, x86_64::longest};
    // mov rax, [rdi]; test rax, rax; je +3; mov [rdi], rax; ret
    let hit = [0x48, 0x8b, 0x07, 0x48, 0x85, 0xc0, 0x74, 0x03, 0x48, 0x89, 0x07, 0xc3];
    assert_eq!(longest(&hit, 0, 0, 0), Some(Counts { instructions: 5, branches: 1, loads: 1, stores: 1 }));
    // call +0; ret: no path. push rax; ret: none either. jmp to itself: none. lock inc [rdi]; ret: none.
    for bytes in [&[0xe8, 0, 0, 0, 0, 0xc3][..], &[0x50, 0xc3], &[0xeb, 0xfe], &[0xf0, 0xff, 0x07, 0xc3]] {
        assert_eq!(longest(bytes, 0, 0, 0), None, "{bytes:x?}");
    }
}
