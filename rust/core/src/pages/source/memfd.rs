//! A shared memfd. A fork shares it: see [`super::Source::Memfd`].

#![forbid(unsafe_code)]

use super::contract::PageSource;
use crate::os::mem::Mapping;
use std::io;

pub(super) struct Memfd;

impl PageSource for Memfd {
    fn name(&self) -> &'static str {
        "memfd"
    }

    fn reserve(&self, len: usize) -> io::Result<Mapping> {
        Mapping::memfd(len)
    }
}
