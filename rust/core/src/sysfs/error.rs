#![forbid(unsafe_code)]
//! What goes wrong in the tree, with the number that Linux gives for it.

use core::fmt;

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// Linux's error numbers, those that the tree uses.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(i32)]
        pub enum Errno {
            $(#[doc = $text] $name = $number,)*
        }

        impl Errno {
            /// The number.
            #[must_use]
            pub const fn number(self) -> i32 {
                self as i32
            }

            /// The C library's text.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

errnos! {
    NoEntry = 2, "No such file or directory";
    Io = 5, "Input/output error";
    BadFile = 9, "Bad file descriptor";
    Access = 13, "Permission denied";
    Busy = 16, "Device or resource busy";
    NoDevice = 19, "No such device";
    NotDir = 20, "Not a directory";
    IsDir = 21, "Is a directory";
    Invalid = 22, "Invalid argument";
    Range = 34, "Numerical result out of range";
}

/// An operation on the tree that failed; nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SysfsError {
    /// Linux's number for it.
    pub errno: Errno,
    /// The path, as it was given.
    pub path: String,
    /// What was wrong, where the number does not say all: the cache, what was written, what would have been legal.
    pub why: String,
}

impl SysfsError {
    pub(super) fn new(errno: Errno, path: &str, why: impl Into<String>) -> Self {
        Self { errno, path: path.to_owned(), why: why.into() }
    }

    pub(super) fn no_cache(path: &str, name: &str) -> Self {
        Self::new(Errno::NoEntry, path, format!("no living cache is called '{name}'"))
    }

    /// The number's text, and what else is known.
    #[must_use]
    pub fn message(&self) -> String {
        let text = self.errno.text();
        if self.why.is_empty() { text.to_owned() } else { format!("{text} ({})", self.why) }
    }
}

impl fmt::Display for SysfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: '{}'", self.message(), self.path)
    }
}

impl std::error::Error for SysfsError {}
