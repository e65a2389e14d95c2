//! A signal handler that allocates what it hands to the program: `cargo run --example nolock`.
//!
//! A timer interrupts the program a thousand times a second, wherever it is, in the middle of the same cache's own steps too.
//! The handler takes an event from the cache, writes down what it saw and puts it on a stack; the program reads the events and
//! frees them the ordinary way. Who owns an event: the handler until it is on the stack, then whoever takes it off.

use haybarn::sync::{Counter, Published};
use haybarn::{CacheArgs, Owned, StaticCache};
use std::mem::zeroed;
use std::ptr::{NonNull, null_mut, with_exposed_provenance_mut};
use std::time::{Duration, Instant};

/// What the handler saw.
struct Event {
    /// Packets that the program had handled when it was interrupted.
    packets: u64,
    below: *mut Event,
}

static EVENTS: StaticCache<Event> = StaticCache::new("events");
/// The address of the newest event that the program has not seen; 0 for none.
static NEWEST: Published = Published::new(0);
static PACKETS: Counter = Counter::new();
static LOST: Counter = Counter::new();

extern "C" fn sample(_: libc::c_int) {
    // Nothing here waits, locks, or asks the system for memory.
    let Some(event) = EVENTS.alloc_raw_nolock() else {
        LOST.add(1);
        return;
    };
    let event = event.as_ptr();
    loop {
        let below = NEWEST.read();
        // SAFETY: the event is ours until it is on the stack.
        unsafe { event.write(Event { packets: PACKETS.get(), below: with_exposed_provenance_mut(below as usize) }) };
        if NEWEST.publish_if(below, event.expose_provenance() as u64).is_ok() {
            return;
        }
    }
}

/// Takes all events off the stack and frees them; how many, and the newest one's count.
fn take_events() -> (u64, u64) {
    let mut newest = NEWEST.read();
    while let Err(newer) = NEWEST.publish_if(newest, 0) {
        newest = newer;
    }
    let (mut taken, mut packets) = (0, 0);
    let mut newest = NonNull::new(with_exposed_provenance_mut(newest as usize));
    while let Some(event) = newest {
        // SAFETY: it was taken off the stack, so it is ours alone; it came from this cache and holds a value.
        let event = unsafe { Owned::from_raw(&EVENTS, event) };
        packets = packets.max(event.packets);
        taken += 1;
        newest = NonNull::new(event.below);
    }
    (taken, packets)
}

fn interrupt_every(period: Duration) {
    // SAFETY: all-zero values of both are valid; the handler calls only what is made for handlers.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = sample as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &raw const action, null_mut());
        let mut timer: libc::itimerval = zeroed();
        timer.it_interval.tv_usec = period.as_micros() as libc::suseconds_t;
        timer.it_value = timer.it_interval;
        libc::setitimer(libc::ITIMER_REAL, &raw const timer, null_mut());
    }
}

fn main() -> Result<(), haybarn::Error> {
    let seconds = std::env::args().nth(1).and_then(|seconds| seconds.parse().ok()).unwrap_or(1.0);
    EVENTS.setup(&CacheArgs::default())?;
    // What handlers allocate never comes from the system, so the cache gets its memory now.
    let first: Result<Vec<_>, _> = (0..1000).map(|_| EVENTS.alloc(Event { packets: 0, below: null_mut() })).collect();
    drop(first?);

    interrupt_every(Duration::from_millis(1));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let (mut events, mut packets) = (0, 0);
    while Instant::now() < end {
        // The program uses the same cache, so the handler comes in at every step of it.
        let batch: Result<Vec<_>, _> =
            (0..300).map(|_| EVENTS.alloc(Event { packets: 0, below: null_mut() })).collect();
        PACKETS.add(batch?.len() as u64);
        let (taken, seen) = take_events();
        events += taken;
        packets = packets.max(seen);
    }
    interrupt_every(Duration::ZERO);
    events += take_events().0;
    println!("{events} events from the handler, {} lost, the last after {packets} packets", LOST.get());
    Ok(())
}
