//! A costly object: constructed once per slab and taken from its cache, against made anew at each allocation.
//!
//! 64 objects are taken, each is locked and written to, then all are freed. Whoever makes them anew also asks the allocator of the
//! process for buffer and table each time, which is the point.
#![forbid(unsafe_code)]

use crate::bench::blocks::Kind;
use crate::bench::clock::timed;
use crate::bench::row::Work;
use crossbeam_utils::atomic::AtomicCell;
use haybarn::{CacheArgs, CacheBox, CtorBox, CtorCache, KmemCache, SlabFlags};
use std::convert::Infallible;
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};

/// Objects that are live at a time.
const LIVE: usize = 64;

/// The row's name.
pub const NAME: &str = "ctor";
/// One line for the list of rows.
pub const ABOUT: &str =
    "64 objects with a lock, a 2 KiB buffer and a table of 64 words: constructed once per slab, or made anew";
/// Pairs are counted in multiples of this.
pub const STEP: u64 = LIVE as u64;

/// A name, its part in the comparison, and how it is set up.
type Own = (&'static str, Kind, fn() -> Result<Work, String>);

/// The row's own targets: three ways to come by the same object.
pub const TARGETS: [Own; 3] =
    [("constructed", Kind::Haybarn, constructed), ("anew", Kind::Peer, anew), ("anew-boxed", Kind::Peer, boxed)];

/// What is costly to make and can be used again.
struct Costly {
    uses: Mutex<u64>,
    buffer: Vec<u8>,
    table: Box<[u64; 64]>,
}

impl Costly {
    fn new() -> Self {
        // As checksums, hashes and the like have them.
        let table = core::array::from_fn(|n| {
            (0..8).fold(n as u64, |word, _| (word >> 1) ^ ((word & 1) * 0xc96c_5795_d787_0f42))
        });
        Self { uses: Mutex::new(0), buffer: vec![0; 2048], table: Box::new(table) }
    }

    /// What each owner does.
    fn work(&mut self, n: usize) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        *uses += 1;
        self.buffer[n] = self.table[n % 64] as u8 ^ *uses as u8;
        black_box(&self.buffer);
    }
}

fn name() -> String {
    static MADE: AtomicCell<u64> = AtomicCell::new(0);
    format!("bench-costly-{}", MADE.fetch_add(1))
}

fn constructed() -> Result<Work, String> {
    let cache = CtorCache::<Costly, Infallible>::create(&name(), &CacheArgs::default(), || Ok(Costly::new()));
    let cache: &'static _ = Box::leak(Box::new(cache.map_err(|error| error.to_string())?));
    let mut live: Vec<CtorBox<'static, Costly, Infallible>> = Vec::with_capacity(LIVE);
    Ok(bursts(move |n| match n {
        Some(n) => {
            let mut object = cache.alloc().expect("memory");
            object.work(n);
            live.push(object);
        }
        None => live.clear(),
    }))
}

/// Keeps the process's heap from shrinking: a small block above room for a burst. Without one, all blocks of a burst melt into
/// the top of the heap when it ends, and the system's allocator gives that back and asks for it again each time. That is a matter
/// of what else a process has in its heap, and hits `anew` only, since in `anew-boxed` the objects themselves lie between.
fn pin_heap() {
    let room: Vec<Costly> = core::iter::repeat_with(Costly::new).take(2 * LIVE).collect();
    core::mem::forget(black_box(vec![1_u8; 4096]));
    drop(black_box(room));
}

fn anew() -> Result<Work, String> {
    pin_heap();
    let args = CacheArgs { flags: SlabFlags::NO_MERGE, ..CacheArgs::default() };
    let cache = KmemCache::<Costly>::create(&name(), &args).map_err(|error| error.to_string())?;
    let cache: &'static _ = Box::leak(Box::new(cache));
    let mut live: Vec<CacheBox<'static, Costly>> = Vec::with_capacity(LIVE);
    Ok(bursts(move |n| match n {
        Some(n) => {
            let mut object = cache.alloc(Costly::new()).expect("memory");
            object.work(n);
            live.push(object);
        }
        None => live.clear(),
    }))
}

fn boxed() -> Result<Work, String> {
    pin_heap();
    let mut live: Vec<Box<Costly>> = Vec::with_capacity(LIVE);
    Ok(bursts(move |n| match n {
        Some(n) => {
            let mut object = Box::new(Costly::new());
            object.work(n);
            live.push(object);
        }
        None => live.clear(),
    }))
}

/// Takes objects, numbered from 0, and gives all back, again and again.
fn bursts(mut step: impl FnMut(Option<usize>) + 'static) -> Work {
    Box::new(move |ops| {
        timed(|| {
            for _ in 0..ops / LIVE as u64 {
                (0..LIVE).for_each(|n| step(Some(n)));
                step(None);
            }
        })
    })
}
