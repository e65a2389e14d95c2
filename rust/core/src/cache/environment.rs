#![forbid(unsafe_code)]
//! Variables of the environment, and errors about them.

use crate::error::Error;
use std::env::VarError;

pub(super) fn bad(argument: &'static str, value: impl ToString, legal: &str) -> Error {
    Error::BadArgument { cache: String::new(), argument, value: value.to_string(), legal: legal.to_owned() }
}

/// A variable of the environment; unset and empty are the same. One that is no text is an error, not an absent one.
pub(super) fn variable(name: &'static str, legal: &str) -> Result<Option<String>, Error> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value).filter(|value| !value.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(bad(name, format!("{value:?}"), legal)),
    }
}
