//! C and C++ programs over the library: built by the system's compiler against haybarn.h, linked with `libhaybarn.so` and with
//! `libhaybarn.a`, run on each backend.
#![forbid(unsafe_code)]

mod programs {
    pub mod build;
    pub mod library;
}

use programs::build::{Library, Program, build, has_cpp, run, run_with};
use programs::library::folder;
use std::path::Path;

const BACKENDS: [&str; 3] = ["", "locked", "virtual"];

fn passes(source: &str, says: &str) {
    for library in [Library::Shared, Library::Static] {
        let program = build(source, library);
        for backend in BACKENDS {
            let done = run(&program, backend, &[]);
            assert!(done.status.success(), "{source}, {library:?}, backend '{backend}': {done:?}");
            assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), says);
        }
    }
}

#[test]
fn the_kmalloc_family() {
    passes("family.c", "family ok");
    let program = build("family.c", Library::Shared);
    let done = run(&program, "", &[]);
    let reported = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(reported.lines().count(), 1, "one report without a reporter: {reported}");
    assert!(reported.starts_with("haybarn: no object at 0x"), "{reported}");
}

#[test]
fn caches() {
    passes("caches.c", "caches ok");
}

#[test]
fn caches_in_storage_of_the_program() {
    passes("statics.c", "statics ok");
}

#[test]
fn what_is_no_cache() {
    passes("nothing.c", "nothing ok");
    // Every function of the header that takes a cache is in it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect(file);
    let (header, program) = (read("include/haybarn.h"), read("tests/c/nothing.c"));
    let takes_one =
        header.split("(struct kmem_cache *s").map(|before| before.rsplit([' ', '*', '\n']).next().unwrap_or(""));
    let names: Vec<_> = takes_one.filter(|name| name.contains("cache") || name.contains("slab")).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names.into_iter().filter(|&name| name != "kmem_cache_setup") {
        assert!(program.contains(&format!("{name}(")), "{name} is not tried with what is no cache");
    }
}

#[test]
fn the_header_takes_no_name_that_a_program_may_have() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/haybarn.h");
    let header = std::fs::read_to_string(path).expect("the header");
    let linux =
        ["k", "to_kmem_cache", "rcu_", "GFP_", "__GFP_", "SLAB_", "KMALLOC_", "KMEM_CACHE", "NUMA_NO_NODE", "ZERO_"];
    let macros = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split([' ', '(']).next());
    let odd: Vec<_> = macros
        .filter(|name| !name.starts_with("HAYBARN_") && !linux.iter().any(|begin| name.starts_with(begin)))
        .collect();
    assert_eq!(odd, [""; 0], "macros that are neither Linux's nor ours");
}

#[test]
fn signal_handlers() {
    passes("nolock.c", "nolock ok");
}

#[test]
fn forks() {
    passes("forks.c", "forks ok");
}

#[test]
fn handlers_of_forks() {
    passes("fork_handlers.c", "handlers ok");
}

