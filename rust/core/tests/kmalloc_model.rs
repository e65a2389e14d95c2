//! Any requests against a model that knows only what a user may expect: memory is apart and aligned, large enough, keeps its
//! bytes, is zero where zeroes were asked for, and comes back.

mod support;

use haybarn::{AllocFlags, Arena, set_virtual_cpu};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use support::by_size::*;
use support::*;

#[derive(Clone, Debug)]
enum Op {
    Take { size: usize, zero: bool, kv: bool },
    Free { at: usize, how: usize },
    FreeBulk { at: usize, count: usize },
    Resize { at: usize, size: usize, zero: bool, known: bool },
    Cpu(u32),
}

/// Mostly small, near the ends of classes, and now and then large.
fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0..300_usize,
        2 => (0..SIZES.len(), 0..3_usize).prop_map(|(class, more)| SIZES[class] - 1 + more),
        2 => 300..9000_usize,
        1 => 9000..200_000_usize,
        1 => prop_oneof![Just(KMALLOC_MAX_SIZE), Just(KMALLOC_MAX_SIZE + 1)],
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        5 => (size(), any::<bool>(), any::<bool>()).prop_map(|(size, zero, kv)| Op::Take { size, zero, kv }),
        2 => (any::<usize>(), 0..4_usize).prop_map(|(at, how)| Op::Free { at, how }),
        1 => (any::<usize>(), 0..40_usize).prop_map(|(at, count)| Op::FreeBulk { at, count }),
        4 => (any::<usize>(), size(), any::<bool>(), any::<bool>())
            .prop_map(|(at, size, zero, known)| Op::Resize { at, size, zero, known }),
        1 => (0..2_u32).prop_map(Op::Cpu),
    ]
}

/// What the user has: at an address, so many bytes asked for, all of them `mark`. The first and last bytes stand for all of
/// them where there are many.
#[derive(Clone, Copy)]
struct Live {
    len: usize,
    mark: u8,
}

struct Model {
    arena: &'static Arena,
    live: BTreeMap<usize, Live>,
    marks: u8,
}

/// Bytes that are looked at of a stretch.
fn looked_at(len: usize) -> impl Iterator<Item = usize> {
    (0..len.min(512)).chain(len.saturating_sub(512).max(512.min(len))..len)
}

impl Model {
    fn pointer(address: usize) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(address)
    }

    /// Looks at new memory of `len` bytes, whose first `kept` hold `mark`, and marks all of it anew.
    fn adopt(&mut self, object: *mut u8, len: usize, kept: usize, mark: u8, zero_behind: bool) {
        let address = object.expose_provenance();
        let room = ksize(self.arena, object);
        assert_eq!(ksize_checked(self.arena, object).unwrap(), room);
        assert!(room >= len && room >= kmalloc_size_roundup(len).min(len.next_multiple_of(4096)), "{len}: {room}");
        let align = 1 << kmalloc_size_roundup(len).trailing_zeros().min(22);
        assert!(len > KMALLOC_MAX_SIZE || kept > 0 || address.is_multiple_of(align), "{len} bytes at {address:#x}");
        let before = self.live.range(..address).next_back();
        assert!(before.is_none_or(|(&at, live)| at + live.len <= address), "overlaps what is in front");
        let behind = self.live.range(address..).next();
        assert!(behind.is_none_or(|(&at, _)| address + room <= at), "overlaps what is behind");
        for at in looked_at(kept) {
            assert_eq!(byte(object, at), mark, "byte {at} of {kept}");
        }
        for at in looked_at(len).filter(|&at| zero_behind && at >= kept) {
            assert_eq!(byte(object, at), 0, "byte {at} of {len}, {kept} kept");
        }
        self.marks = self.marks.wrapping_add(1).max(1);
        paint(object, len, self.marks);
        self.live.insert(address, Live { len, mark: self.marks });
    }

    /// The bytes of what is to go are what they were.
    fn leave(&mut self, at: usize) -> Option<(*mut u8, Live)> {
        let &address = self.live.keys().nth(at.checked_rem(self.live.len())?)?;
        let live = self.live.remove(&address)?;
        for at in looked_at(live.len) {
            assert_eq!(byte(Self::pointer(address), at), live.mark, "byte {at} of {}", live.len);
        }
        Some((Self::pointer(address), live))
    }

    fn run(&mut self, op: &Op) {
        let arena = self.arena;
        match *op {
            Op::Take { size, zero, kv } => {
                let flags = if zero { AllocFlags::ZERO } else { PLAIN };
                let Some(object) = (if kv { kvmalloc(arena, size, flags) } else { kmalloc(arena, size, flags) }) else {
                    assert!(!kv && size > KMALLOC_MAX_SIZE, "{size} bytes were refused");
                    return;
                };
                assert!(kv || size <= KMALLOC_MAX_SIZE);
                assert_eq!(object == ZERO_SIZE_PTR, size == 0);
                if size > 0 {
                    self.adopt(object.as_ptr(), size, 0, 0, zero);
                }
            }
            Op::Free { at, how } => {
                let Some((object, _)) = self.leave(at) else { return };
                {
                    match how {
                        0 => kfree(arena, object),
                        1 => kvfree(arena, object),
                        2 => kfree_checked(arena, object).unwrap(),
                        _ => kfree_sensitive(arena, object),
                    }
                }
            }
            Op::FreeBulk { at, count } => {
                let mut objects: Vec<_> = (0..count).map_while(|_| self.leave(at)).map(|(object, _)| object).collect();
                kfree_bulk(arena, &mut objects);
            }
            Op::Resize { at, size, zero, known } => {
                let Some((object, Live { len, mark })) = self.leave(at) else { return };
                let room = ksize(arena, object);
                let flags = if zero { AllocFlags::ZERO } else { PLAIN };
                let new = {
                    if known {
                        krealloc_from(arena, object, len, size, flags)
                    } else {
                        krealloc(arena, object, size, flags)
                    }
                };
                let Some(new) = new else {
                    assert!(size > KMALLOC_MAX_SIZE && size > room, "{size} bytes were refused");
                    self.live.insert(object.expose_provenance(), Live { len, mark });
                    return;
                };
                assert_eq!(new == ZERO_SIZE_PTR, size == 0);
                assert_eq!(new.as_ptr() == object, size > 0 && size <= room);
                if size > 0 {
                    // Without the length, what lay behind it in the old memory is what it was.
                    self.adopt(new.as_ptr(), size, len.min(size), mark, zero && known);
                }
            }
            Op::Cpu(cpu) => set_virtual_cpu(Some(cpu)),
        }
    }
}

/// One for all cases of a backend: what a case leaves, the next must cope with.
fn arenas() -> &'static [&'static Arena] {
    static ARENAS: OnceLock<Vec<&'static Arena>> = OnceLock::new();
    ARENAS.get_or_init(every_arena)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_requests(ops in vec(op(), 1..250)) {
        for &arena in arenas() {
            let mut model = Model { arena, live: BTreeMap::new(), marks: 0 };
            ops.iter().for_each(|op| model.run(op));
            while let Some((object, _)) = model.leave(0) {
                kfree(arena, object);
            }
            set_virtual_cpu(None);
        }
    }
}
