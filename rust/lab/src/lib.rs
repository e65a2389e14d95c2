//! The lab of haybarn.

pub mod replay;
pub mod trace;

pub mod bench;

pub mod oracle;
pub mod stress;
