#![forbid(unsafe_code)]

use super::super::format::{Line, Reason};
use super::super::{Event, Kind, NameId, Names};
use super::{event_line, pointer};

fn parse(fields: &str) -> Line {
    event_line(format!("{:>16}-1  [003] ..... 1.0: {fields}", "task").as_bytes(), &mut Names::default())
}

#[test]
fn every_kind_is_read() {
    let mut names = Names::default();
    let filp = names.intern("filp");
    let alloc = "kmem_cache_alloc: call_site=a+0x1/0x2 ptr=0000000094e883f2 name=filp bytes_req=184 bytes_alloc=192 \
                 gfp_flags=GFP_KERNEL|__GFP_ZERO node=-1 accounted=true";
    let event = Event {
        kind: Kind::CacheAlloc,
        accounted: true,
        cpu: 3,
        name: filp,
        pointer: 0x94e8_83f2,
        bytes_req: 184,
        bytes_alloc: 192,
    };
    assert_eq!(parse(alloc), Line::Event(event));
    let free = Event { kind: Kind::CacheFree, accounted: false, bytes_req: 0, bytes_alloc: 0, ..event };
    assert_eq!(parse("kmem_cache_free: call_site=b ptr=0x94e883f2 name=filp"), Line::Event(free));
    let kfree = Event { kind: Kind::Kfree, name: NameId::NONE, pointer: 0, ..free };
    assert_eq!(parse("kfree: call_site=b ptr=(nil)"), Line::Event(kfree));
    let kmalloc = Event { kind: Kind::Kmalloc, pointer: 1, bytes_req: 9000, bytes_alloc: 16384, ..kfree };
    let text = "kmalloc: call_site=b ptr=1 bytes_req=9000 bytes_alloc=16384 gfp_flags=GFP_NOFS node=0 accounted=false";
    assert_eq!(parse(text), Line::Event(kmalloc));
}

#[test]
fn other_events_are_ignored() {
    for text in
        ["mm_page_alloc: page=1 pfn=2 order=0", "rss_stat: mm_id=1", "kmalloc_node: ptr=1", "kfree_skb: skbaddr=1"]
    {
        assert_eq!(parse(text), Line::Ignored, "{text}");
    }
}

#[test]
fn broken_fields_are_named() {
    let sizes =
        |req: &str, alloc: &str| format!("kmalloc: ptr=1 bytes_req={req} bytes_alloc={alloc} gfp_flags=GFP_KERNEL");
    for (text, reason) in [
        ("kfree: call_site=a", Reason::Missing("ptr")),
        ("kfree: call_site=a ptr=", Reason::Bad("ptr")),
        ("kfree: call_site=a ptr=00zz", Reason::Bad("ptr")),
        ("kfree: call_site=a ptr=00000000000000001", Reason::Bad("ptr")),
        ("kfree: call_site=a ptr=(____ptrval____)", Reason::Bad("ptr")),
        ("kmem_cache_free: call_site=a ptr=1", Reason::Missing("name")),
        ("kmem_cache_free: call_site=a ptr=1 name=", Reason::Missing("name")),
        ("kmem_cache_alloc: call_site=a ptr=1 bytes_req=8 bytes_alloc=8 gfp_flags=X", Reason::Missing("name")),
        ("kmem_cache_alloc: call_site=a ptr=1 name=filp bytes_req=8 bytes_all", Reason::Missing("bytes_alloc")),
        ("kmalloc: ptr=1 bytes_alloc=8 gfp_flags=X", Reason::Missing("bytes_req")),
        ("kmalloc: ptr=1 bytes_req=8 bytes_alloc=8", Reason::Missing("gfp_flags")),
        (&sizes("-1", "8"), Reason::Bad("bytes_req")),
        (&sizes("8", "9x"), Reason::Bad("bytes_alloc")),
        (&sizes("8", "99999999999999999999"), Reason::Bad("bytes_alloc")),
        (&sizes("9", "8"), Reason::Sizes),
        (&sizes("0", "8"), Reason::Sizes),
        (&sizes("8", "2000000000"), Reason::Sizes),
    ] {
        assert_eq!(parse(text), Line::Malformed(reason), "{text}");
    }
}

#[test]
fn values_with_spaces_and_other_orders() {
    let mut names = Names::default();
    let line =
        b"            task-1  [000] ..... 1.0: kmem_cache_alloc: call_site=ext4_x+0x1/0x2 [ext4] name=my odd cache \
                 ptr=00ff bytes_req=8 bytes_alloc=8 gfp_flags=GFP_KERNEL";
    let Line::Event(event) = event_line(line, &mut names) else { panic!("an event") };
    assert_eq!((names.text(event.name), event.pointer), ("my odd cache", 0xff));
    let line = b"            task-1  [000] ..... 1.0: kmem_cache_free: call_site=a ptr=1 name=my odd cache ";
    let Line::Event(event) = event_line(line, &mut names) else { panic!("an event") };
    assert_eq!(names.text(event.name), "my odd cache");
    let line = b"            task-1  [000] ..... 1.0: kmem_cache_free: call_site=a ptr=1 name=\xff\xfe";
    assert_eq!(event_line(line, &mut names), Line::Malformed(Reason::Bad("name")));
}

#[test]
fn pointers() {
    for (text, value) in [
        ("(nil)", 0),
        ("(null)", 0),
        ("0000000000000000", 0),
        ("0x0", 0),
        ("0xffff888102418e20", 0xffff_8881_0241_8e20),
    ] {
        assert_eq!(pointer(text.as_bytes()), Ok(value), "{text}");
    }
}

/// A line that ends early is never taken for another event, but for what cannot be seen: a cut at the end of a free.
#[test]
fn a_cut_line_is_malformed_or_the_same() {
    let alloc = "kmem_cache_alloc: call_site=a+0x1/0x2 ptr=0000000094e883f2 name=filp bytes_req=184 bytes_alloc=192 \
                 gfp_flags=GFP_KERNEL node=-1 accounted=false";
    let whole = parse(alloc);
    for end in 0..alloc.len() {
        match parse(&alloc[..end]) {
            Line::Malformed(_) => {}
            other => assert_eq!(other, whole, "{}", &alloc[..end]),
        }
    }
}

/// Whatever a line holds, it is classified and nothing panics.
#[test]
fn any_bytes_are_classified() {
    let line =
        b"          cap.sh-10047   [001] .....   876.373867: kmem_cache_alloc: call_site=f ptr=4b4089df name=filp \
                 bytes_req=184 bytes_alloc=192 gfp_flags=GFP_KERNEL node=-1 accounted=false";
    let mut names = Names::default();
    let mut state = 1u64;
    for _ in 0..20_000 {
        let mut text = line.to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (at, byte) = ((state >> 33) as usize % text.len(), (state >> 20) as u8);
            match byte % 3 {
                0 => text[at] = byte,
                1 => text.truncate(at.max(1)),
                _ => text.insert(at, b" =:[]0x"[byte as usize % 7]),
            }
        }
        event_line(&text, &mut names);
    }
}
