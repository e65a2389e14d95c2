#![forbid(unsafe_code)]
//! The only place that knows which model checker is running.
//!
//! Everything above takes its atomics from here, so that the code that ships is the code that is checked. Under loom the
//! atomics are loom's own, which do not fit into mapped memory: models build their structures in ordinary memory. Under
//! shuttle they are the real ones with a scheduling point before each step, so whole caches run, memory layout and all.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, fence};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::AtomicU32;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use core::sync::atomic::{AtomicU64, fence};

#[cfg(all(test, shuttle, not(loom)))]
pub(crate) use stepped::scheduled;
#[cfg(all(shuttle, not(loom)))]
pub(crate) use stepped::{AtomicU64, fence};
#[cfg(all(shuttle, not(loom)))]
pub(crate) use stepped::{step, yield_to_others};

#[cfg(all(shuttle, not(loom)))]
mod stepped {
    use core::sync::atomic::{AtomicU64 as Real, Ordering};

    std::thread_local! {
        /// Whether this thread runs a schedule: all tasks of one are the same thread to the system.
        static SCHEDULED: core::cell::Cell<bool> = const { core::cell::Cell::new(false) };
    }

    /// Runs one schedule's main task. What its arena was made with, before, has no scheduler to ask.
    #[cfg(test)]
    pub fn scheduled(body: impl FnOnce()) {
        // Over also by a panic: what the thread does at its end has no scheduler either.
        struct Over;
        impl Drop for Over {
            fn drop(&mut self) {
                SCHEDULED.set(false);
            }
        }
        let _over = Over;
        SCHEDULED.set(true);
        body();
    }

    /// A place to switch.
    pub fn step() {
        if SCHEDULED.get() {
            // A switch and nothing else. `yield_now` would ask to be put behind the others, at every step.
            shuttle::thread::sleep(core::time::Duration::ZERO);
        }
    }

    /// For who waits for another thread.
    pub fn yield_to_others() {
        if SCHEDULED.get() {
            shuttle::thread::yield_now();
        } else {
            std::thread::yield_now();
        }
    }

    pub fn fence(order: Ordering) {
        step();
        core::sync::atomic::fence(order);
    }

    #[repr(transparent)]
    #[derive(Debug, Default)]
    pub struct AtomicU64(Real);

    impl AtomicU64 {
        pub const fn new(value: u64) -> Self {
            Self(Real::new(value))
        }
        pub fn as_ptr(&self) -> *mut u64 {
            self.0.as_ptr()
        }
        pub fn load(&self, order: Ordering) -> u64 {
            step();
            self.0.load(order)
        }
        pub fn store(&self, value: u64, order: Ordering) {
            step();
            self.0.store(value, order);
        }
        pub fn fetch_add(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_add(value, order)
        }
        pub fn fetch_sub(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_sub(value, order)
        }
        pub fn fetch_and(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_and(value, order)
        }
        pub fn fetch_or(&self, value: u64, order: Ordering) -> u64 {
            step();
            self.0.fetch_or(value, order)
        }
        pub fn compare_exchange(&self, old: u64, new: u64, ok: Ordering, no: Ordering) -> Result<u64, u64> {
            step();
            self.0.compare_exchange(old, new, ok, no)
        }
    }
}
