#![forbid(unsafe_code)]

use super::super::format::{Format, Line, Reason};
use super::{Ftrace, Names, loss};

#[test]
fn special_lines() {
    let mut names = Names::default();
    let mut read = |line: &str| Ftrace.line(line.as_bytes(), &mut names);
    for skipped in [
        "",
        "   ",
        "# tracer: nop",
        "#              | |",
        "##### CPU 1 buffer started ####",
        " => kmem_cache_alloc",
        "=> x",
    ] {
        assert_eq!(read(skipped), Line::Skip, "{skipped}");
    }
    assert_eq!(read("CPU:0 [LOST 123 EVENTS]"), Line::Lost(123));
    assert_eq!(read("CPU:1 [LOST EVENTS]"), Line::Lost(0));
    assert_eq!(read("CPU:0 [LOST"), Line::Malformed(Reason::NoHead));
    assert_eq!(read("garbage"), Line::Malformed(Reason::NoHead));
    assert_eq!(read("            bash-1   [000] .....  1.0: <stack trace>"), Line::Ignored);
}

#[test]
fn losses_of_trace_cmd() {
    assert_eq!(loss(b"CPU:2 [127 EVENTS DROPPED]"), Some(127));
    assert_eq!(loss(b"CPU:2 [EVENTS DROPPED]"), Some(0));
    assert_eq!(loss(b"CPU:2 [many EVENTS DROPPED]"), None);
}

#[test]
fn claims_its_own_first_line() {
    assert!(Ftrace.claims(b"# tracer: nop"));
    assert!(!Ftrace.claims(b"# captured on: Sat Nov 21"));
}
