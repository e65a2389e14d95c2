//! Addresses of objects on their way to a call that runs detached from the interpreter.

/// A list of object pointers that may be handed to a closure that runs detached.
pub(crate) struct Addresses<'a>(pub(crate) &'a mut [*mut u8]);

// SAFETY: the pointers are values here; the slice stays borrowed by the caller, who waits for the closure.
unsafe impl Send for Addresses<'_> {}

impl<'a> Addresses<'a> {
    /// The list, back again.
    pub(crate) fn whole(self) -> &'a mut [*mut u8] {
        self.0
    }
}
