use super::*;
use core::cell::RefCell;

const MIB: usize = 1 << 20;

/// Writes and reads one byte of a mapping.
fn touch(range: &Mapping, offset: usize, value: u8) -> u8 {
    assert!(offset < range.len());
    // SAFETY: inside a mapping that only this test uses.
    unsafe {
        let at = range.base().as_ptr().add(offset);
        let before = at.read();
        at.write(value);
        before
    }
}

fn both() -> [(&'static str, Mapping); 2] {
    let map = |result: io::Result<Mapping>| result.expect("8 MiB are to be had");
    [("anonymous", map(Mapping::anonymous(8 * MIB))), ("memfd", map(Mapping::memfd(8 * MIB)))]
}

#[test]
fn ranges_are_aligned_zeroed_and_writable_to_the_last_byte() {
    for (name, range) in both() {
        assert_eq!(range.base().addr().get() % HUGE_PAGE, 0, "{name}");
        assert_eq!(range.len(), 8 * MIB, "{name}");
        assert_eq!(touch(&range, 0, 1), 0, "{name}");
        assert_eq!(touch(&range, 8 * MIB - 1, 2), 0, "{name}");
    }
}

#[test]
fn decommitted_pages_read_as_zeros_and_their_neighbours_keep_theirs() {
    for (name, range) in both() {
        for page in 0..3 {
            touch(&range, page * 4096, 7);
        }
        // SAFETY: nobody else knows this range.
        unsafe { range.decommit(4096, 4096) }.expect("madvise on our own pages");
        let seen: Vec<u8> = (0..3).map(|page| touch(&range, page * 4096, 0)).collect();
        assert_eq!(seen, [7, 0, 7], "{name}");
    }
}

/// A system that has `most` bytes: what sizes it is asked for, and what comes out.
fn limited(wish: usize, floor: usize, most: usize) -> (Vec<usize>, Option<usize>) {
    let asked = RefCell::new(Vec::new());
    let result = reserve_halving(wish, floor, |len| {
        asked.borrow_mut().push(len / MIB);
        if len <= most { Mapping::anonymous(len) } else { Err(io::ErrorKind::OutOfMemory.into()) }
    });
    (asked.into_inner(), result.ok().map(|range| range.len() / MIB))
}

#[test]
fn without_a_limit_the_wish_is_granted() {
    assert_eq!(limited(64 * MIB, 8 * MIB, usize::MAX), (vec![64], Some(64)));
}

#[test]
fn a_wish_is_rounded_up_to_huge_pages() {
    assert_eq!(limited(MIB, MIB, usize::MAX), (vec![2], Some(2)));
}

#[test]
fn under_a_limit_half_of_what_fits_is_left_to_the_process() {
    assert_eq!(limited(64 * MIB, 4 * MIB, 20 * MIB), (vec![64, 32, 16, 8], Some(8)));
}

#[test]
fn the_floor_is_taken_if_it_is_all_there_is() {
    assert_eq!(limited(64 * MIB, 16 * MIB, 16 * MIB), (vec![64, 32, 16], Some(16)));
}

#[test]
fn below_the_floor_the_refusal_comes_out() {
    assert_eq!(limited(64 * MIB, 16 * MIB, 8 * MIB), (vec![64, 32, 16], None));
}
