//! Functions of an executable as listings that only change where something of substance does.
//!
//! A path is the longest way through a function to its `ret`: the hit. Cold blocks leave it by a jump to another function.
//! Listings are normalised: registers are numbered in the order of their first use, and addresses that the linker chose are
//! left out.
#![allow(dead_code, reason = "each test binary is a crate of its own and uses a part of this")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// One instruction of a function.
#[derive(Clone, Debug)]
pub struct Instruction {
    address: u64,
    pub mnemonic: String,
    pub operands: Vec<String>,
}

impl Instruction {
    /// `3b49e:  mov    QWORD PTR fs:[rdx+0x8],rsi   # comment`
    pub fn parse(line: &str) -> Option<Self> {
        let (address, text) = line.trim().split_once(":\t")?;
        let text = text.split(['#', '<']).next()?.trim();
        let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
        Some(Self {
            address: u64::from_str_radix(address, 16).ok()?,
            mnemonic: mnemonic.to_owned(),
            operands: operands.split(',').map(|o| o.trim().to_owned()).filter(|o| !o.is_empty()).collect(),
        })
    }

    fn target(&self) -> Option<u64> {
        u64::from_str_radix(self.operands.first()?, 16).ok()
    }

    fn is_jump(&self) -> bool {
        self.mnemonic.starts_with('j')
    }

    fn touches_memory(&self, operand: usize) -> bool {
        self.mnemonic != "lea" && self.operands.get(operand).is_some_and(|operand| operand.contains('['))
    }

    fn loads(&self) -> bool {
        let reads_first = !self.mnemonic.starts_with("mov");
        self.touches_memory(1) || (reads_first && self.touches_memory(0))
    }

    fn stores(&self) -> bool {
        self.touches_memory(0) && !matches!(self.mnemonic.as_str(), "cmp" | "test") && !self.is_jump()
    }
}

/// The settings of a release without link-time optimisation, for one crate in the profile of the tests: what it depends on is
/// built already.
pub fn optimised(package: &str) -> Vec<String> {
    let settings = ["opt-level=3", "debug=0", "debug-assertions=false", "overflow-checks=false", "codegen-units=1"];
    settings
        .iter()
        .flat_map(|setting| ["--config".to_owned(), format!("profile.dev.package.{package}.{setting}")])
        .collect()
}

/// The disassembly of every function whose name begins with `prefix`, which is left out; `None` where nothing here disassembles,
/// which is then said.
pub fn disassemble(exe: &Path, prefix: &str) -> Option<HashMap<String, Vec<Instruction>>> {
    let args = ["--disassemble", "--no-show-raw-insn", "--no-leading-headers"];
    let objdump = Command::new("objdump").args(&args[..2]).args(["-M", "intel"]).arg(exe).output();
    let llvm = || Command::new("llvm-objdump").args(args).args(["--x86-asm-syntax=intel"]).arg(exe).output();
    let Some(listing) = objdump.or_else(|_| llvm()).ok().filter(|done| done.status.success()) else {
        let text = "neither objdump nor llvm-objdump is here; tools/host_tools.py installs it as root";
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{text}");
        eprintln!("not run: {text}");
        return None;
    };
    let mut functions = HashMap::new();
    let mut current: Option<&mut Vec<Instruction>> = None;
    for line in String::from_utf8_lossy(&listing.stdout).lines() {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|line| line.split_once('<')) {
            current = name.strip_prefix(prefix).map(|name| functions.entry(name.to_owned()).or_default());
        } else if let (Some(function), Some(instruction)) = (current.as_mut(), Instruction::parse(line)) {
            function.push(instruction);
        }
    }
    Some(functions)
}

/// The longest way to a `ret` that stays inside the function. Jumps go forward only: the path has no loop.
pub fn longest(function: &[Instruction], at: usize) -> Option<Vec<Instruction>> {
    let this = function.get(at)?;
    if this.mnemonic == "ret" {
        return Some(vec![this.clone()]);
    }
    let fall = (this.mnemonic != "jmp").then(|| longest(function, at + 1)).flatten();
    let target = this.is_jump().then(|| this.target()).flatten();
    let place = target.and_then(|target| function.iter().position(|other| other.address == target));
    let jump = place.filter(|&place| place > at).and_then(|place| longest(function, place));
    let longer = |path: &Vec<Instruction>| path.len();
    let rest = fall.into_iter().chain(jump).max_by_key(longer)?;
    Some(std::iter::once(this.clone()).chain(rest).collect())
}

/// Numbers the registers of a path in the order of their first use.
#[derive(Default)]
struct Registers(Vec<String>);

