//! Private anonymous memory with transparent huge pages.

#![forbid(unsafe_code)]

use super::contract::PageSource;
use crate::os::mem::Mapping;
use std::io;

pub(super) struct HugePages;

impl PageSource for HugePages {
    fn name(&self) -> &'static str {
        "hugepages"
    }

    fn reserve(&self, len: usize) -> io::Result<Mapping> {
        let range = Mapping::anonymous(len)?;
        range.advise_huge()?;
        Ok(range)
    }
}
