//! Sheaves, small stacks of free objects, and the barns that stock them.

mod barn;
mod owned;
mod shape;

pub(crate) use barn::{Barn, full_limit};
pub(crate) use owned::Sheaf;
pub(crate) use shape::Shape;
