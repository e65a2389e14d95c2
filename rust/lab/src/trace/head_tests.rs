#![forbid(unsafe_code)]

use super::{Head, Reason, head};

fn found(line: &str) -> (u16, String) {
    let Head { cpu, event, .. } = head(line.as_bytes()).expect(line).expect(line);
    (cpu, String::from_utf8_lossy(event).into_owned())
}

#[test]
fn heads_of_both_writers_are_found() {
    for (line, cpu, event) in [
        ("          cap.sh-10047   [001] .....   876.373867: kmem_cache_free: call_site=x", 1, "kmem_cache_free"),
        ("     kworker/u8:0-96      [000] d..1.   876.4: kfree: call_site=x ptr=1", 0, "kfree"),
        ("          <idle>-0       [127] dNs2. 123456789: kmalloc: call_site=x", 127, "kmalloc"),
        ("            perf 13200 [000]   925.344036:          kmem:kmalloc: call_site=x", 0, "kmem:kmalloc"),
        ("            perf 13200/13201 [003] 925.344036789:   1 kmem:kfree: call_site=x", 3, "kmem:kfree"),
        ("cat-1 [002] 1.5: kfree: ptr=1", 2, "kfree"),
    ] {
        assert_eq!(found(line), (cpu, event.to_owned()), "{line}");
    }
}

#[test]
fn task_names_may_hold_anything() {
    for task in
        ["Web Content", "[001] 1.0: x:", "a-1 [003]", "12", "kworker/1:1H-kb", "tmux: server", "(sd-pam)", "[kfree]"]
    {
        let ftrace = format!("{task:>16}-77      [002] .....   1.25: kfree: call_site=f+0x1/0x2 [ext4] ptr=00");
        let perf = format!("{task:>16} {:>5} [002]   1.25:  kmem:kfree: call_site=f+0x1 ptr=(nil)", 77);
        assert_eq!(found(&ftrace), (2, "kfree".to_owned()), "{task}");
        assert_eq!(found(&perf), (2, "kmem:kfree".to_owned()), "{task}");
    }
}

#[test]
fn what_is_no_head_is_told_apart() {
    for (line, reason) in [
        ("hello", Reason::NoHead),
        ("          cap.sh-10047   [001] .....   876.", Reason::NoHead),
        ("          cap.sh-10047   [0x1] .....   876.1: kfree: ptr=1", Reason::NoHead),
        ("          cap.sh-10047   [001] .....   876.1: kmem_cache_fr", Reason::CutEvent),
        ("          cap.sh-10047   [001] .....   876.1: ", Reason::CutEvent),
        ("          cap.sh-10047   [99999] .....   876.1: kfree: ptr=1", Reason::Cpu),
    ] {
        assert_eq!(head(line.as_bytes()), Err(reason), "{line}");
    }
    assert_eq!(head(b"          cap.sh-10047   [001] .....   876.1: do_exit <-sys_exit"), Ok(None));
}
