//! What a thread puts off until it is outside of every callback: frees that a callback or a garbage collection in it makes, and
//! the end of payloads, whose own `__del__` may do anything.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::OnceLock;

use haybarn::fork_generation;
use haybarn::sync::Published;
use pyo3::prelude::*;

use super::{dropped, inside};
use crate::foreign;

type Work = Box<dyn FnOnce(Python<'_>)>;

std::thread_local! {
    static QUEUE: RefCell<VecDeque<Work>> = const { RefCell::new(VecDeque::new()) };
    static RUNNING: Cell<bool> = const { Cell::new(false) };
}

static ALSO: OnceLock<fn(Python<'_>)> = OnceLock::new();

/// Does it later on this thread.
pub(crate) fn put_off(work: impl FnOnce(Python<'_>) + 'static) {
    // A thread whose locals are gone runs no callbacks any more; what it drops late goes with the process.
    let _gone = QUEUE.try_with(|queue| queue.borrow_mut().push_back(Box::new(work)));
}

/// Drops a reference later.
pub(crate) fn forget(payload: Bound<'_, PyAny>) {
    let payload = payload.unbind();
    put_off(move |py| foreign::forget(payload.into_bound(py)));
}

/// What [`run`] does besides, first.
pub(crate) fn also(look: fn(Python<'_>)) {
    // A second import sets the same.
    let _set = ALSO.set(look);
}

/// The process, by its fork generation, that is fit for what the interpreter calls at any moment.
static PREPARED: Published = Published::new(0);

/// Whether our hook has taken care of what the threads of a forked child's parent have left behind.
pub(crate) fn is_prepared() -> bool {
    PREPARED.read() == fork_generation()
}

/// From now on it has; what was left undone is done now.
pub(crate) fn prepared(py: Python<'_>) {
    PREPARED.publish(fork_generation());
    run(py);
}

/// Does what was put off, unless the thread still is inside of something. What comes up meanwhile is done here too, so that
/// chains of it take no stack.
pub(crate) fn run(py: Python<'_>) {
    if inside::anything() || RUNNING.replace(true) {
        return;
    }
    // It may be the end of a call on an exception's way up.
    let raised = PyErr::take(py);
    loop {
        if let Some(look) = ALSO.get() {
            look(py);
        }
        let any = dropped::give_up(py);
        match QUEUE.try_with(|queue| queue.borrow_mut().pop_front()) {
            Ok(Some(work)) => work(py),
            _ if any => (),
            _ => break,
        }
    }
    RUNNING.set(false);
    if let Some(raised) = raised {
        raised.restore(py);
    }
}
