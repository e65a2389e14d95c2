//! References that somebody let go of where Python code must not run: on a thread that is not attached, inside of a call, at the end of
//! a chain of objects each of which keeps the next.
//!
//! PyO3 has a list of its own for the first of these. It is emptied whenever any thread attaches again, also by one in the middle of a
//! call of a cache, where a `__del__` may wait for that very call.

use haybarn::sync::Published;
use pyo3::prelude::*;

use crate::foreign;

/// Address of the first; 0: there is none. Entries are only ever taken all at once, so it needs no tag.
static FIRST: Published = Published::new(0);

struct Node {
    object: Py<PyAny>,
    next: u64,
}

/// A reference, and what it needs to be dropped anywhere.
pub(crate) struct Reference(Box<Node>);

impl Reference {
    /// Takes it over.
    pub(crate) fn new(object: Bound<'_, PyAny>) -> Self {
        Self(Box::new(Node { object: object.unbind(), next: 0 }))
    }

    /// The object.
    pub(crate) fn get<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.0.object.bind(py).clone()
    }
}

/// Drops it soon, from any thread.
pub(crate) fn push(reference: Reference) {
    let node = Box::into_raw(reference.0);
    loop {
        let next = FIRST.read();
        // SAFETY: nobody else has the node until it is published.
        unsafe { (*node).next = next };
        if FIRST.publish_if(next, node.expose_provenance() as u64).is_ok() {
            return;
        }
    }
}

/// Lets go of all that was dropped; whether there was any.
pub(super) fn give_up(py: Python<'_>) -> bool {
    let mut at = FIRST.read();
    while at != 0 && FIRST.publish_if(at, 0).is_err() {
        at = FIRST.read();
    }
    let any = at != 0;
    while at != 0 {
        // SAFETY: a node that `push` was given, from a box; the list that it was in is this call's alone.
        let node = unsafe { Box::from_raw(std::ptr::with_exposed_provenance_mut::<Node>(at as usize)) };
        at = node.next;
        foreign::forget(node.object.into_bound(py));
    }
    any
}
