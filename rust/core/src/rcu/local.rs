//! The calling thread's side: its record, and what it does where there is none to be had.
//!
//! A record is claimed at a thread's first section and released when the thread ends, after the destructors of its thread
//! locals; a section that is open then ends with the thread. Where memory is out for a record, a reader counts itself in a
//! word that all such readers share: slower, never refused.

use super::domain::{GRACE, settle};
use super::record::Record;
use super::table;
use crate::os;
use crate::os::fork::Hooks;
use crate::sync::{Counter, OwnPtr, PublishedPtr};
use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::null_mut;

/// Readers' entries without a record.
static CROWDED: Counter = Counter::new();

/// What a thread knows of its sections. The cells are changed by the thread and its signal handlers, each of which leaves
/// them as it found them.
struct Local {
    record: OwnPtr<Record>,
    /// Sections that the thread is in without a record, and the crowd that it is counted in.
    crowded: Cell<u32>,
    crowd: Cell<u8>,
    /// It is about to enter without a record: no handler may claim one meanwhile, the leave would look there.
    crowding: Cell<bool>,
}

thread_local! {
    static LOCAL: Local = const {
        Local { record: OwnPtr::new(), crowded: Cell::new(0), crowd: Cell::new(0), crowding: Cell::new(false) }
    };
}

impl Local {
    #[inline(always)]
    fn record(&self) -> Option<&'static Record> {
        // SAFETY: null, or a record of the table, which is never unmapped.
        unsafe { self.record.get().as_ref() }
    }

    #[cold]
    fn enter_without(&self) {
        let may_claim = self.crowded.get() == 0 && !self.crowding.get();
        if let Some(record) = may_claim.then(|| self.claim()).flatten() {
            record.enter(&GRACE.seq, &GRACE.sides);
            GRACE.sides.first();
            return;
        }
        CROWDED.add(1);
        if let Some(key) = exit_key() {
            // Any value will do. Where even this is refused, a thread that ends inside its section leaves it open.
            let _ = os::thread::set_at_exit(key, core::ptr::from_ref(self).cast_mut().cast());
        }
        let crowding = self.crowding.replace(true);
        let sections = self.crowded.get();
        assert!(sections < u32::MAX, "too many RCU read sections inside one another");
        if sections == 0 {
            self.crowd.set(GRACE.enter_crowd());
        }
        self.crowded.set(sections + 1);
        self.crowding.set(crowding);
    }

    #[cold]
    fn leave_without(&self) {
        match self.crowded.get() {
            // The section ended with the thread's record, in a destructor of the ending thread.
            0 => {}
            1 => {
                let crowd = self.crowd.get();
                self.crowded.set(0);
                GRACE.leave_crowd(crowd);
            }
            sections => self.crowded.set(sections - 1),
        }
    }

    fn claim(&self) -> Option<&'static Record> {
        watch_forks();
        settle();
        let key = exit_key()?;
        let generation = os::fork::generation();
        let record = table::claim()?;
        let pointer = core::ptr::from_ref(record).cast_mut();
        if os::thread::set_at_exit(key, pointer.cast()).is_err() {
            record.release();
            return None;
        }
        if !self.record.set_once(pointer) {
            // A signal handler was quicker.
            record.release();
        } else if generation != os::fork::generation() {
            // A signal handler forked, and the child took the record for a vanished thread's.
            self.record.clear();
            return self.claim();
        }
        self.record()
    }
}

/// The key whose destructor releases a thread's record. Its number plus one, as a pointer: 0 is none yet.
static KEY: PublishedPtr<c_void> = PublishedPtr::new(null_mut());

fn exit_key() -> Option<u32> {
    let known = KEY.read().addr();
    if known == 0 {
        let key = os::thread::exit_key(thread_ends).ok()?;
        let marked = core::ptr::without_provenance_mut(key as usize + 1);
        if KEY.publish_if(null_mut(), marked) {
            return Some(key);
        }
        os::thread::drop_exit_key(key);
    }
    u32::try_from(KEY.read().addr() - 1).ok()
}

extern "C" fn thread_ends(_record: *mut c_void) {
    LOCAL.with(|local| {
        if let Some(record) = local.record() {
            // First: a handler that reads from now on claims a new one.
            local.record.clear();
            record.release();
        }
        if local.crowded.replace(0) > 0 {
            GRACE.leave_crowd(local.crowd.get());
        }
    });
}

/// Begins a read section. For bindings; [`super::read_lock`] is the same with a guard.
///
/// # Safety
/// [`read_unlock_raw`] is called on the same thread, once for each.
///
/// # Panics
/// With 65535 sections inside one another.
#[inline]
pub unsafe fn read_lock_raw() {
    enter();
}

/// Ends a read section that [`read_lock_raw`] began.
///
/// # Safety
/// The calling thread began one and has not ended it, and uses nothing any more that it read in it.
#[inline]
pub unsafe fn read_unlock_raw() {
    leave();
}

#[inline]
pub(super) fn enter() {
    LOCAL.with(|local| match local.record() {
        Some(record) => record.enter(&GRACE.seq, &GRACE.sides),
        None => local.enter_without(),
    });
}

#[inline]
pub(super) fn leave() {
    LOCAL.with(|local| match local.record() {
        Some(record) if record.leave() => {}
        _ => local.leave_without(),
    });
}

/// True if the calling thread is in a read section.
#[inline]
#[must_use]
pub fn is_reading() -> bool {
    LOCAL.with(|local| local.record().is_some_and(Record::is_reading) || local.crowded.get() > 0)
}

/// The calling thread's record, if it has one.
pub(super) fn mine() -> Option<&'static Record> {
    LOCAL.with(Local::record)
}

/// Readers' entries that had to do without a record.
pub(super) fn crowded() -> u64 {
    CROWDED.get()
}

static HOOKS: Hooks = Hooks::in_child(in_child);

/// Watches for forks from now on.
pub(super) fn watch_forks() {
    HOOKS.watch();
}

/// In a forked child: only the calling thread is there.
extern "C" fn in_child() {
    super::kept::KEPT.forget_others(super::seat::in_child());
    LOCAL.with(|local| {
        let mine = local.record();
        for record in table::all().filter(|record| record.is_claimed()) {
            if mine.is_some_and(|mine| core::ptr::eq(mine, record)) {
                record.rename(os::fork::generation(), os::thread::thread_id());
            } else {
                record.release();
            }
        }
        GRACE.reset_crowds((local.crowded.get() > 0).then(|| local.crowd.get()));
    });
}
