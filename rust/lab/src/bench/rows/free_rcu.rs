//! Frees after a grace period against plain frees of the same cache: blocks are allocated outside of the time, freed inside it, and
//! at the end of each burst a barrier waits until all of them are free.
#![forbid(unsafe_code)]

use crate::bench::blocks::{Kind, Target};
use crate::bench::clock::{Sample, timed};
use crate::bench::row::{Entry, Rounds, Work};
use crate::bench::targets::haybarn_dynamic::{Best, Dynamic, One};
use std::time::Duration;

/// Blocks of one burst: more than sheaves and barn hold, so that most of them end in their slabs either way.
const BURST: usize = 20_000;

/// The row. It has targets of its own: two ways to free blocks of one cache.
pub fn row() -> Rounds {
    Rounds {
        name: "free-rcu",
        about: "20000 x 64 B freed, per block; free_rcu with the barrier that waits for them, against free",
        step: BURST as u64,
        round: Duration::from_millis(2),
        entries: vec![
            Entry { target: "free", kind: Kind::Peer, work: || work(false) },
            Entry { target: "free_rcu", kind: Kind::Haybarn, work: || work(true) },
        ],
    }
}

fn work(by_rcu: bool) -> Result<Work, String> {
    let cache: One = Dynamic::<Best>::b64()?;
    let mut live = Vec::with_capacity(BURST);
    Ok(Box::new(move |ops| {
        let mut sum = Sample { wall: 0, cpu: 0 };
        for _ in 0..ops / BURST as u64 {
            cache.fill(&mut live, BURST);
            let sample = timed(|| if by_rcu { cache.free_all_rcu(&mut live) } else { cache.free_all(&mut live) });
            sum = Sample { wall: sum.wall + sample.wall, cpu: sum.cpu + sample.cpu };
        }
        sum
    }))
}
