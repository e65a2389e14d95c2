//! A table that many threads read and one replaces, without a lock for readers: `cargo run --example rcu`.
//!
//! Who owns a table at each moment: its maker until it is published; all readers and the updater until it is replaced; the
//! callback from the end of the grace period on, which alone may drop it.

use haybarn::rcu;
use haybarn::sync::{Counter, Published};
use std::thread;

const TABLES: u64 = 1000;

/// Prices that belong together: a reader must see all of one table, never a mixture or a dropped one.
struct Table {
    version: u64,
    prices: Vec<u64>,
}

impl Table {
    fn new(version: u64) -> Self {
        Self { version, prices: (0..100).map(|item| version * 1000 + item).collect() }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // So that a reader which came too late would notice.
        self.prices.fill(u64::MAX);
        DROPPED.add(1);
    }
}

static DROPPED: Counter = Counter::new();

/// The address of the current table. [`Published`] is what a pointer swap with release and a load with acquire are.
struct Current(Published);

impl Current {
    fn new(table: Table) -> Self {
        Self(Published::new(Box::into_raw(Box::new(table)).expose_provenance() as u64))
    }

    /// Calls `look` with the table of this moment.
    fn with<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        let _section = rcu::read_lock();
        let table = core::ptr::with_exposed_provenance::<Table>(self.0.read() as usize);
        // SAFETY: published whole; whoever replaces it drops it a grace period later, which waits for this section.
        look(unsafe { &*table })
    }

    /// Replaces the table; the old one is dropped when nobody reads it any more. Does not wait.
    ///
    /// One thread at a time replaces.
    fn replace(&self, table: Table) {
        let old = self.0.read() as usize;
        self.0.publish(Box::into_raw(Box::new(table)).expose_provenance() as u64);
        rcu::call(Box::new(move || {
            // SAFETY: replaced above, so no section that begins later finds it, and all earlier ones have ended.
            drop(unsafe { Box::from_raw(core::ptr::with_exposed_provenance_mut::<Table>(old)) });
        }));
    }
}

/// Replaces the table many times under two readers; gives how many looks there were and how many tables were dropped.
fn trade() -> Result<(u64, u64), haybarn::Error> {
    let current = Current::new(Table::new(0));
    let (done, looks) = (Published::new(0), Counter::new());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while done.read() == 0 {
                    current.with(|table| {
                        assert!(table.version >= newest, "tables do not grow younger");
                        newest = table.version;
                        let right = |(item, &price): (usize, &u64)| price == newest * 1000 + item as u64;
                        assert!(table.prices.iter().enumerate().all(right), "a table is whole as long as it is read");
                    });
                    looks.add(1);
                }
            });
        }
        for version in 1..=TABLES {
            current.replace(Table::new(version));
            if version % 100 == 0 {
                thread::yield_now();
            }
        }
        done.publish(1);
    });
    // All callbacks have run; the current table is left.
    rcu::barrier()?;
    Ok((looks.get(), DROPPED.get()))
}

/// The example.
///
/// # Errors
/// A barrier's.
pub fn main() -> Result<(), haybarn::Error> {
    let (looks, dropped) = trade()?;
    assert_eq!(dropped, TABLES);
    println!("{looks} looks, {dropped} tables dropped, {:?}", rcu::stats());
    Ok(())
}
