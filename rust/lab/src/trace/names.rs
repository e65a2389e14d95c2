//! Interned cache names: a trace repeats a few dozen names tens of thousands of times.

#![forbid(unsafe_code)]

use rustc_hash::FxHashMap;

/// A name of a [`Names`] table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameId(u32);

impl NameId {
    /// No name.
    pub const NONE: NameId = NameId(u32::MAX);
}

/// The table of names.
#[derive(Clone, Debug, Default)]
pub struct Names {
    ids: FxHashMap<Box<str>, NameId>,
    texts: Vec<Box<str>>,
}

impl Names {
    /// The id of `text`, which is added if it is new.
    pub fn intern(&mut self, text: &str) -> NameId {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = NameId(u32::try_from(self.texts.len()).expect("fewer than 2^32 names"));
        self.texts.push(text.into());
        self.ids.insert(text.into(), id);
        id
    }

    /// The text of `id`; empty for [`NameId::NONE`] and for ids of another table.
    #[must_use]
    pub fn text(&self, id: NameId) -> &str {
        self.texts.get(id.0 as usize).map_or("", |text| text)
    }
}
