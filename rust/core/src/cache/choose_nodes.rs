#![forbid(unsafe_code)]
//! Which nodes an arena has: fake ones by option, else the machine's.

use super::environment::{bad, variable};
use crate::error::Error;
use crate::os::topology::{MAX_NODES, Nodes};
use crate::pages::Pages;

/// The nodes of an arena, and why these.
pub(super) struct Chosen {
    pub nodes: Nodes,
    pub why: String,
    /// Whether they are the machine's own.
    pub real: bool,
}

/// Nodes for an arena of `cpus` CPUs with `slots` slots: those that were asked for, else those of `HAYBARN_FAKE_NODES`, else the
/// machine's, or one where CPUs are virtual.
///
/// # Errors
/// More than [`MAX_NODES`]; a variable that is no such number.
pub(super) fn choose(asked: u32, is_virtual: bool, cpus: u32, slots: u32) -> Result<Chosen, Error> {
    let legal = format!("1 to {MAX_NODES}");
    let (fake, from) = match asked {
        0 => (from_environment(&legal)?, "HAYBARN_FAKE_NODES"),
        asked if asked <= MAX_NODES => (Some(asked), "asked for"),
        asked => return Err(bad("nodes", asked, &legal)),
    };
    Ok(match fake {
        Some(count) if is_virtual => {
            let block =
                |cpu: u32| (u64::from(cpu) * u64::from(count) / u64::from(cpus)).min(u64::from(count) - 1) as u32;
            let why = format!("fake ({from}): neighbouring CPUs");
            Chosen { nodes: Nodes::fake(count, slots, block), why, real: false }
        }
        // In turn, as the kernel does it where it is not told: so that those CPUs that are there are on all of them.
        Some(count) => {
            let why = format!("fake ({from}): CPU c is on node c modulo {count}");
            Chosen { nodes: Nodes::fake(count, slots, |cpu| cpu), why, real: false }
        }
        None if is_virtual => {
            Chosen { nodes: Nodes::fake(1, slots, |_| 0), why: "one for all virtual CPUs".to_owned(), real: false }
        }
        None => Chosen { nodes: Nodes::of_machine(slots), why: "the machine's: one".to_owned(), real: true },
    })
}

fn from_environment(legal: &str) -> Result<Option<u32>, Error> {
    let name = "HAYBARN_FAKE_NODES";
    let nodes = variable(name, legal)?;
    let parse = |text: String| match text.parse() {
        Ok(nodes) if (1..=MAX_NODES).contains(&nodes) => Ok(nodes),
        _ => Err(bad(name, text, legal)),
    };
    nodes.map(parse).transpose()
}

/// Has each node's pages come from its memory where the system allows it; says what came of it.
pub(super) fn bind(pages: &Pages) -> String {
    match pages.bind_to_nodes() {
        Ok(()) => "the machine's; pages are bound to them (mbind)".to_owned(),
        Err(why) => {
            format!("the machine's; mbind is refused ({why}): pages come from the node that touches them first")
        }
    }
}
