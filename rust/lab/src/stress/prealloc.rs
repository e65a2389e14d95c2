//! prealloc: storages that many threads use for the first time, set up, end and read, all at once.
#![forbid(unsafe_code)]

use super::field::CacheSpec;
use super::live::Live;
use super::needs::Needs;
use super::no_cache::NoCache;
use super::scenario::{Scenario, Setup, Work};
use super::site::{Owner, Setting, Site, Token};
use super::worker::Worker;
use crate::oracle::subject::Counter::{self, FirstUse, NewSlab, Refill, Setup as SetUp, SetupMet, StorageRead, UseMet};
use crate::oracle::{Counters, Kind, Watched};
use crossbeam_utils::atomic::AtomicCell;
use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

pub const SCENARIO: Scenario = Scenario {
    name: "prealloc",
    about: "storages are used for the first time, set up, ended and read by many threads at once",
    needs: Needs::everywhere(&[Refill, NewSlab, FirstUse, SetUp, SetupMet, StorageRead], &[UseMet]),
    prepare: |setup: &Setup<'_>| {
        let place = |(spec, owned): &(CacheSpec, bool)| Place::new(setup, *spec, *owned);
        Ok(Box::new(Prealloc { places: SPECS.iter().map(place).collect(), ended: Mutex::default() }))
    },
};

/// Sizes so far apart that none is merged into another. The second says whether the storage has an owner.
const SPECS: [(CacheSpec, bool); 5] = [
    (CacheSpec::plain(48), true),
    (CacheSpec::plain(112), false),
    (CacheSpec::counted(240), true),
    (CacheSpec::counted(656), false),
    (CacheSpec::plain(4096), true),
];

/// Readers that a thread keeps for a while.
const READERS: usize = 3;

struct Prealloc {
    places: Vec<Place>,
    ended: Mutex<Counters>,
}

/// A storage and what the oracle knows of it.
struct Place {
    site: Box<dyn Site>,
    spec: CacheSpec,
    owned: bool,
    /// Read by those who use the cache, written by who ends it: users promise not to be there then.
    epoch: RwLock<Epoch>,
    /// Readers that there are, or are about to be.
    readers: AtomicCell<u64>,
    /// Owners that live.
    alive: Arc<AtomicCell<u64>>,
    counts: [AtomicCell<u64>; 5],
}

/// From one setup to the end.
#[derive(Default)]
struct Epoch {
    /// The cache, as the first of its users has seen it.
    cache: OnceLock<(u64, Watched)>,
    /// How often it was made, as far as makers can tell.
    made: AtomicCell<u64>,
}

type Reader = (usize, Box<dyn Any + Send>);

impl Work for Prealloc {
    fn work(&self, worker: &mut Worker<'_>) {
        let mut readers: Vec<Reader> = Vec::new();
        while worker.go_on() {
            let index = worker.rng.below(self.places.len());
            let place = &self.places[index];
            match worker.rng.below(16) {
                0 | 1 => self.end(worker, place),
                2 => readers.extend(place.reader().map(|reader| (index, reader))),
                _ => place.use_it(worker),
            }
            if readers.len() > READERS || (!readers.is_empty() && worker.rng.one_in(16)) {
                let (index, reader) = readers.swap_remove(worker.rng.below(readers.len()));
                self.places[index].let_go(reader);
            }
            if worker.rng.one_in(64) {
                worker.hop();
            }
        }
        for (index, reader) in readers {
            self.places[index].let_go(reader);
        }
    }

    fn settle(&self, worker: &mut Worker<'_>) {
        self.places.iter().for_each(|place| self.end(worker, place));
    }

    fn into_caches(self: Box<Self>) -> Vec<Watched> {
        Vec::new()
    }

    fn ended(&self) -> Counters {
        let mut sum = *self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        for place in &self.places {
            sum.add(&Counters::read(|counter| place.count(counter).map_or(0, AtomicCell::load)));
        }
        sum
    }
}

