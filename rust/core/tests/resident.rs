//! After a peak, when everything is freed and shrunk, the process is nearly as small as before. Alone in its process, so
//! that nothing else changes the resident size.

mod support;

use haybarn::{Arena, ArenaConfig, CacheArgs, Form, RawCache, Source, set_virtual_cpu};
use std::io::Read;
use std::ptr::NonNull;
use support::*;

const MIB: usize = 1 << 20;
const PEAK: usize = 256 * MIB;
const SIZES: [usize; 7] = [64, 192, 1000, 4096, 20_000, 300_000, 4 << 20];

/// Resident bytes, read without allocating.
fn resident() -> usize {
    let mut text = [0; 128];
    let length = std::fs::File::open("/proc/self/statm").unwrap().read(&mut text).unwrap();
    let pages: usize = std::str::from_utf8(&text[..length]).unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Allocates and touches a share of the peak in objects of each size.
fn climb(caches: &[RawCache], held: &mut Vec<(usize, NonNull<u8>)>) {
    for (n, &cache) in caches.iter().enumerate() {
        let size = SIZES[n];
        for at in 0..PEAK / SIZES.len() / size {
            set_virtual_cpu(Some(at as u32));
            let object = take(cache);
            for offset in (0..size).step_by(4096) {
                // SAFETY: ours, `size` bytes.
                unsafe { object.as_ptr().add(offset).write(1) };
            }
            held.push((n, object));
        }
    }
}

fn measure(what: &str, arena: &'static Arena) {
    let caches: Vec<_> =
        SIZES.iter().map(|size| create(arena, &format!("peak-{size}"), *size, &CacheArgs::default())).collect();
    // The test's own list is touched before the start, so that only the allocator's memory counts.
    let mut held = vec![(usize::MAX, NonNull::dangling()); PEAK / SIZES.len() / 40];
    held.clear();
    for (round, backwards) in [false, true].into_iter().enumerate() {
        let start = resident();
        climb(&caches, &mut held);
        let peak = resident() - start;
        assert!(peak > PEAK * 8 / 10, "{what}: only {peak} bytes at the peak");
        if backwards {
            held.reverse();
        }
        for (n, object) in held.drain(..) {
            give(caches[n], [object]);
        }
        for &cache in &caches {
            let _ = cache.shrink();
        }
        let left = resident().saturating_sub(start);
        println!("{what}, round {round}: {} KiB at the peak, {} KiB left", peak >> 10, left >> 10);
        assert!(left <= peak / 10 + MIB, "{what}: {left} of {peak} bytes are left");
    }
    for cache in caches {
        end(cache);
    }
    assert_eq!(arena.info().dirty_free, 0, "{what}");
}

#[test]
fn after_a_peak_little_stays() {
    for source in [Source::Anonymous, Source::Memfd] {
        let name = source.name();
        for kind in BACKENDS {
            let form = Form::Double;
            if let Some(arena) = arena(ArenaConfig { source: source.clone(), ..config(kind, form) }) {
                measure(&format!("{name} on {kind}"), arena);
            }
        }
    }
}
