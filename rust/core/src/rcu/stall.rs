//! Readers that stay: reported once a period on standard error, as the kernel reports CPU stalls, and waited for all the same.
//!
//! Readers read no clock, so the time is counted from when the grace period is first found held up, by whoever begins it as a rule:
//! a report says "for at least". Who waits or polls looks; while nobody does, nobody is held up.
#![forbid(unsafe_code)]

use super::domain::GRACE;
use super::record::Stamp;
use super::table;
use crate::error::Error;
use crate::os;
use crate::sync::{Counter, Published, TryFlag};
use core::fmt::Write;
use std::env::VarError;
use std::time::Duration;

const VARIABLE: &str = "HAYBARN_RCU_STALL_SECONDS";
const LEGAL: &str = "0.001 to 1000000 seconds";
/// Linux's, `CONFIG_RCU_CPU_STALL_TIMEOUT`.
const DEFAULT: Duration = Duration::from_secs(21);
/// So many readers are named in one report.
const NAMED: usize = 8;

/// Nanoseconds; 0 is not read yet.
static TIMEOUT: Counter = Counter::new();
/// The sequence of the grace period that was last found held up, when that was first seen, and when it will next be reported, in
/// nanoseconds. A period that nothing holds up costs no look at a clock.
static HELD_UP: Published = Published::new(0);
static BEGAN: Counter = Counter::new();
static REPORT_AT: Counter = Counter::new();
static REPORTING: TryFlag = TryFlag::new();
static STALLS: Counter = Counter::new();

/// After how long a read section that holds up a grace period is reported: what [`set_stall_timeout`] set, else
/// `HAYBARN_RCU_STALL_SECONDS`, else 21 s, as Linux.
///
/// # Errors
/// [`Error::BadArgument`] for a malformed variable.
pub fn stall_timeout() -> Result<Duration, Error> {
    if TIMEOUT.get() == 0 {
        let found = from_environment()?;
        TIMEOUT.set(nanoseconds(found));
    }
    Ok(Duration::from_nanos(TIMEOUT.get()))
}

/// Sets [`stall_timeout`], for all threads, from the next report on.
///
/// # Errors
/// [`Error::BadArgument`] for less than a millisecond or more than 1000000 seconds.
pub fn set_stall_timeout(timeout: Duration) -> Result<(), Error> {
    let timeout = checked("timeout", timeout.as_secs_f64(), || format!("{timeout:?}"))?;
    TIMEOUT.set(nanoseconds(timeout));
    REPORT_AT.set(BEGAN.get().saturating_add(nanoseconds(timeout)));
    Ok(())
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn checked(argument: &'static str, seconds: f64, value: impl Fn() -> String) -> Result<Duration, Error> {
    if (0.001..=1e6).contains(&seconds) {
        return Ok(Duration::from_secs_f64(seconds));
    }
    Err(Error::BadArgument { cache: String::new(), argument, value: value(), legal: LEGAL.to_owned() })
}

fn from_environment() -> Result<Duration, Error> {
    match std::env::var(VARIABLE) {
        Ok(text) if text.is_empty() => Ok(DEFAULT),
        Ok(text) => checked(VARIABLE, text.trim().parse().unwrap_or(f64::NAN), || text.clone()),
        Err(VarError::NotPresent) => Ok(DEFAULT),
        Err(VarError::NotUnicode(text)) => checked(VARIABLE, f64::NAN, || format!("{text:?}")),
    }
}

/// Before a wait: a variable that says nothing sensible is an error there, and the default where nobody could be told.
pub(super) fn settle() -> Result<(), Error> {
    stall_timeout().map(|_| ())
}

fn timeout() -> u64 {
    stall_timeout().map_or(nanoseconds(DEFAULT), nanoseconds)
}

/// A grace period is held up: reports it if it is time to.
pub(super) fn look() {
    let seq = GRACE.seq.read();
    let now = os::thread::now();
    if seq.is_multiple_of(2) {
        return;
    }
    if HELD_UP.read() != seq {
        BEGAN.set(now);
        REPORT_AT.set(now.saturating_add(timeout()));
        // Last: who finds it finds the times of this period, not of an older one.
        HELD_UP.publish(seq);
    }
    if now < REPORT_AT.get() {
        return;
    }
    // One of those who wait reports; a fork leaves the flag to nobody.
    if !REPORTING.try_take(os::fork::generation(), os::fork::is_stale) {
        return;
    }
    let due = now >= REPORT_AT.get();
    if due {
        REPORT_AT.set(now.saturating_add(timeout()));
    }
    REPORTING.release();
    if due {
        report(seq, now.saturating_sub(BEGAN.get()));
    }
}

fn report(seq: u64, nanoseconds: u64) {
    let readers: Vec<u64> =
        table::all().filter(|record| record.is_older(Stamp::of(seq))).map(|record| record.thread()).collect();
    let crowd = GRACE.crowd_of(seq);
    if (readers.is_empty() && crowd == 0) || GRACE.seq.read() != seq {
        // It ended while we looked.
        return;
    }
    STALLS.add(1);
    let seconds = Duration::from_nanos(nanoseconds).as_secs_f64();
    let mut text = format!("haybarn: rcu: a grace period is held up for {seconds:.1} s by read sections of");
    for (n, &id) in readers.iter().take(NAMED).enumerate() {
        let name = os::thread::thread_name(id).unwrap_or_else(|| "?".to_owned());
        let _ = write!(text, "{} thread {id} '{name}'", if n == 0 { "" } else { "," });
    }
    if readers.len() > NAMED {
        let _ = write!(text, " and {} more", readers.len() - NAMED);
    }
    if crowd > 0 {
        let _ = write!(text, "{} {crowd} thread(s) without a record", if readers.is_empty() { "" } else { " and" });
    }
    text.push('\n');
    os::thread::report(&text);
}

/// Grace periods that were reported, each time counted.
pub(super) fn stalls() -> u64 {
    STALLS.get()
}
