//! Views that are still looked into when their callback has returned: the pages below stay until the last buffer goes. The core
//! asks before it gives a run of pages back, and hands the run over where one is pinned.

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use haybarn::Arena;

struct Pin {
    /// Of the slot.
    address: usize,
    /// First address of the run that was handed over for it and others.
    run: Option<usize>,
}

/// Held for a few instructions, by threads that are attached; nothing in there calls out.
static PINS: Mutex<Vec<Pin>> = Mutex::new(Vec::new());

fn with<R>(look: impl FnOnce(&mut Vec<Pin>) -> R) -> R {
    look(&mut PINS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Remembers a slot before its view ends.
pub(crate) fn pin(address: usize) {
    with(|pins| pins.push(Pin { address, run: None }));
}

/// Whether a slot in there is pinned; then the run is ours to give back.
pub(crate) fn keep_run(base: usize, bytes: usize) -> bool {
    with(|pins| {
        let mut kept = false;
        for pin in pins.iter_mut().filter(|pin| (base..base + bytes).contains(&pin.address)) {
            pin.run = Some(base);
            kept = true;
        }
        kept
    })
}

/// The last buffer of an ended view has gone. While the run is not handed over, its slab still is there to be asked about it.
pub(crate) fn unpin(address: usize) {
    let run = with(|pins| {
        let at = pins.iter().position(|pin| pin.address == address)?;
        let run = pins.swap_remove(at).run?;
        pins.iter().all(|pin| pin.run != Some(run)).then_some(run)
    });
    let run = run.and_then(|run| NonNull::new(std::ptr::without_provenance_mut::<u8>(run)));
    if let (Some(run), Ok(arena)) = (run, Arena::global()) {
        // SAFETY: the run was handed over to us, and nobody looks into it any more.
        let given = unsafe { arena.free_pages(run) };
        debug_assert!(given.is_ok(), "{given:?}");
    }
}
