#![forbid(unsafe_code)]
//! What is written to attributes: which texts are legal, and what they do.

use super::error::Errno;
use super::look::Look;
use crate::error::Error;
use crate::stats::Stat;

/// Why nothing was done.
pub(super) struct Refused {
    pub errno: Errno,
    pub why: String,
}

impl Refused {
    fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self { errno, why: why.into() }
    }

    pub fn read_only() -> Self {
        Self::new(Errno::Access, "it can only be read")
    }
}

/// A decimal number as the kernel reads one: a plus sign before and one newline behind are allowed, and a NUL ends it.
fn number(text: &str, most: u64) -> Result<u64, Refused> {
    let legal = || format!("{text:?} is not legal: 0 to {most}");
    let digits = text.split('\0').next().unwrap_or("");
    let digits = digits.strip_suffix('\n').unwrap_or(digits);
    let digits = digits.strip_prefix('+').unwrap_or(digits);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refused::new(Errno::Invalid, legal()));
    }
    let number = digits.parse().ok().filter(|&number| number <= most);
    number.ok_or_else(|| Refused::new(Errno::Range, legal()))
}

/// Does it if the text begins with that digit, as the kernel looks no further.
fn begins(text: &str, digit: char) -> Result<(), Refused> {
    let why = || format!("{text:?} is not legal: {digit}");
    if text.starts_with(digit) { Ok(()) } else { Err(Refused::new(Errno::Invalid, why())) }
}

pub(super) fn min_partial(look: &Look<'_>, text: &str) -> Result<(), Refused> {
    look.cache().min_partial.set(number(text, u64::MAX)?);
    Ok(())
}

pub(super) fn remote_node_defrag_ratio(look: &Look<'_>, text: &str) -> Result<(), Refused> {
    let percent = number(text, 100)?;
    look.raw()
        .set_remote_node_defrag_ratio(percent as u32)
        .map_err(|error| Refused::new(Errno::Range, error.to_string()))
}

pub(super) fn cpu_partial(_: &Look<'_>, text: &str) -> Result<(), Refused> {
    match number(text, u32::MAX.into())? {
        0 => Ok(()),
        _ => Err(Refused::new(Errno::Invalid, format!("{text:?} is not legal: 0, there are no slabs of CPUs"))),
    }
}

pub(super) fn shrink(look: &Look<'_>, text: &str) -> Result<(), Refused> {
    begins(text, '1')?;
    let _released = look.raw().shrink();
    Ok(())
}

pub(super) fn validate(look: &Look<'_>, text: &str) -> Result<(), Refused> {
    begins(text, '1')?;
    look.raw().validate().map_err(|error| {
        let Error::Corruption { reports, .. } = &error else { return Refused::new(Errno::Io, error.to_string()) };
        Refused::new(Errno::Io, reports.join("; "))
    })
}

pub(super) fn counter(look: &Look<'_>, stat: Stat, text: &str) -> Result<(), Refused> {
    begins(text, '0')?;
    look.clear(stat);
    Ok(())
}
