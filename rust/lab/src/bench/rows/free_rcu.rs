//! Frees after a grace period against plain frees of the same cache: blocks are allocated outside of the time, freed inside it, and
//! at the end of each burst a barrier waits until all of them are free.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Kind, Target};
use crate::bench::clock::{Sample, timed};
use crate::bench::machine::pin;
use crate::bench::row::{Entry, Rounds, Work};
use crate::bench::targets::haybarn_dynamic::{Best, Dynamic, One};
use haybarn::rcu;
use haybarn::sync::Counter;
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;
use std::time::Duration;

/// The rows, one for each size of a burst: from a few blocks, whose barrier is most of what there is to do, to more than sheaves
/// and barn hold, so that most of them end in their slabs either way. They have targets of their own: two ways to free blocks
/// of one cache.
pub fn rows() -> Vec<Rounds> {
    vec![
        row::<20>(
            "free-rcu-20",
            "20 x 64 B freed, per block; free_rcu with the barrier that waits for them, against free",
        ),
        row::<100>("free-rcu-100", "the same, 100 blocks at a time"),
        row::<300>("free-rcu-300", "the same, 300 blocks at a time"),
        row::<1000>("free-rcu-1000", "the same, 1000 blocks at a time"),
        row::<20_000>("free-rcu", "the same, 20000 blocks at a time"),
    ]
}

fn row<const BURST: usize>(name: &'static str, about: &'static str) -> Rounds {
    Rounds {
        name,
        about,
        step: BURST as u64,
        round: Duration::from_millis(2),
        instructions: None,
        entries: vec![
            Entry { target: "free", kind: Kind::Peer, work: || work::<BURST>(How::Free) },
            Entry { target: "free_rcu", kind: Kind::Haybarn, work: || work::<BURST>(How::FreeRcu) },
            Entry { target: "free_rcu-read", kind: Kind::Haybarn, work: || work::<BURST>(How::BesideReader) },
        ],
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Free,
    FreeRcu,
    /// While a thread on another CPU enters and leaves read sections without end: each period takes a membarrier then, and now
    /// and then meets a section.
    BesideReader,
}

fn work<const BURST: usize>(how: How) -> Result<Work, String> {
    let cache: One = Dynamic::<Best>::b64()?;
    let mut live = Vec::with_capacity(BURST);
    Ok(Box::new(move |ops| {
        let _reader = (how == How::BesideReader).then(Reader::start);
        let mut sum = Sample { wall: 0, cpu: 0 };
        for _ in 0..ops / BURST as u64 {
            cache.fill(&mut live, BURST);
            let sample = timed(|| match how {
                How::Free => cache.free_all(&mut live),
                How::FreeRcu | How::BesideReader => cache.free_all_rcu(&mut live),
            });
            sum = Sample { wall: sum.wall + sample.wall, cpu: sum.cpu + sample.cpu };
        }
        sum
    }))
}

/// A thread that reads until this is dropped, outside of the time.
struct Reader {
    stop: Arc<Counter>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start() -> Self {
        let (stop, reads) = (Arc::new(Counter::new()), Arc::new(Barrier::new(2)));
        let (seen, begun) = (stop.clone(), reads.clone());
        let thread = std::thread::spawn(move || {
            // Where there is one CPU it shares that.
            let _ = pin(1);
            drop(rcu::read_lock());
            begun.wait();
            while seen.get() == 0 {
                drop(rcu::read_lock());
            }
        });
        reads.wait();
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.set(1);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
