//! Waiting for a grace period, and asking after one.
#![forbid(unsafe_code)]

use super::domain::{GRACE, System};
use super::{local, pending, stall, table};
use crate::error::Error;
use std::time::Duration;

/// A grace period that has to pass, as [`get_state`] found it. It stays true for ever, in a forked child too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

/// The grace period that who unpublished something before this call has to see over before freeing it. Costs one atomic
/// read-modify-write; starts nothing.
///
/// Source: Linux's `get_state_synchronize_rcu`.
#[must_use]
pub fn get_state() -> Cookie {
    Cookie(GRACE.cookie())
}

/// True if the cookie's grace period is over. If it is not, begins or ends one if that can be done now, and never waits: who
/// polls again and again gets there without anybody's help.
///
/// A number that [`get_state`] cannot have given out yet is not over.
///
/// Source: Linux's `poll_state_synchronize_rcu`.
#[must_use]
pub fn poll_state(cookie: Cookie) -> bool {
    if GRACE.is_over(cookie.0) {
        return true;
    }
    if cookie.0 > GRACE.youngest_cookie() {
        return false;
    }
    watch_forks();
    advance(cookie.0)
}

/// As [`poll_state`] for a cookie of our own, without reports of stalls: signal handlers may come through here. Who asks again and
/// again calls [`look_for_stalls`].
#[must_use]
pub(crate) fn poll_quietly(cookie: Cookie) -> bool {
    GRACE.is_over(cookie.0) || GRACE.advance::<System, _>(cookie.0, table::all, local::mine())
}

/// Reports the grace period in progress if readers hold it up for too long.
pub(crate) fn look_for_stalls() {
    stall::look();
}

/// Waits until every read section that had begun when this was called has ended.
///
/// # Errors
/// [`Error::InReadSection`] in a read section of the calling thread, which would wait for itself;
/// [`Error::BadArgument`] for a malformed `HAYBARN_RCU_STALL_SECONDS`. Nothing was done then.
///
/// Source: Linux's `synchronize_rcu`.
pub fn synchronize() -> Result<(), Error> {
    wait_for("rcu::synchronize", get_state())
}

/// Waits until the cookie's grace period is over; at once if it is.
///
/// # Errors
/// As [`synchronize`]'s, and [`Error::BadArgument`] for a number that [`get_state`] cannot have given out.
///
/// Source: Linux's `cond_synchronize_rcu`.
pub fn cond_synchronize(cookie: Cookie) -> Result<(), Error> {
    if cookie.0 > GRACE.youngest_cookie() {
        return Err(Error::BadArgument {
            cache: String::new(),
            argument: "cookie",
            value: cookie.0.to_string(),
            legal: format!("what rcu::get_state() has returned, at most {}", GRACE.youngest_cookie()),
        });
    }
    if GRACE.is_over(cookie.0) {
        return Ok(());
    }
    wait_for("rcu::cond_synchronize", cookie)
}

/// [`synchronize`] in the name of another operation.
pub(crate) fn wait_for(what: &'static str, cookie: Cookie) -> Result<(), Error> {
    may_wait(what)?;
    stall::settle()?;
    watch_forks();
    let mut pause = Pause::default();
    while !advance(cookie.0) {
        pause.once();
    }
    Ok(())
}

/// Goes towards the end of a cookie's period without waiting; true if it is over.
pub(super) fn advance(cookie: u64) -> bool {
    let over = GRACE.advance::<System, _>(cookie, table::all, local::mine());
    if !over {
        stall::look();
    }
    over
}

/// Watches for forks from now on, here and below.
pub(crate) fn watch_forks() {
    crate::service::watch_forks();
    pending::watch_forks();
    local::watch_forks();
}

/// Whether the calling thread may wait for readers.
///
/// # Errors
/// [`Error::InReadSection`] if it is one.
pub(crate) fn may_wait(what: &'static str) -> Result<(), Error> {
    if local::is_reading() { Err(Error::InReadSection { what }) } else { Ok(()) }
}

/// How a waiter passes its time: it looks again at once for a microsecond or two, since most sections are shorter than a call
/// of the system, then lets other threads run, then sleeps shortly, up to a millisecond. Readers wake nobody: that would cost
/// them an atomic operation each.
#[derive(Default)]
pub(crate) struct Pause(u32);

const SPINS: u32 = 32;
const YIELDS: u32 = SPINS + 8;

impl Pause {
    pub fn once(&mut self) {
        if self.0 < SPINS {
            core::hint::spin_loop();
        } else if self.0 < YIELDS {
            crate::os::yield_now();
        } else {
            let doubled = (self.0 - YIELDS).min(6);
            std::thread::sleep(Duration::from_micros((16 << doubled).min(1000)));
        }
        self.0 = self.0.saturating_add(1);
    }
}
