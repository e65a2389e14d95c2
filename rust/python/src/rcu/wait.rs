//! Waiting for readers: detached from the interpreter, in stretches, with a look at Python's signals between them.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use haybarn::{Error, rcu};
use pyo3::prelude::*;

use super::section;
use crate::errors::{self, Kind};
use crate::last::{End, is_ending};
use crate::lifetimes::inside;

/// Longest time without a look at signals.
const STRETCH: Duration = Duration::from_millis(20);
/// Looks that only give the CPU away, before sleeping starts.
const YIELDS: u32 = 16;
const SHORTEST_NAP: Duration = Duration::from_micros(20);
const LONGEST_NAP: Duration = Duration::from_millis(2);

/// Whoever waits for readers while being one waits for ever; so may a destructor, which others wait for.
/// Sections whose guards died on other threads are left first.
pub(crate) fn may_wait(py: Python<'_>, what: &str) -> PyResult<()> {
    section::pay_debts();
    if inside::must_not_wait() {
        return Err(inside::would_wait_for_readers(py, what));
    }
    if rcu::is_reading() {
        let text =
            format!("{what} inside a read section of this thread would wait for itself: leave the section first");
        return Err(errors::error(py, Kind::ReadSection, text));
    }
    Ok(())
}

/// Waits for a grace period that begins now.
pub(crate) fn grace_period(py: Python<'_>, what: &str) -> PyResult<()> {
    may_wait(py, what)?;
    let cookie = rcu::get_state();
    until(py, what, move || rcu::poll_state(cookie))
}

/// Waits until `done` says so. A signal whose handler raises (Ctrl-C) ends the waiting with that exception.
pub(super) fn until(py: Python<'_>, what: &str, mut done: impl FnMut() -> bool + Send) -> PyResult<()> {
    let mut pause = Pause::default();
    let mut end = End::default();
    loop {
        if py.detach(|| stretch(&mut done, &mut pause)) {
            return Ok(());
        }
        py.check_signals()?;
        if end.has_come(py) {
            return Err(at_the_end(py, what));
        }
    }
}

/// Runs a wait of the core, detached, that asks again and again whether to go on. Signals end it as they end [`until`].
pub(crate) fn listening(
    py: Python<'_>,
    what: &str,
    wait: impl FnOnce(&dyn Fn() -> bool) -> Result<bool, Error> + Send,
) -> PyResult<()> {
    let (outcome, raised) = py.detach(|| {
        let (raised, end) = (RefCell::new(None), RefCell::new(End::default()));
        let looked = Cell::new(Instant::now());
        let outcome = wait(&|| {
            if looked.get().elapsed() < STRETCH {
                return true;
            }
            looked.set(Instant::now());
            match Python::try_attach(|py| py.check_signals().map(|()| is_ending(py))) {
                Some(Err(error)) => {
                    raised.replace(Some(error));
                    false
                }
                Some(Ok(false)) => true,
                Some(Ok(true)) | None => !end.borrow_mut().is_over(),
            }
        });
        (outcome, raised.into_inner())
    });
    match (outcome, raised) {
        (_, Some(error)) => Err(error),
        (Err(error), None) => Err(errors::from_core(py, error)),
        (Ok(false), None) => Err(at_the_end(py, what)),
        (Ok(true), None) => Ok(()),
    }
}

#[cold]
fn at_the_end(py: Python<'_>, what: &str) -> PyErr {
    let text = format!("{what}: the interpreter is ending, and a thread in a read section does not run any more");
    errors::error(py, Kind::Unavailable, text)
}

fn stretch(done: &mut impl FnMut() -> bool, pause: &mut Pause) -> bool {
    let end = Instant::now() + STRETCH;
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        pause.take();
    }
}

/// First short, then longer and longer.
#[derive(Default)]
struct Pause(u32);

impl Pause {
    fn take(&mut self) {
        if self.0 < YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(LONGEST_NAP.min(SHORTEST_NAP * (1 << (self.0 - YIELDS).min(10))));
        }
        self.0 = self.0.saturating_add(1);
    }
}
