//! A routing table that is read without a lock and changed at any time: `cargo run --release --example free_rcu [SECONDS] [BACKEND]`.
//!
//! Readers look a route up inside a read section and use it as long as they like; a writer publishes a new route in its place
//! and frees the old one after a grace period. For so many seconds (default 0.5) two writers do that as fast as they can while
//! a reader looks; then the program says how much memory that took at most.

use haybarn::{Arena, ArenaConfig, BackendKind, CacheArgs, Error, KmemCache, kfree_rcu, rcu, set_virtual_cpu};
use std::fs;
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;
use std::time::{Duration, Instant};

const ROUTES: usize = 256;

/// What readers find: whole, or not at all.
struct Route {
    hop: u64,
    /// Says whether the two words belong together.
    check: u64,
}

/// Published routes. `haybarn::sync` has no public pointer of this kind, and needs none: a lock for writers and a word that is
/// read with acquire order is all.
struct Table {
    places: Vec<haybarn::sync::Published>,
    writers: Mutex<()>,
}

impl Table {
    fn new() -> Self {
        Self { places: (0..ROUTES).map(|_| haybarn::sync::Published::new(0)).collect(), writers: Mutex::new(()) }
    }

    /// Runs `look` on a route, if there is one.
    fn with<R>(&self, n: usize, look: impl FnOnce(&Route) -> R) -> Option<R> {
        let _reading = rcu::read_lock();
        let route = std::ptr::with_exposed_provenance::<Route>(self.places[n].read() as usize);
        // SAFETY: a route is published whole, and freed after a grace period only: not before this section ends.
        unsafe { route.as_ref() }.map(look)
    }

    /// Publishes a route; the one whose place it takes is freed when its readers have left.
    fn replace(&self, cache: &KmemCache<Route>, n: usize, route: Option<Route>) -> Result<(), Error> {
        let new = match route {
            Some(route) => haybarn::Owned::into_raw(cache.alloc(route)?).as_ptr(),
            None => null_mut(),
        };
        let writing = self.writers.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let old = self.places[n].read();
        self.places[n].publish(new.expose_provenance() as u64);
        drop(writing);
        if let Some(old) = NonNull::new(std::ptr::with_exposed_provenance_mut::<Route>(old as usize)) {
            // SAFETY: it came out of a box above, and we took it out of the table.
            let old = unsafe { haybarn::Owned::from_raw(cache, old) };
            kfree_rcu(old).map_err(|(error, _)| error)?;
        }
        Ok(())
    }
}

/// Pages that the process has in memory, in KiB.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let time = Duration::from_secs_f64(arguments.next().map_or(Ok(0.5), |text| text.parse())?);
    let backend = arguments.next().map(|name| name.parse::<BackendKind>()).transpose()?;
    let arena = Arena::create(ArenaConfig { backend, ..ArenaConfig::default() })?;
    let (cache, table) = (KmemCache::<Route>::create_in(arena, "routes", &CacheArgs::default())?, Table::new());
    let (begun, before) = (Instant::now(), resident());
    let write = |thread: u64| -> Result<u64, Error> {
        set_virtual_cpu(Some(thread as u32));
        let mut n = thread;
        while begun.elapsed() < time {
            for _ in 0..1000 {
                n += 2;
                table.replace(&cache, n as usize % ROUTES, Some(Route { hop: n, check: !n }))?;
            }
        }
        Ok(n / 2)
    };
    let read = || {
        let (mut looks, mut most, mut pending) = (0_u64, 0, 0);
        while begun.elapsed() < time {
            for n in 0..10 * ROUTES {
                let whole = table.with(n % ROUTES, |route| route.check == !route.hop);
                assert_ne!(whole, Some(false), "a reader found a route that is not one");
                looks += 1;
            }
            most = resident().max(most);
            pending = cache.stats().rcu_pending.max(pending);
        }
        (looks, most, pending)
    };
    let (written, (looks, most, pending)) = std::thread::scope(|scope| {
        let writers = [0, 1].map(|thread| scope.spawn(move || write(thread)));
        let seen = read();
        let written = writers.map(|writer| writer.join().expect("no panic"));
        (written, seen)
    });
    let written = written.into_iter().sum::<Result<u64, Error>>()?;
    for n in 0..ROUTES {
        table.replace(&cache, n, None)?;
    }
    cache.rcu_barrier()?;
    assert_eq!(cache.stats().objects, 0, "after a barrier everything is free");
    println!("{}: {written} routes replaced and {looks} looked up in {:.1} s", arena.backend(), time.as_secs_f64());
    println!("at most {pending} routes waited for readers; resident memory {before} KiB before, {most} KiB at most");
    Ok(())
}
