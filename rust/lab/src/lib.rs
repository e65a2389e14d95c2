//! The lab of haybarn.

pub mod trace;

pub mod bench;

pub mod oracle;