#[test]
fn forks_of_a_process_that_reports_leaks() {
    let program = build("forks_reported.c", Library::Shared);
    let done = run_with(&program, &[("HAYBARN_LEAKS", "1")], &[]);
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn memory_that_is_out_now_and_then() {
    let program = build("faults.c", Library::Shared);
    for backend in BACKENDS {
        let done = run_with(&program, &[("HAYBARN_BACKEND", backend), ("HAYBARN_FAIL_SLAB", "3,50,0,-1")], &[]);
        assert!(done.status.success(), "backend '{backend}': {done:?}");
    }
}

/// A program that loads the library goes through threads, forks, its own end and dlclose, without a crash and without a hang.
#[test]
fn a_program_that_loads_the_library() {
    let program = build("loaded.c", Library::Loaded);
    let library = folder().join("libhaybarn.so");
    let library = library.to_str().expect("a path of text");
    for what in ["forks", "ends", "closes", "hits"] {
        for backend in BACKENDS {
            let variables = [("HAYBARN_BACKEND", backend), ("HAYBARN_LEAKS", "1")];
            let done = run_with(&program, &variables, &[library, what]);
            assert!(done.status.success(), "{what}, backend '{backend}': {done:?}");
            assert_eq!(String::from_utf8_lossy(&done.stdout).trim(), "loaded ok", "{what}: {done:?}");
        }
    }
}

#[test]
fn four_nodes() {
    for source in ["caches.c", "statics.c", "threads.c"] {
        let program = build(source, Library::Shared);
        for backend in BACKENDS {
            let done = run_with(&program, &[("HAYBARN_BACKEND", backend), ("HAYBARN_FAKE_NODES", "4")], &[]);
            assert!(done.status.success(), "{source}, backend '{backend}': {done:?}");
        }
    }
}

/// The objects that a program has forgotten are reported when it ends: its own, not the handles of its caches, and not by its child.
#[test]
fn what_is_left_at_exit() {
    let program = build("leaks.c", Library::Shared);
    let said = |leaks: &str, backend: &str, arguments: &[&str]| {
        let done = run_with(&program, &[("HAYBARN_LEAKS", leaks), ("HAYBARN_BACKEND", backend)], arguments);
        assert!(done.status.success(), "{done:?}");
        String::from_utf8(done.stderr).expect("a text")
    };
    for backend in BACKENDS {
        let text = said("1", backend, &[]);
        let lines: Vec<_> = text.lines().map(|line| line.split(": 0x").next().unwrap_or("")).collect();
        let expected = ["'left': 2", "'fixed': 1", "'kmalloc-8k': 1"];
        assert_eq!(lines, expected.map(|leak| format!("haybarn: at exit: cache {leak} live object(s)")), "{text}");
        assert_eq!((said("0", backend, &[]), said("", backend, &[])), (String::new(), String::new()));
    }
    assert_eq!(said("yes", "", &["HAYBARN_LEAKS = yes is not legal: 0 or 1"]), "");
}

#[test]
fn threads() {
    passes("threads.c", "threads ok");
}

#[test]
fn the_header_in_cpp() {
    if has_cpp() {
        passes("plus.cpp", "plus ok");
    }
}

#[test]
fn slab_panic_ends_the_program_with_the_reason() {
    let done = run(&build("caches.c", Library::Shared), "", &["panic"]);
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success() && said.starts_with("haybarn: SLAB_PANIC: "), "{done:?}");
    assert!(said.contains("name"), "{said}");
}

#[test]
fn an_arena_that_cannot_be_is_an_error_and_no_crash() {
    let program: Program = build("none.c", Library::Shared);
    let done = run(&program, "no-such-backend", &[]);
    assert!(done.status.success(), "{done:?}");
    assert!(String::from_utf8_lossy(&done.stdout).contains("HAYBARN_BACKEND"), "{done:?}");
}

/// A page's blocks in C: each is a program, with what it prints in the block behind it.
fn examples_of(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    let text = std::fs::read_to_string(path).expect(page);
    let stem = page.rsplit('/').next().unwrap_or(page);
    let mut parts = text.split("```");
    let mut programs = 0;
    while let (Some(_text), Some(block)) = (parts.next(), parts.next()) {
        let Some(source) = block.strip_prefix("c\n") else { continue };
        let printed = parts.nth(1).and_then(|block| block.strip_prefix("text\n")).expect("what the program prints");
        programs += 1;
        let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{stem}-{programs}.c"));
        std::fs::write(&place, source).expect("a folder for the tests");
        let done = run(&build(&place, Library::Shared), "", &[]);
        assert!(done.status.success(), "{done:?}");
        assert_eq!(String::from_utf8_lossy(&done.stdout), printed);
    }
    assert!(programs > 0, "{page} has no program");
}

#[test]
fn the_pages_examples() {
    examples_of("docs/c.md");
}

#[test]
fn the_readmes_example() {
    examples_of("README.md");
}
