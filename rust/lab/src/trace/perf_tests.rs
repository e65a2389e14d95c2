#![forbid(unsafe_code)]

use super::super::format::{Format, Line, Reason};
use super::{Names, PerfScript};

#[test]
fn special_lines() {
    let mut names = Names::default();
    let mut read = |line: &str| PerfScript.line(line.as_bytes(), &mut names);
    let frame = "\tffffffff811f8a21 kmem_cache_alloc+0x1a1 ([kernel.kallsyms])";
    for skipped in ["", "# captured on: Sat Nov 21", frame, "            7f12a0 [unknown] (/usr/bin/ls)"] {
        assert_eq!(read(skipped), Line::Skip, "{skipped}");
    }
    assert_eq!(read("            perf 13200 [000]   925.344036: PERF_RECORD_LOST lost 5"), Line::Lost(5));
    assert_eq!(
        read("            perf 13200 [000]   925.344036: PERF_RECORD_LOST_SAMPLES lost samples 12"),
        Line::Lost(12)
    );
    assert_eq!(read("CPU:0 [LOST 3 EVENTS]"), Line::Lost(3));
    assert_eq!(read("            perf 13200 [000]   925.3: sched:sched_switch: prev_comm=perf"), Line::Ignored);
    assert_eq!(
        read("            perf 13200  925.3: kmem:kfree: call_site=a ptr=(nil)"),
        Line::Malformed(Reason::NoHead)
    );
    assert_eq!(read("ffffffff811f8a21 at the margin (x)"), Line::Malformed(Reason::NoHead));
}

#[test]
fn a_task_named_as_a_loss_is_a_task() {
    let mut names = Names::default();
    let line = "PERF_RECORD_LOST 13200 [000]   925.3: kmem:kfree: call_site=a ptr=(nil)";
    assert!(matches!(PerfScript.line(line.as_bytes(), &mut names), Line::Event(_)));
}

#[test]
fn claims_lines_with_its_prefix() {
    assert!(PerfScript.claims(b"            perf 13200 [000]   925.3:  kmem:kfree: ptr=(nil)"));
    assert!(!PerfScript.claims(b"          cap.sh-1   [001] .....   876.3: kfree: ptr=1"));
}
