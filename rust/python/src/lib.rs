//! Python binding of haybarn.
