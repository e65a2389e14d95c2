//! A faulty allocator of memory by size, the plain way: everything under one lock.

use super::{Fault, region};
use haybarn_lab::oracle::Counters;
use haybarn_lab::stress::{Heap, Source, Way};
use std::collections::{BTreeMap, HashMap};
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// See [`Heap`].
pub struct FaultyHeap {
    fault: Fault,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    calls: u64,
    /// By their size.
    free: BTreeMap<usize, Vec<usize>>,
    /// Address and size.
    live: HashMap<usize, usize>,
    /// The one before, of each size.
    newest: HashMap<usize, usize>,
    lost: u64,
}

const NOTHING: usize = 16;

impl FaultyHeap {
    pub fn new(fault: Fault) -> Self {
        Self { fault, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size_of(&self, memory: *mut u8) -> usize {
        self.state().live.get(&(memory as usize)).copied().unwrap_or(0)
    }
}

impl Heap for FaultyHeap {
    fn alloc(&self, _source: Source, size: usize, zero: bool) -> Option<NonNull<u8>> {
        if size == 0 {
            return NonNull::new(NOTHING as *mut u8);
        }
        let usable = self.roundup(size);
        let mut state = self.state();
        state.calls += 1;
        // Never with zeroes: whoever holds what they go to may see them before the claim that is to fail.
        let faulty = state.calls.is_multiple_of(100) && !zero;
        if faulty && self.fault == Fault::Refuses {
            return None;
        }
        let again = state.newest.get(&usable).copied().filter(|address| state.live.contains_key(address));
        let mut address = match (state.free.get_mut(&usable).and_then(Vec::pop), again) {
            (_, Some(newest)) if faulty && self.fault == Fault::HandsOutTwice => newest,
            (Some(free), _) => free,
            (None, _) => {
                let align = if usable > 4 << 20 { 2 << 20 } else { 1 << usable.trailing_zeros() };
                region(usable + align).next_multiple_of(align)
            }
        };
        if faulty && self.fault == Fault::Misaligns {
            address += 4;
        }
        state.live.insert(address, usable);
        state.newest.insert(usable, address);
        drop(state);
        if zero && self.fault != Fault::DoesNotZero {
            // SAFETY: memory of the region, so many bytes long.
            unsafe { (address as *mut u8).write_bytes(0, usable) };
        }
        NonNull::new(address as *mut u8)
    }

    unsafe fn resize(&self, memory: *mut u8, len: Option<usize>, size: usize, zero: bool) -> Option<NonNull<u8>> {
        let room = self.size_of(memory);
        if size > 0 && size <= room {
            if zero && self.fault != Fault::LeavesTheTail {
                let (from, to) = len.filter(|len| *len < size).map_or((size, room), |len| (len, size));
                // SAFETY: within the memory, which is the caller's.
                unsafe { memory.add(from).write_bytes(0, to - from) };
            }
            return NonNull::new(memory);
        }
        let new = self.alloc(Source::Classes, size, zero)?;
        let kept = len.unwrap_or(room).min(size);
        let kept = if self.fault == Fault::ForgetsTheRest { kept / 2 } else { kept };
        // SAFETY: so many bytes are in both.
        unsafe { new.as_ptr().copy_from_nonoverlapping(memory, if size == 0 { 0 } else { kept }) };
        // SAFETY: the caller's word.
        unsafe { self.free(memory, Way::Plain) }.expect("memory of ours");
        Some(new)
    }

    unsafe fn free(&self, memory: *mut u8, _way: Way) -> Result<(), String> {
        let address = memory as usize;
        if address == 0 || address == NOTHING {
            return Ok(());
        }
        let mut state = self.state();
        state.calls += 1;
        let usable = state.live.remove(&address).ok_or_else(|| format!("{address:#x} is not live"))?;
        if self.fault == Fault::LosesAnObject && state.calls.is_multiple_of(100) {
            state.lost += 1;
        } else {
            state.free.entry(usable).or_default().push(address);
        }
        Ok(())
    }

    unsafe fn free_bulk(&self, memory: &mut [*mut u8]) {
        for memory in memory {
            // SAFETY: the caller's word.
            unsafe { self.free(*memory, Way::Plain) }.expect("memory of ours");
        }
    }

    unsafe fn usable(&self, memory: *mut u8) -> usize {
        self.size_of(memory)
    }

    fn roundup(&self, size: usize) -> usize {
        let class = match size {
            0 => 0,
            1..=64 if size > 32 => 64,
            65..=96 => 96,
            129..=192 => 192,
            1..=8 => 8,
            9..=4_194_304 => size.next_power_of_two(),
            _ => size.next_multiple_of(4096),
        };
        if self.fault == Fault::RoundsDown && class > 256 { class / 2 } else { class }
    }

    fn counters(&self) -> Counters {
        Counters::default()
    }

    fn live(&self) -> u64 {
        let state = self.state();
        state.live.len() as u64 + state.lost
    }

    fn close(self: Box<Self>) -> Result<(), String> {
        Ok(())
    }
}
