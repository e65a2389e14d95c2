//! Freeing after a grace period under the oracle's eyes, and looking at what others may free meanwhile.

use super::held::Held;
use super::worker::Worker;
use crate::oracle::{Kind, Tag, Watched, stamp};
use haybarn::rcu::ReadGuard;
use std::ptr::NonNull;

/// An object that a reader found.
#[derive(Clone, Copy)]
pub struct Found {
    object: NonNull<u8>,
    tag: Tag,
}

impl Worker<'_> {
    /// Looks at the object at `address`, which some thread published: its stamp must be whole. None after a violation.
    ///
    /// The section began before the address was read, so the object is there until it ends.
    pub fn look(&self, watched: &Watched, address: usize, section: &ReadGuard) -> Option<Found> {
        let object = NonNull::new(std::ptr::with_exposed_provenance_mut::<u8>(address))?;
        // SAFETY: an object of at least 8 bytes that was published and is not reused before the section ends; if it is, that
        // is what is looked for, and the bytes are whatever the machine gives.
        let word = unsafe { object.cast::<u64>().read_volatile() };
        match Tag::read(word) {
            Some(tag) => self.look_again(watched, Found { object, tag }, section).then_some(Found { object, tag }),
            None => {
                self.report(
                    Kind::Contents,
                    watched,
                    address,
                    "a published object's stamp".into(),
                    format!("{word:#018x}"),
                );
                None
            }
        }
    }

    /// Whether the object is as it was found.
    pub fn look_again(&self, watched: &Watched, Found { object, tag }: Found, _: &ReadGuard) -> bool {
        // SAFETY: as in `look`.
        let verdict = unsafe { stamp::verify(object, watched.size(), tag) };
        if let Err(wrong) = verdict {
            let seen = match Tag::read(wrong.seen) {
                Some(other) if wrong.offset == 0 => format!("{other}"),
                _ => format!("{:#018x} at offset {}", wrong.seen, wrong.offset),
            };
            let expected = format!("{tag} as long as the section lasts");
            self.report(Kind::Contents, watched, object.as_ptr() as usize, expected, seen);
        }
        verdict.is_ok()
    }

    /// Frees objects after a grace period, at once if there is more than one. In a read section they may be refused for want
    /// of memory: then they are given back.
    pub fn free_rcu(&mut self, watched: &Watched, held: Vec<Held>) -> Vec<Held> {
        let Some(deferred) = watched.subject.deferred() else { return held };
        let mut batch: Vec<_> = held.iter().map(|held| held.object().as_ptr()).collect();
        self.pace.count(held.len() as u64);
        for one in &held {
            self.part(watched, one);
        }
        let given = match held.as_slice() {
            // SAFETY: the objects came from this cache and were published in places that have others by now; `held`, their
            // only handles, end here unless they are refused.
            [one] => unsafe { deferred.free_rcu(one.object()) },
            // SAFETY: as above.
            _ => unsafe { deferred.free_rcu_bulk(&mut batch) },
        };
        if given {
            watched.died(self.index, held.len() as u64);
            return Vec::new();
        }
        self.refused_by(watched, || format!("{} objects to be freed", held.len()));
        for one in &held {
            self.part_not(watched, one);
        }
        held
    }
}