impl Prealloc {
    /// Ends the cache of a place if nobody is at work there, and looks whether owner and storage wait for their readers.
    fn end(&self, worker: &mut Worker<'_>, place: &Place) {
        let Ok(mut epoch) = place.epoch.try_write() else { return };
        let Epoch { cache, .. } = std::mem::take(&mut *epoch);
        let Some((_, watched)) = cache.into_inner() else { return };
        let reader = place.reader();
        let counters = worker.close(watched);
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).add(&counters);
        if !worker.clean() {
            return;
        }
        let Some(reader) = reader else {
            return place.wrong(worker, "the attributes of a cache that is there".into(), "none".into());
        };
        let (early, alive) = (place.site.setup(None), place.alive.load());
        if !matches!(early, Ok(Setting::Read)) {
            place.wrong(worker, "no setup while attributes are being read".into(), format!("{early:?}"));
        }
        if place.owned && alive == 0 {
            place.wrong(worker, "an owner that stays until its last reader lets go".into(), "none".into());
        }
        place.tally(StorageRead, 1);
        place.let_go(reader);
        // Nobody comes here by now, so that nothing that is alive can be another's.
        if place.readers.load() == 0 && place.alive.load() != 0 {
            place.wrong(worker, "no owner after the last reader".into(), format!("{} of them", place.alive.load()));
        }
    }
}

impl Place {
    fn new(setup: &Setup<'_>, spec: CacheSpec, owned: bool) -> Self {
        Self {
            site: setup.field.site("prealloc", spec),
            spec,
            owned,
            epoch: RwLock::default(),
            readers: AtomicCell::new(0),
            alive: Arc::default(),
            counts: Default::default(),
        }
    }

    fn count(&self, counter: Counter) -> Option<&AtomicCell<u64>> {
        let at = [FirstUse, SetUp, SetupMet, StorageRead, UseMet].iter().position(|&own| own == counter)?;
        Some(&self.counts[at])
    }

    fn tally(&self, counter: Counter, n: u64) {
        self.count(counter).expect("a counter of this scenario").fetch_add(n);
    }

    fn reader(&self) -> Option<Box<dyn Any + Send>> {
        self.readers.fetch_add(1);
        let reader = self.site.reader();
        if reader.is_none() {
            self.readers.fetch_sub(1);
        }
        reader
    }

    fn let_go(&self, reader: Box<dyn Any + Send>) {
        drop(reader);
        self.readers.fetch_sub(1);
    }

    fn wrong(&self, worker: &Worker<'_>, expected: String, seen: String) {
        let name = format!("prealloc-{}", self.spec.size);
        worker.report_about(Kind::Lifetime, &name, 0, expected, seen);
    }

    /// A first use or a setup, then some objects.
    fn use_it(&self, worker: &mut Worker<'_>) {
        // Who waits for an end comes together with all others who do, to a storage that is free.
        let epoch = self.epoch.read().unwrap_or_else(PoisonError::into_inner);
        let token = self.owned.then(|| Token::new(&self.alive));
        let owner = token.clone().map(|token| token as Owner);
        let (was_up, readers) = (self.site.is_up(), self.readers.load());
        let is_setup = worker.rng.one_in(4);
        let set = if is_setup { self.site.setup(owner) } else { self.site.first_use(owner) };
        worker.count(1);
        let kept = token.is_some_and(|token| Arc::strong_count(&token) > 1);
        let made = kept || (is_setup && matches!(set, Ok(Setting::Cache(_))));
        match set {
            Ok(Setting::Cache(_)) if made && was_up => {
                self.wrong(worker, "one cache in a storage".into(), "it was made again".into());
            }
            Ok(Setting::Cache(id)) => {
                let counter = if is_setup { SetUp } else { FirstUse };
                self.tally(counter, u64::from(made));
                // It was not there, and another thread made it meanwhile.
                self.tally(UseMet, u64::from(!made && !was_up));
                if made && epoch.made.fetch_add(1) > 0 {
                    return self.wrong(worker, "one thread to make the cache".into(), "two did".into());
                }
                self.take_some(worker, &epoch, id);
            }
            Ok(Setting::Already) if is_setup => self.tally(SetupMet, 1),
            Ok(Setting::Read) if readers > 0 => {}
            Err(NoCache::OutOfMemory(_)) if worker.expects_refusals() => worker.refused(),
            refused => self.wrong(worker, "a cache at its first use".into(), format!("{refused:?}")),
        }
    }

    fn take_some(&self, worker: &mut Worker<'_>, epoch: &Epoch, id: u64) {
        let watch = || {
            let subject = self.site.subject();
            (id, Watched::new(subject.expect("a cache that nobody ends"), self.spec.watched_bytes()))
        };
        let (first, watched) = epoch.cache.get_or_init(watch);
        if *first != id {
            return self.wrong(worker, format!("the cache {first:#x} for everyone"), format!("{id:#x}"));
        }
        let mut live = Live::default();
        for _ in 0..worker.rng.between(1, 40) {
            live.extend(worker.alloc(watched));
        }
        worker.free_all(watched, &mut live);
    }
}
