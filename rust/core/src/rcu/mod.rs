//! RCU: readers that pay next to nothing, and updaters that wait until no reader can still see what they took away.
//!
//! | file | idea |
//! |---|---|
//! | `grace`, `record` | the algorithm: the sequence of grace periods, and what each reader shows |
//! | `local`, `table` | the calling thread's record, and all records |
//! | `wait` | waiting and polling |
//! | `stall` | reports of readers that stay |
//! | `queue`, `pending`, `callbacks` | callbacks and the barrier |
//! | `turnstile`, `seat` | short visits that somebody else may want to end, and count |
//! | `here`, `kept` | the calling thread during one call, and the pointers that it keeps |
//! | `domain`, `guard`, `counts` | the process's one instance, a section as a value, counters |
//!
//! ```
//! use haybarn::rcu;
//! use std::sync::atomic::{AtomicPtr, Ordering};
//!
//! static CURRENT: AtomicPtr<String> = AtomicPtr::new(std::ptr::null_mut());
//!
//! let old = CURRENT.swap(Box::into_raw(Box::new("new".to_owned())), Ordering::AcqRel);
//! {
//!     let _reading = rcu::read_lock();
//!     // SAFETY: published whole, and not freed before this section ends.
//!     assert_eq!(unsafe { CURRENT.load(Ordering::Acquire).as_ref() }.unwrap(), "new");
//! }
//! rcu::synchronize()?; // no reader sees `old` any more: it may be freed
//! assert!(old.is_null());
//! # Ok::<(), haybarn::Error>(())
//! ```
//!
//! The whole story, with costs, fork, stalls and exit, is in docs/rcu.md.

#[cfg(not(loom))]
mod callbacks;
#[cfg(not(loom))]
mod counts;
#[cfg(not(loom))]
mod domain;
mod grace;
#[cfg(not(loom))]
mod guard;
#[cfg(not(loom))]
mod here;
mod kept;
#[cfg(not(loom))]
mod local;
#[cfg(not(loom))]
mod pending;
#[cfg(any(not(loom), test))]
mod queue;
mod record;
mod seat;
#[cfg(not(loom))]
mod stall;
#[cfg(not(loom))]
mod table;
mod turnstile;
#[cfg(not(loom))]
mod wait;

#[cfg(not(loom))]
pub use callbacks::{barrier, barrier_while, call, flushers, on_barrier};
#[cfg(not(loom))]
pub use counts::{Stats, stats};
#[cfg(not(loom))]
pub use domain::reader_fence;
#[cfg(not(loom))]
pub use guard::{ReadGuard, read_lock};
#[cfg(not(loom))]
pub use here::Here;
#[cfg(not(loom))]
pub use local::{is_reading, read_lock_raw, read_unlock_raw};
#[cfg(not(loom))]
pub use pending::Flush;
#[cfg(not(loom))]
pub use seat::{Watched, watch_thread};
#[cfg(not(loom))]
pub use stall::{set_stall_timeout, stall_timeout};
#[cfg(not(loom))]
pub use turnstile::{Kind, Turnstile, Visit};
#[cfg(not(loom))]
pub use wait::{Cookie, cond_synchronize, get_state, poll_state, synchronize};
#[cfg(not(loom))]
pub(crate) use wait::{Pause, look_for_stalls, poll_quietly, wait_for, watch_forks};