impl Registers {
    /// `eax` and `rax` are one register, of which the first shows the low half.
    fn family(name: &str) -> Option<(String, &'static str)> {
        const OLD: [&str; 8] = ["ax", "bx", "cx", "dx", "si", "di", "bp", "sp"];
        if name.starts_with("xmm") {
            return Some((name.to_owned(), ""));
        }
        if let Some(rest) = name.strip_prefix('r') {
            let number = rest.trim_end_matches(['d', 'w', 'b']);
            if number.parse::<u32>().is_ok() {
                return Some((format!("r{number}"), if rest.ends_with('d') { ".d" } else { "" }));
            }
            return OLD.contains(&rest).then(|| (rest.to_owned(), ""));
        }
        let old = name.strip_prefix('e').filter(|rest| OLD.contains(rest))?;
        Some((old.to_owned(), ".d"))
    }

    fn name(&mut self, word: &str) -> String {
        let Some((family, half)) = Self::family(word) else { return word.to_owned() };
        let kind = if family.starts_with("xmm") { "x" } else { "r" };
        let at = self.0.iter().position(|known| *known == family).unwrap_or_else(|| {
            self.0.push(family.clone());
            self.0.len() - 1
        });
        format!("{kind}{at}{half}")
    }

    fn operand(&mut self, operand: &str) -> String {
        let short = operand.replace(" PTR ", " ");
        if let Some((before, _)) = short.split_once("[rip") {
            return format!("{before}[..]");
        }
        let mut out = String::new();
        let mut word = String::new();
        for c in short.chars().chain(std::iter::once('\0')) {
            if c.is_ascii_alphanumeric() {
                word.push(c);
                continue;
            }
            out += &self.name(&std::mem::take(&mut word));
            if c != '\0' {
                out.push(c);
            }
        }
        out
    }
}

/// A path's listing, with its counts in the first line.
pub fn listing(name: &str, path: &[Instruction]) -> String {
    let count = |of: fn(&Instruction) -> bool| path.iter().filter(|&instruction| of(instruction)).count();
    let mut registers = Registers::default();
    let mut text = format!(
        "{name}: {} instructions, {} branches, {} loads, {} stores\n",
        path.len(),
        count(Instruction::is_jump),
        count(Instruction::loads),
        count(Instruction::stores),
    );
    for instruction in path {
        let operands: Vec<_> = if instruction.is_jump() {
            let inside = path.iter().any(|other| Some(other.address) == instruction.target());
            vec![if inside { "ahead" } else { "cold" }.to_owned()]
        } else {
            instruction.operands.iter().map(|operand| registers.operand(operand)).collect()
        };
        writeln!(text, "{} {}", instruction.mnemonic, operands.join(", ")).unwrap();
    }
    text.replace(" \n", "\n")
}

/// Lines that only one of the two has, as a reader expects them.
pub fn diff(old: &str, new: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (old.lines().collect(), new.lines().collect());
    let mut longest = vec![vec![0; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            longest[i][j] =
                if old[i] == new[j] { longest[i + 1][j + 1] + 1 } else { longest[i + 1][j].max(longest[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            writeln!(text, "  {}", old[i]).unwrap();
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && longest[i + 1][j] >= longest[i][j + 1]) {
            writeln!(text, "- {}", old[i]).unwrap();
            i += 1;
        } else {
            writeln!(text, "+ {}", new[j]).unwrap();
            j += 1;
        }
    }
    text
}

/// The paths of functions against the listings in a folder: what has changed, as diffs; nothing where all is as it was. With
/// HAYBARN_BLESS the listings are written instead.
///
/// # Panics
/// Where a function is not there, or its hit calls, has an atomic operation, or uses the stack.
pub fn compare(functions: &HashMap<String, Vec<Instruction>>, names: &[&str], folder: &Path) -> String {
    let bless = std::env::var_os("HAYBARN_BLESS").is_some();
    let mut changed = String::new();
    for name in names {
        let function = functions.get(*name).unwrap_or_else(|| panic!("no function {name}"));
        let path = longest(function, 0).unwrap_or_else(|| panic!("{name} has no way to ret without a call"));
        for instruction in &path {
            let text = format!("{} {}", instruction.mnemonic, instruction.operands.join(", "));
            assert!(!text.contains("call"), "{name} calls: {text}");
            assert!(!text.contains("lock") && !text.contains("xchg"), "{name} has an atomic operation: {text}");
            assert!(!text.contains("push") && !text.contains("pop"), "{name} uses the stack: {text}");
        }
        let new = listing(name, &path);
        let file = folder.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&file, &new).unwrap();
        }
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        if old != new {
            changed += &diff(&old, &new);
        }
    }
    changed
}
