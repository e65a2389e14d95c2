//! Private anonymous memory, the default.

#![forbid(unsafe_code)]

use super::contract::PageSource;
use crate::os::mem::Mapping;
use std::io;

pub(super) struct Anonymous;

impl PageSource for Anonymous {
    fn name(&self) -> &'static str {
        "anonymous"
    }

    fn reserve(&self, len: usize) -> io::Result<Mapping> {
        Mapping::anonymous(len)
    }
}
