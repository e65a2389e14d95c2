//! The report: JSON for programs, a table for people.
#![forbid(unsafe_code)]

use super::disassembly::Counts;
use super::machine::facts;
use super::row::Instructions;
use super::summary::Line;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// What is to be said about one row beside its figures.
pub struct Note {
    /// The row's name.
    pub row: &'static str,
    /// Rounds, or processes for each target.
    pub rounds: usize,
    /// Rounds measured again because a thread was off its CPU.
    pub repeated: u64,
    /// Rounds that count although they were disturbed in every try.
    pub disturbed: u64,
    /// Targets that are not to be had, with the reason.
    pub missing: Vec<(&'static str, String)>,
    /// Instructions of the row's paths, where it counts them.
    pub instructions: Option<Instructions>,
}

impl Note {
    fn json(&self) -> Value {
        let missing: Map<String, Value> =
            self.missing.iter().map(|(target, why)| ((*target).to_owned(), why.clone().into())).collect();
        let mut note = json!({"row": self.row, "rounds": self.rounds, "repeated": self.repeated,
                              "disturbed": self.disturbed, "missing": missing});
        match &self.instructions {
            Some(Ok(paths)) => note["instructions"] = paths.iter().map(|(path, counts)| ((*path).to_owned(), json!({
                "instructions": counts.instructions, "branches": counts.branches, "loads": counts.loads, "stores": counts.stores,
            }))).collect::<Map<_, _>>().into(),
            Some(Err(why)) => note["uncounted"] = why.clone().into(),
            None => {}
        }
        note
    }
}

/// What a run gave.
pub struct Report {
    /// One line per row and target.
    pub lines: Vec<Line>,
    /// One note per row.
    pub notes: Vec<Note>,
    rounds: usize,
}

impl Report {
    pub(super) fn new(rounds: usize) -> Self {
        Self { lines: Vec::new(), notes: Vec::new(), rounds }
    }

    /// The whole as JSON: `rows`, `notes`, `machine`, `rounds`, `peers` (whether the peers are in this build).
    #[must_use]
    pub fn json(&self) -> Value {
        let rows: Vec<Value> = self.lines.iter().map(Line::json).collect();
        let machine: Map<String, Value> =
            facts().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        json!({"rows": rows, "notes": self.notes.iter().map(Note::json).collect::<Vec<_>>(), "machine": machine,
               "rounds": self.rounds, "peers": cfg!(feature = "peers")})
    }

    /// The lines as a table, then the notes that say something.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        for (name, value) in facts() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name}: {value}");
        }
        let mut last = "";
        for line in &self.lines {
            if line.row != last {
                let best = line.best_peer.unwrap_or("none");
                let _ = writeln!(text, "\n{} ({}; best peer: {best})", line.row, line.unit);
                last = line.row;
            }
            let ratio = line.ratio.map_or(String::from("    -"), |ratio| format!("{ratio:5.2}"));
            let [low, high] = line.spread;
            let _ = writeln!(text, "  {:<16} {:9.2}  [{low:.2} .. {high:.2}]  x{ratio}", line.target, line.value);
        }
        for note in &self.notes {
            for (target, why) in &note.missing {
                let _ = writeln!(text, "{}: no {target}: {why}", note.row);
            }
            match &note.instructions {
                Some(Ok(paths)) => {
                    for (path, Counts { instructions, branches, loads, stores }) in paths {
                        let _ = writeln!(
                            text,
                            "{}: {path}: {instructions} instructions, {branches} branches, {loads} loads, {stores} stores",
                            note.row
                        );
                    }
                }
                Some(Err(why)) => {
                    let _ = writeln!(text, "{}: instructions not counted: {why}", note.row);
                }
                None => {}
            }
            if note.repeated + note.disturbed > 0 {
                let (row, repeated, disturbed) = (note.row, note.repeated, note.disturbed);
                let _ = writeln!(text, "{row}: {repeated} rounds measured again, {disturbed} disturbed rounds counted");
            }
        }
        text
    }
}
