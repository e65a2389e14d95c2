#![forbid(unsafe_code)]
//! A value, and the text that Linux makes of it.

use core::fmt;

/// What an attribute shows. Its `Display` is the file's content, with the newline that Linux puts there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `5\n`.
    Number(u64),
    /// A line; without characters it is an empty file, not an empty line.
    Text(String),
    /// `12 N0=8 N1=4\n`: a sum and the share of each node, those with 0 left out of the text.
    Nodes {
        /// The sum.
        total: u64,
        /// By node.
        nodes: Vec<u64>,
    },
    /// `12 C0=8 C1=4\n`: a sum and the share of each CPU, those with 0 left out of the text. No CPUs where the count is kept
    /// for all of them together.
    Cpus {
        /// The sum.
        total: u64,
        /// By CPU.
        cpus: Vec<u64>,
    },
    /// An empty file: there is only something to write.
    Nothing,
}

impl Value {
    pub(super) fn nodes(nodes: impl Iterator<Item = u64>) -> Self {
        let nodes: Vec<u64> = nodes.collect();
        Self::Nodes { total: nodes.iter().sum(), nodes }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Text(text) if text.is_empty() => Ok(()),
            Self::Text(text) => writeln!(f, "{text}"),
            Self::Number(number) => writeln!(f, "{number}"),
            Self::Nodes { total, nodes } => with_shares(f, *total, 'N', nodes),
            Self::Cpus { total, cpus } => with_shares(f, *total, 'C', cpus),
        }
    }
}

fn with_shares(f: &mut fmt::Formatter<'_>, total: u64, of: char, shares: &[u64]) -> fmt::Result {
    write!(f, "{total}")?;
    for (n, share) in shares.iter().enumerate().filter(|&(_, &share)| share > 0) {
        write!(f, " {of}{n}={share}")?;
    }
    writeln!(f)
}
