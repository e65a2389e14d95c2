//! The objects that a thread holds.
#![forbid(unsafe_code)]

use super::held::Held;
use super::rng::Rng;
use std::collections::VecDeque;

/// Objects in the order in which they came.
#[derive(Default)]
pub struct Live(VecDeque<Held>);

impl Live {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the objects that there are.
    pub fn extend(&mut self, held: impl IntoIterator<Item = Held>) {
        self.0.extend(held);
    }

    /// The newest.
    pub fn pop(&mut self) -> Option<Held> {
        self.0.pop_back()
    }

    /// The oldest.
    pub fn pop_oldest(&mut self) -> Option<Held> {
        self.0.pop_front()
    }

    /// Any one; the newest takes its place.
    pub fn pop_any(&mut self, rng: &mut Rng) -> Option<Held> {
        if self.0.is_empty() {
            return None;
        }
        self.0.swap_remove_back(rng.below(self.0.len()))
    }

    /// The newest `n`, or all.
    pub fn drain_newest(&mut self, n: usize) -> impl Iterator<Item = Held> {
        self.0.drain(self.0.len().saturating_sub(n)..)
    }

    /// All, to look at.
    pub fn iter(&self) -> impl Iterator<Item = &Held> {
        self.0.iter()
    }

    /// Leaves the objects to themselves: they are never freed.
    pub fn forget(&mut self) {
        self.0.clear();
    }
}
