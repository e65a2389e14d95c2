//! One caller at a time, for state that may be kept for as long as a call into the core takes: whoever comes meanwhile waits
//! detached from the interpreter. A mutex would do on a quiet day; this one also tells two callers that would wait for ever:
//! the holder itself, come back from a callback inside its call, and one in a forked child, whose holder stayed in the parent.

use std::cell::UnsafeCell;
use std::mem::ManuallyDrop;

use haybarn::sync::Published;
use pyo3::Python;

use crate::guarded::nap;

/// Why there is no turn to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoTurn {
    /// The calling thread has it already.
    Own,
    /// Its holder is not in this process; what it left nobody may look at.
    Lost,
}

/// A value behind turns.
pub(crate) struct Turn<T> {
    /// Who has the turn: a mark of process and thread; 0: nobody.
    holder: Published,
    value: UnsafeCell<ManuallyDrop<T>>,
}

// SAFETY: the value is reached by `Held` only, of which there is one at a time, and by an exclusive reference.
unsafe impl<T: Send> Sync for Turn<T> {}

/// The turn, until dropped.
pub(crate) struct Held<'t, T>(&'t Turn<T>);

impl<T> Turn<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { holder: Published::new(0), value: UnsafeCell::new(ManuallyDrop::new(value)) }
    }

    /// Waits for the turn.
    pub(crate) fn wait(&self, py: Python<'_>) -> Result<Held<'_, T>, NoTurn> {
        let me = mark();
        while let Err(holder) = self.holder.publish_if(0, me) {
            if holder == me {
                return Err(NoTurn::Own);
            }
            if is_elsewhere(holder) {
                return Err(NoTurn::Lost);
            }
            nap(py);
        }
        Ok(Held(self))
    }
}

impl<T> Drop for Turn<T> {
    /// What a vanished holder was at work on stays as it is.
    fn drop(&mut self) {
        if self.holder.read() == 0 {
            // SAFETY: nobody has the turn nor can get it, and the value is not used again.
            unsafe { ManuallyDrop::drop(self.value.get_mut()) };
        }
    }
}

impl<T> std::ops::Deref for Held<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: the turn is ours.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> std::ops::DerefMut for Held<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the turn is ours, and so is its one handle.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Held<'_, T> {
    fn drop(&mut self) {
        self.0.holder.publish(0);
    }
}

/// Bits of an address that threads of one process may differ in.
const ADDRESS: u64 = (1 << 48) - 1;

/// The calling thread, told from every other one that lives, here or in the process that this one was forked from.
fn mark() -> u64 {
    std::thread_local! {
        static PLACE: u8 = const { 0 };
    }
    let address = PLACE.with(|place| std::ptr::from_ref(place).addr() as u64);
    haybarn::fork_generation() << 48 | address & ADDRESS
}

fn is_elsewhere(holder: u64) -> bool {
    holder & !ADDRESS != haybarn::fork_generation() << 48
}
