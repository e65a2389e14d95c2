#![forbid(unsafe_code)]
//! How a fault chooses what fails.

use crate::error::Error;
use std::env::VarError;

/// Parameters of a fault, named as Linux's are (`Documentation/fault-injection`). `Default` fails every request.
///
/// A request passes when `times` are used up, when it comes from another thread than `this_thread` asks for, while it fits
/// into what is left of `space`, and when it is not an `interval`-th one; what is left fails with `probability`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FaultAttr {
    /// How likely a request fails that nothing else lets pass: 0 (none) to 1 (each).
    pub probability: f64,
    /// Only each so-many-th request may fail; at least 1.
    pub interval: u64,
    /// Bytes that are granted before the first failure.
    pub space: u64,
    /// Failures after which no more come; none: no end.
    pub times: Option<u64>,
    /// Only requests of the thread that starts the fault are counted and may fail.
    pub this_thread: bool,
}

impl Default for FaultAttr {
    fn default() -> Self {
        Self { probability: 1.0, interval: 1, space: 0, times: None, this_thread: false }
    }
}

fn bad(argument: &'static str, value: impl ToString, legal: &str) -> Error {
    Error::BadArgument { cache: String::new(), argument, value: value.to_string(), legal: legal.to_owned() }
}

impl FaultAttr {
    /// Whether the parameters are in their ranges; who starts a fault asks this too.
    ///
    /// # Errors
    /// [`Error::BadArgument`] naming the parameter that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        if !(0.0..=1.0).contains(&self.probability) {
            return Err(bad("probability", self.probability, "0 to 1"));
        }
        if self.interval == 0 {
            return Err(bad("interval", 0, "1 or more"));
        }
        if self.times == Some(u64::MAX) {
            return Err(bad("times", u64::MAX, "0 to 18446744073709551614, or none for no end"));
        }
        Ok(())
    }

    /// Linux's text for a boot option: `interval,probability,space,times`, the probability in percent, times -1 for no end.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split(',').map(str::trim);
        let mut next = || fields.next();
        let interval = next()?.parse().ok().filter(|&interval| interval > 0)?;
        let percent: f64 = next()?.parse().ok().filter(|percent| (0.0..=100.0).contains(percent))?;
        let space = next()?.parse().ok()?;
        let times = match next()? {
            "-1" => None,
            times => Some(times.parse().ok().filter(|&times| times < u64::MAX)?),
        };
        let attr = Self { probability: percent / 100.0, interval, space, times, this_thread: false };
        fields.next().is_none().then_some(attr)
    }
}

/// The fault that a variable of the environment asks for; unset and empty are none.
///
/// # Errors
/// [`Error::BadArgument`] with the form that it should have.
pub(super) fn from_environment(name: &'static str) -> Result<Option<FaultAttr>, Error> {
    let legal = "interval,probability,space,times: 1 or more, 0 to 100 percent, bytes, and a count or -1 for no end";
    let text = match std::env::var(name) {
        Err(VarError::NotPresent) => return Ok(None),
        Err(VarError::NotUnicode(text)) => return Err(bad(name, format!("{text:?}"), legal)),
        Ok(text) if text.is_empty() => return Ok(None),
        Ok(text) => text,
    };
    FaultAttr::parse(&text).map(Some).ok_or_else(|| bad(name, format!("{text:?}"), legal))
}

#[cfg(all(test, not(any(loom, shuttle))))]
#[path = "attr_tests.rs"]
mod tests;
