//! The lab of haybarn.
