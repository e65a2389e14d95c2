//! What the nolock calls call: nothing. In a child that the kernel kills at its first system call (but read, write, exit and the
//! return from a signal), and whose heap counts, every path is taken: sheaf, barn, partial slab, new slab, none.

mod support;

use haybarn::kmalloc::{kfree_nolock, kmalloc, kmalloc_nolock};
use haybarn::sync::Counter;
use haybarn::{AllocFlags, CacheArgs, RawCache, SlabFlags};
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use support::counting::Counting;
use support::*;

static ON_THE_HEAP: Counter = Counter::new();

struct Heap;

// SAFETY: the system's, counted.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ON_THE_HEAP.add(1);
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        ON_THE_HEAP.add(1);
        // SAFETY: the caller's word.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static HEAP: Heap = Heap;

const MOST: usize = 200_000;
/// Objects of 64 bytes for which descriptors and pages lie ready: 2 MiB.
const READY: usize = 32 << 10;

/// Takes all that there is, twice, and gives it back; how many.
fn all_there_is(cache: RawCache, places: &mut [*mut u8]) -> usize {
    let mut most = 0;
    for flags in [AllocFlags::empty(), AllocFlags::ACCOUNT] {
        let mut got = 0;
        while let (true, Some(object)) = (got < places.len(), cache.alloc_nolock(flags)) {
            // SAFETY: ours, eight bytes at least.
            unsafe { object.cast::<u64>().add(1).write(got as u64) };
            places[got] = object.as_ptr();
            got += 1;
        }
        for place in &places[..got] {
            // SAFETY: ours, each once; not null.
            unsafe { cache.free_nolock(std::ptr::NonNull::new_unchecked(*place)) };
        }
        most = got.max(most);
    }
    most
}

#[test]
fn nothing_is_called() {
    // Another CPU could not take what lies in this one's sheaves.
    let _pinned = Pinned::to(0);
    for arena in every_arena() {
        let hooks = Counting::new();
        let args = |flags| CacheArgs { flags, ..CacheArgs::default() };
        let caches = [
            create(arena, "plain", 64, &args(SlabFlags::empty())),
            create(arena, "bare", 64, &args(SlabFlags::NOLEAKTRACE)),
            create(arena, "typesafe", 64, &args(SlabFlags::TYPESAFE_BY_RCU)),
            create(arena, "counted", 64, &CacheArgs { count_hits: true, ..CacheArgs::default() }),
            create(arena, "hooked", 64, &hooks.args()),
        ];
        for cache in caches {
            // Something in every place: sheaves, barn, partial slabs.
            let objects = take_many(cache, 3000);
            give(cache, objects);
        }
        let sized = kmalloc(arena, 100, PLAIN).unwrap();
        // Descriptors in their pool, and pages that the system has given: the end of a cache gives it back what that had.
        let ready = create(arena, "ready", 64, &args(SlabFlags::empty()));
        let objects = take_many(ready, READY);
        give(ready, objects);
        end(ready);
        let pages = arena.alloc_pages(READY * 64).unwrap();
        // SAFETY: nobody uses them.
        unsafe { arena.free_pages(pages).unwrap() };
        let had = caches.map(|cache| cache.stats().total_objects as usize);
        let mut places = vec![null_mut(); MOST];
        let code = in_child(|| {
            // SAFETY: from here on this process may only read, write, exit and return from signals.
            if unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) } != 0 {
                return 77;
            }
            let before = ON_THE_HEAP.get();
            let mut code = 0;
            for (n, cache) in caches.into_iter().enumerate() {
                let got = all_there_is(cache, &mut places);
                // The first makes new slabs until no touched page is left; the others have all that they had.
                let right = if n == 0 { got >= had[0] + READY / 2 } else { got == had[n] };
                code |= i32::from(!right) << n;
            }
            for _ in 0..100 {
                let got = kmalloc_nolock(arena, 100, AllocFlags::ZERO);
                code |= i32::from(got.is_none()) << 5;
                // SAFETY: ours, once.
                unsafe { kfree_nolock(arena, got.map_or(null_mut(), |got| got.as_ptr())) };
            }
            code |= i32::from(ON_THE_HEAP.get() != before) << 6;
            // SAFETY: `_exit` would be another call than this one, which is allowed.
            unsafe { libc::syscall(libc::SYS_exit, code) };
            unreachable!()
        });
        if code == 77 {
            eprintln!("not run: this system has no strict mode of seccomp");
            return;
        }
        assert_eq!(code, 0, "{}: by cache, kmalloc, heap; 265 is a system call", arena.backend());
        // SAFETY: ours, once.
        unsafe { kfree_nolock(arena, sized.as_ptr()) };
        caches.into_iter().for_each(end);
    }
}
