//! What a replay is asked to do.

#![forbid(unsafe_code)]

use haybarn::BackendKind;
use std::path::PathBuf;
use std::str::FromStr;

/// Which allocator serves the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DesignKind {
    /// haybarn.
    #[default]
    Sheaves,
    /// The C library's malloc.
    System,
}

impl DesignKind {
    /// Every design.
    pub const ALL: &[DesignKind] = &[DesignKind::Sheaves, DesignKind::System];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DesignKind::Sheaves => "sheaves",
            DesignKind::System => "system",
        }
    }
}

impl FromStr for DesignKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|design| design.name() == text).copied();
        found.ok_or_else(|| format!("design {text:?}: legal are sheaves and system"))
    }
}

/// How recorded CPUs become CPUs of the replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cpus {
    /// As recorded.
    #[default]
    Recorded,
    /// The recorded CPU modulo this number, which is at least 1.
    Modulo(u16),
}

impl Cpus {
    /// The CPU of the replay for a recorded one.
    #[must_use]
    pub fn of(self, recorded: u16) -> u16 {
        match self {
            Cpus::Recorded => recorded,
            Cpus::Modulo(count) => recorded % count,
        }
    }
}

impl FromStr for Cpus {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse::<u16>() {
            Ok(count @ 1..=1024) => Ok(Cpus::Modulo(count)),
            _ if text == "recorded" => Ok(Cpus::Recorded),
            _ => Err(format!("cpus {text:?}: legal are \"recorded\" and 1 to 1024")),
        }
    }
}

/// Options of a replay.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The allocator.
    pub design: DesignKind,
    /// Recorded CPUs to CPUs.
    pub cpus: Cpus,
    /// `None`: `HAYBARN_BACKEND`, else the best; `Virtual` is the engine of virtual CPUs.
    pub backend: Option<BackendKind>,
    /// Nodes of virtual CPUs; `None` is 1. An error on other backends.
    pub nodes: Option<u32>,
    /// A copy of `/sys/kernel/slab` that gives the caches' shapes.
    pub caches: Option<PathBuf>,
    /// Stop at the first malformed line.
    pub strict: bool,
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
