//! What a function of this very program is, instruction by instruction: how long its longest way to a return without a call is.
//!
//! The golden test of the core (rust/core/tests/golden.rs) compares listings; this counts, in any build, the wheel's too.

use core::ffi::c_void;

/// What is on a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Instructions, the return included.
    pub instructions: u32,
    /// Jumps, taken or not.
    pub branches: u32,
    /// Instructions that read memory, but for the return.
    pub loads: u32,
    /// Instructions that write memory.
    pub stores: u32,
}

/// Counts the longest path from the function's entry to a return that calls nothing, leaves the stack alone and has no locked
/// instruction: the hit of a fast path, whose cold ways out are calls and jumps elsewhere.
///
/// # Errors
/// Why there is none: another architecture, or a build that does not inline.
#[cfg(target_arch = "x86_64")]
pub fn longest_path(entry: *const c_void) -> Result<Counts, String> {
    let code = code_at(entry as usize)?;
    x86_64::longest(code, entry as u64, entry as u64, 0)
        .ok_or_else(|| "the path has a call or uses the stack: not an optimised build".to_owned())
}

/// See the other one.
///
/// # Errors
/// Always.
#[cfg(not(target_arch = "x86_64"))]
pub fn longest_path(_entry: *const c_void) -> Result<Counts, String> {
    Err("instructions are counted on x86-64 only".to_owned())
}

/// Bytes from an entry on that are looked at.
#[cfg(target_arch = "x86_64")]
const MOST: usize = 512;

/// The code that begins there, as far as it is mapped.
#[cfg(target_arch = "x86_64")]
fn code_at(entry: usize) -> Result<&'static [u8], String> {
    let maps = std::fs::read_to_string("/proc/self/maps").map_err(|error| format!("/proc/self/maps: {error}"))?;
    let end = maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        ((start..end).contains(&entry) && rest.starts_with("r-x")).then_some(end)
    });
    let end = end.ok_or("the function lies in no code that can be read")?;
    // SAFETY: the range is mapped for reading and is code of this program, which stays and does not change.
    Ok(unsafe { core::slice::from_raw_parts(core::ptr::with_exposed_provenance(entry), MOST.min(end - entry)) })
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use super::Counts;
    use iced_x86::{Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, Register};

    /// Longest path that is believed.
    const DEEPEST: u32 = 64;

    /// The longest path from `at` on. Jumps go forward only: the path has no loop.
    pub fn longest(code: &[u8], start: u64, at: u64, depth: u32) -> Option<Counts> {
        let bytes = code.get(usize::try_from(at - start).ok()?..).filter(|rest| !rest.is_empty())?;
        let instruction = Decoder::with_ip(64, bytes, at, DecoderOptions::NONE).decode();
        if instruction.is_invalid() || depth == DEEPEST {
            return None;
        }
        let flow = instruction.flow_control();
        let mut info = InstructionInfoFactory::new();
        let info = info.info(&instruction);
        let returns = flow == FlowControl::Return;
        let uses_stack = info.used_registers().iter().any(|used| used.register() == Register::RSP);
        let is_atomic = instruction.has_lock_prefix() || instruction.mnemonic() == Mnemonic::Xchg;
        if (uses_stack && !returns) || is_atomic {
            return None;
        }
        let ahead = |to: u64| if to > at { longest(code, start, to, depth + 1) } else { None };
        let rest = match flow {
            FlowControl::Return => Some(Counts::default()),
            FlowControl::Next => ahead(instruction.next_ip()),
            FlowControl::UnconditionalBranch => ahead(instruction.near_branch_target()),
            FlowControl::ConditionalBranch => {
                let ways = [ahead(instruction.next_ip()), ahead(instruction.near_branch_target())];
                ways.into_iter().flatten().max_by_key(|counts| counts.instructions)
            }
            _ => None,
        }?;
        let touches = |how: &[OpAccess]| {
            let memory = info.used_memory().iter();
            u32::from(!returns && memory.into_iter().any(|memory| how.contains(&memory.access())))
        };
        Some(Counts {
            instructions: rest.instructions + 1,
            branches: rest.branches
                + u32::from(matches!(flow, FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch)),
            loads: rest.loads
                + touches(&[OpAccess::Read, OpAccess::CondRead, OpAccess::ReadWrite, OpAccess::ReadCondWrite]),
            stores: rest.stores
                + touches(&[OpAccess::Write, OpAccess::CondWrite, OpAccess::ReadWrite, OpAccess::ReadCondWrite]),
        })
    }
}

#[cfg(test)]
#[path = "disassembly_tests.rs"]
mod tests;
