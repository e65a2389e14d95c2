//! Frees after a grace period, the plain way: a list of what waits, each with the state of RCU when it came.

use super::{Fault, Faulty};
use haybarn::rcu;
use haybarn_lab::oracle::subject::Deferred;
use std::ptr::NonNull;

impl Faulty {
    /// Frees what has waited long enough.
    fn free_ripe(&self) {
        let mut state = self.state();
        for (object, cookie) in std::mem::take(&mut state.waiting) {
            if rcu::poll_state(cookie) {
                self.give(&mut state, object);
            } else {
                state.waiting.push((object, cookie));
            }
        }
    }
}

impl Deferred for Faulty {
    unsafe fn free_rcu(&self, object: NonNull<u8>) -> bool {
        let object = object.as_ptr() as usize;
        if self.fault == Fault::FreesTooEarly {
            self.give(&mut self.state(), object);
        } else {
            self.state().waiting.push((object, rcu::get_state()));
            self.free_ripe();
        }
        true
    }

    unsafe fn free_rcu_bulk(&self, objects: &mut [*mut u8]) -> bool {
        // SAFETY: the caller's word, for each.
        objects.iter().all(|&object| NonNull::new(object).is_none_or(|object| unsafe { self.free_rcu(object) }))
    }

    fn barrier(&self) {
        rcu::synchronize().expect("outside of sections");
        self.free_ripe();
    }

    fn pending(&self) -> u64 {
        self.state().waiting.len() as u64
    }
}
