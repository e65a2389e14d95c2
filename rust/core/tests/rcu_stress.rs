//! RCU on real threads, with an oracle: what an updater took away is poisoned after its grace period, and a reader that meets
//! poison inside a section has been let down.
//!
//! `tools/planted.py` runs this on builds with a planted bug each, which it has to catch. `HAYBARN_RCU_ROUNDS` sets how many
//! updates each updater makes.

use haybarn::rcu;
use haybarn::sync::{Counter, Published};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

const READERS: usize = 3;
/// Places that readers look through.
const PLACES: usize = 4;
/// Nodes of each updater.
const NODES: usize = 64;
const POISON: u64 = 0xdead;
/// Lines that the reader of the second test dirties before it enters, so that its entry waits in the store buffer behind
/// misses: what hides a reader from a scan that has no membarrier. More than caches hold.
const COLD: usize = 1 << 20;

#[derive(Default)]
struct Node([Counter; 8]);

impl Node {
    fn fill(&self, word: u64) {
        self.0.iter().for_each(|place| place.set(word));
    }
}

struct World {
    nodes: Vec<Node>,
    /// Which node is to be seen, one for each place.
    places: Vec<Published>,
    /// Updaters that are not done.
    busy: Counter,
    violations: Counter,
    sections: Counter,
}

impl World {
    fn read_for_a_while(&self, reader: usize) {
        let mut state = reader as u64 + 1;
        while self.busy.get() > 0 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 40) as usize;
            let _section = rcu::read_lock();
            let node = &self.nodes[self.places[at % PLACES].read() as usize];
            // Short sections race with scans, long ones outlast them: now and then another thread has the CPU in the middle.
            let looks = if state >> 58 & 3 == 0 { 1 << 12 } else { 1 + (state >> 34 & 7) * 8 };
            for look in 0..looks {
                if look == looks / 2 && state >> 60 == 0 {
                    thread::yield_now();
                }
                if node.0.iter().any(|word| word.get() == POISON) {
                    self.violations.add(1);
                }
            }
            self.sections.add(1);
        }
    }

    /// Puts a fresh node in a place; gives the one that was there, which only this updater changes.
    fn replace(&self, place: usize, fresh: usize) -> usize {
        self.nodes[fresh].fill(fresh as u64);
        let old = self.places[place].read();
        self.places[place].publish(fresh as u64);
        old as usize
    }
}

/// How an updater waits for the period of `node`, and poisons it afterwards.
type Waits = fn(&Arc<World>, Vec<usize>);

fn synchronizes(world: &Arc<World>, nodes: Vec<usize>) {
    rcu::synchronize().unwrap();
    nodes.iter().for_each(|&node| world.nodes[node].fill(POISON));
}

fn polls(world: &Arc<World>, nodes: Vec<usize>) {
    let cookie = rcu::get_state();
    while !rcu::poll_state(cookie) {
        thread::yield_now();
    }
    nodes.iter().for_each(|&node| world.nodes[node].fill(POISON));
}

fn calls_back(world: &Arc<World>, nodes: Vec<usize>) {
    let (tell, hear) = channel();
    let mine = world.clone();
    rcu::call(Box::new(move || {
        nodes.iter().for_each(|&node| mine.nodes[node].fill(POISON));
        tell.send(()).unwrap();
    }));
    hear.recv().unwrap();
}

fn calls_and_waits_at_a_barrier(world: &Arc<World>, nodes: Vec<usize>) {
    let mine = world.clone();
    let last = nodes[nodes.len() - 1];
    rcu::call(Box::new(move || {
        // A barrier that is hasty comes back in the middle.
        thread::yield_now();
        nodes.iter().for_each(|&node| mine.nodes[node].fill(POISON));
    }));
    // Time for the service thread to take it up.
    thread::yield_now();
    rcu::barrier().unwrap();
    if world.nodes[last].0[7].get() != POISON {
        world.violations.add(1);
    }
}

/// One at a time: each wants the CPUs, and a period waits for all readers of the process.
static TURN: Mutex<()> = Mutex::new(());

fn rounds(usual: usize) -> usize {
    std::env::var("HAYBARN_RCU_ROUNDS").map_or(usual, |text| text.parse().unwrap())
}

#[test]
fn nobody_reads_what_was_reused() {
    let _alone = TURN.lock();
    let rounds = rounds(200);
    let ways: [Waits; PLACES] = [synchronizes, polls, calls_back, calls_and_waits_at_a_barrier];
    let world = Arc::new(World {
        nodes: (0..PLACES * NODES).map(|_| Node::default()).collect(),
        places: (0..PLACES).map(|place| Published::new((place * NODES) as u64)).collect(),
        busy: Counter::new(),
        violations: Counter::new(),
        sections: Counter::new(),
    });
    world.busy.add(PLACES as u64);
    thread::scope(|scope| {
        for reader in 0..READERS {
            let world = &world;
            scope.spawn(move || world.read_for_a_while(reader));
        }
        for (place, wait) in ways.into_iter().enumerate() {
            let world = &world;
            scope.spawn(move || {
                let mut fresh = 1;
                for round in 0..rounds {
                    let batch = 1 + round % 3;
                    let olds = (0..batch).map(|n| world.replace(place, place * NODES + (fresh + n) % NODES)).collect();
                    fresh += batch;
                    wait(world, olds);
                }
                world.busy.sub(1);
            });
        }
    });
    let stats = rcu::stats();
    println!("{} sections, {stats:?}", world.sections.get());
    assert_eq!(world.violations.get(), 0, "readers met poison inside their sections, or a barrier came back early");
    assert!(
        world.sections.get() > 0 && stats.grace_periods > 0 && stats.callbacks_run >= 2 * rounds as u64,
        "{stats:?}"
    );
}

/// One reader whose entries are slow to show, and one updater that does not hesitate.
#[test]
fn an_entry_that_waits_in_the_store_buffer_is_seen() {
    let _alone = TURN.lock();
    let rounds = rounds(200);
    let nodes: Vec<Node> = (0..NODES).map(|_| Node::default()).collect();
    let (place, done, violations, sections) = (Published::new(0), Published::new(0), Counter::new(), Counter::new());
    thread::scope(|scope| {
        scope.spawn(|| {
            let cold: Vec<[Counter; 8]> = (0..COLD).map(|_| Default::default()).collect();
            let mut state = 1u64;
            while done.read() == 0 {
                let mut at = 0;
                for _ in 0..80 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    at = (state >> 40) as usize % COLD;
                    cold[at][0].set(state);
                }
                let _section = rcu::read_lock();
                let node = &nodes[place.read() as usize];
                sections.add(1);
                violations.add(u64::from((0..2000 + at % 2000).any(|_| node.0[0].get() == POISON)));
            }
        });
        while sections.get() == 0 {
            thread::yield_now();
        }
        for round in 0..rounds * 200 {
            let fresh = (round + 1) % NODES;
            nodes[fresh].fill(fresh as u64);
            let old = place.read() as usize;
            place.publish(fresh as u64);
            let cookie = rcu::get_state();
            // The reader may be waiting for this CPU.
            while !rcu::poll_state(cookie) && !(0..100).any(|_| rcu::poll_state(cookie)) {
                thread::yield_now();
            }
            nodes[old].fill(POISON);
        }
        done.publish(1);
    });
    println!("{} sections", sections.get());
    assert_eq!(violations.get(), 0, "readers met poison inside their sections");
}
