//! Names under random programs, against a model that knows only the rules of docs/merging.md: which names share, who is the
//! primary, what each counts, how many objects are live, and whose end is refused.

mod support;

use haybarn::{
    AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, CacheName, CacheStorage, CtorError, Error, Form, Hooks,
    RawCache, SlabFlags, set_virtual_cpu,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::ptr::NonNull;
use std::sync::Arc;
use support::*;

/// What a name is asked to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Reclaim,
    Dma,
    NoMerge,
    Typesafe,
    NoLeakTrace,
    Ctor,
    Capacity,
    MinOrder,
    Usercopy,
    CountHits,
    Encoded,
    /// The mechanism below names.
    Alone,
    /// In storage of its own.
    Prealloc,
    /// In storage whose owner may go.
    Owned,
}

#[derive(Clone, Debug)]
enum Op {
    Create { text: usize, size: usize, align: usize, kind: Kind },
    Alloc { name: usize, count: usize, zero: bool },
    Free { name: usize, count: usize },
    FreeRcu { name: usize },
    Destroy { name: usize },
    DestroyAgain { name: usize },
    Shrink { name: usize },
}

const TEXTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    let apart = vec![NoMerge, Typesafe, NoLeakTrace, Ctor, Capacity, MinOrder, Usercopy, CountHits, Encoded, Alone];
    prop_oneof![
        6 => Just(Plain),
        1 => prop_oneof![Just(Reclaim), Just(Dma)],
        2 => prop::sample::select(apart),
        1 => Just(Prealloc),
        2 => Just(Owned),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let size = prop_oneof![4 => 57..=64_usize, 2 => 193..=200_usize, 1 => 1..=300_usize];
    let align = prop_oneof![5 => Just(0_usize), 1 => (3..=8_u32).prop_map(|shift| 1 << shift)];
    let name = any::<usize>;
    prop_oneof![
        6 => (0..TEXTS.len(), size, align, kind())
            .prop_map(|(text, size, align, kind)| Op::Create { text, size, align, kind }),
        4 => (name(), 1..80_usize, any::<bool>()).prop_map(|(name, count, zero)| Op::Alloc { name, count, zero }),
        4 => (name(), 1..100_usize).prop_map(|(name, count)| Op::Free { name, count }),
        1 => name().prop_map(|name| Op::FreeRcu { name }),
        6 => name().prop_map(|name| Op::Destroy { name }),
        1 => name().prop_map(|name| Op::DestroyAgain { name }),
        1 => name().prop_map(|name| Op::Shrink { name }),
    ]
}

struct Nothing;

impl Hooks for Nothing {
    fn construct(&self, _: NonNull<u8>) -> Result<(), CtorError> {
        Ok(())
    }

    fn destruct(&self, _: NonNull<u8>) {}
}

/// Storage, as the model has it.
#[derive(Default)]
struct Shared {
    stride: usize,
    flags: SlabFlags,
    apart: bool,
    /// What the largest name that it ever had shows.
    largest: usize,
    departed: (u64, u64),
    live: Vec<NonNull<u8>>,
    gone: bool,
}

/// A living name, as the model has it; hidden where nobody made it.
struct Known {
    text: String,
    of: usize,
    size: usize,
    behind: bool,
    calls: (u64, u64),
    made: Option<Made>,
}

struct Made {
    name: CacheName,
    storage: Option<Arc<CacheStorage>>,
}

struct World {
    arena: &'static Arena,
    /// Oldest first, those that have ended too.
    shared: Vec<Shared>,
    /// Oldest first.
    names: Vec<Known>,
    ended: Vec<CacheName>,
}

fn args(kind: Kind, align: usize) -> CacheArgs {
    let args = CacheArgs { align, ..CacheArgs::default() };
    let flags = |flags| CacheArgs { flags, ..args.clone() };
    match kind {
        Kind::Plain | Kind::Alone | Kind::Prealloc => args,
        Kind::Reclaim => flags(SlabFlags::RECLAIM_ACCOUNT),
        Kind::Dma => flags(SlabFlags::CACHE_DMA),
        Kind::NoMerge => flags(SlabFlags::NO_MERGE),
        Kind::Typesafe => flags(SlabFlags::TYPESAFE_BY_RCU),
        Kind::NoLeakTrace => flags(SlabFlags::NOLEAKTRACE),
        Kind::Ctor => CacheArgs { hooks: Some(Arc::new(Nothing)), ..args },
        Kind::Capacity => CacheArgs { sheaf_capacity: 7, ..args },
        Kind::MinOrder => CacheArgs { min_order: 1, ..args },
        Kind::Usercopy => CacheArgs { usercopy: Some((0, 1)), ..args },
        Kind::CountHits => CacheArgs { count_hits: true, ..args },
        Kind::Encoded => CacheArgs { encode_freeptr: true, ..args },
        Kind::Owned => CacheArgs { owner: Some(Arc::new(())), ..args },
    }
}

fn is_apart(kind: Kind) -> bool {
    !matches!(kind, Kind::Plain | Kind::Reclaim | Kind::Dma | Kind::Prealloc | Kind::Owned)
}

impl World {
    fn names_of(&self, of: usize) -> impl Iterator<Item = &Known> {
        self.names.iter().filter(move |name| name.of == of)
    }

    /// The visible names' places, and one of them by a random number.
    fn pick(&self, at: usize) -> Option<usize> {
        let visible: Vec<_> = (0..self.names.len()).filter(|&n| self.names[n].made.is_some()).collect();
        (!visible.is_empty()).then(|| visible[at % visible.len()])
    }

    fn raw(&self, n: usize) -> RawCache {
        let made = self.names[n].made.as_ref().expect("a visible name");
        // SAFETY: the program uses living names only.
        unsafe { made.name.raw() }
    }

    /// A hidden name: by its kind and stride, with a number where one reads the same.
    fn hide(&mut self, of: usize) {
        let shared = &self.shared[of];
        let kind = match shared.flags {
            SlabFlags::RECLAIM_ACCOUNT => "a-",
            SlabFlags::CACHE_DMA => "d-",
            _ => "",
        };
        let id = format!(":{kind}{:07}", shared.stride);
        let taken = |text: &str| self.names.iter().any(|name| name.text == text);
        let text = std::iter::once(id.clone()).chain((2..).map(|n| format!("{id}:{n}"))).find(|text| !taken(text));
        let (text, size) = (text.expect("one is free"), shared.largest);
        self.names.push(Known { text, of, size, behind: false, calls: (0, 0), made: None });
    }

    fn create(&mut self, text: &str, size: usize, align: usize, kind: Kind) {
        let (args, mut storage) = (args(kind, align), None);
        let made = match kind {
            Kind::Alone => RawCache::create(self.arena, text, size, &args)
                .map(|_| self.arena.find_name(text).expect("it was made just now")),
            Kind::Prealloc | Kind::Owned => {
                storage.insert(Arc::new(CacheStorage::new())).setup_shared(self.arena, text, size, &args)
            }
            _ => CacheName::create(self.arena, text, size, &args),
        };
        if self.names.iter().any(|name| name.text == text) {
            let refused = made.map(|name| name.name().to_owned());
            assert!(matches!(refused, Err(Error::BadArgument { argument: "name", .. })), "{refused:?}");
            return;
        }
        let name = made.expect("legal arguments");
        let (align, flags, apart) = (align.max(8), args.flags, is_apart(kind));
        let needed = size.next_multiple_of(8).next_multiple_of(align);
        let fits = |shared: &Shared| {
            let near = shared.stride >= needed && shared.stride - needed < 8 && shared.stride.is_multiple_of(align);
            !shared.gone && !shared.apart && shared.flags == flags && near
        };
        let joined = if apart || kind == Kind::Prealloc { None } else { self.shared.iter().position(fits) };
        let of = joined.unwrap_or_else(|| {
            // What is apart may have another stride than its size: nobody compares it.
            self.shared.push(Shared { stride: needed, flags, apart, ..Shared::default() });
            self.shared.len() - 1
        });
        self.shared[of].largest = self.shared[of].largest.max(size);
        if joined.is_none() && kind == Kind::Owned {
            self.hide(of);
        }
        let (text, made) = (text.to_owned(), Some(Made { name, storage }));
        self.names.push(Known { text, of, size, behind: kind == Kind::Owned, calls: (0, 0), made });
    }

    fn alloc(&mut self, n: usize, count: usize, zero: bool) {
        let (raw, shared) = (self.raw(n), &mut self.shared[self.names[n].of]);
        // Some kinds refuse zeroes or keep what lies in a free object.
        let zero = zero && !shared.apart;
        for _ in 0..count {
            let flags = if zero { AllocFlags::ZERO } else { PLAIN };
            let object = raw.alloc(flags).expect("memory");
            assert!(!shared.live.contains(&object), "handed out twice");
            if !shared.apart {
                // SAFETY: so many bytes of the object are ours; what was written to them or cleared is the least of it.
                unsafe {
                    if zero {
                        let bytes = std::slice::from_raw_parts(object.as_ptr(), shared.largest);
                        assert!(bytes.iter().all(|&byte| byte == 0), "ZERO left {bytes:x?}");
                    }
                    object.as_ptr().write_bytes(0xa5, shared.largest);
                }
            }
            shared.live.push(object);
        }
        self.count(n, count as u64, 0);
    }

    fn count(&mut self, n: usize, allocs: u64, frees: u64) {
        let known = &mut self.names[n];
        known.calls = (known.calls.0 + allocs, known.calls.1 + frees);
        known.made.as_ref().expect("a visible name").name.count(allocs, frees);
    }

    fn free(&mut self, n: usize, count: usize, later: bool) {
        let (raw, shared) = (self.raw(n), &mut self.shared[self.names[n].of]);
        let count = count.min(shared.live.len());
        for object in shared.live.drain(..count) {
            // SAFETY: allocated from this storage, freed once.
            unsafe { if later { raw.free_rcu(object).expect("no callback runs") } else { raw.free(object) } };
        }
        self.count(n, 0, count as u64);
    }

    fn destroy(&mut self, n: usize) {
        let of = self.names[n].of;
        let others = self.names_of(of).filter(|name| name.made.is_some()).count() - 1;
        let Made { name, storage } = self.names[n].made.as_ref().expect("a visible name");
        // SAFETY: objects that are live under it are the others', as the model has it.
        let ended = unsafe { storage.as_ref().map_or_else(|| name.destroy(), |storage| storage.destroy()) };
        let live = self.shared[of].live.len() as u64;
        if others == 0 && live > 0 {
            let Err(Error::CacheBusy { cache, live: told, .. }) = &ended else { panic!("{ended:?}") };
            assert_eq!((cache, *told), (&self.names[n].text, live));
            return;
        }
        assert_eq!(ended, Ok(()));
        let known = self.names.remove(n);
        self.ended.extend(known.made.map(|made| made.name.keeping_nothing()));
        let shared = &mut self.shared[of];
        shared.departed = (shared.departed.0 + known.calls.0, shared.departed.1 + known.calls.1);
        if others == 0 {
            shared.gone = true;
            self.names.retain(|name| name.of != of);
        } else if self.names_of(of).all(|name| name.behind) {
            self.hide(of);
        }
    }

    /// Compares all that names say with the model.
    fn audit(&self) {
        let texts: Vec<_> = self.names.iter().map(|name| name.text.clone()).collect();
        assert_eq!(self.arena.cache_names(), texts);
        for known in &self.names {
            let Some(Made { name, .. }) = &known.made else { continue };
            let shared = &self.shared[known.of];
            let primary = self.names_of(known.of).find(|name| !name.behind).expect("somebody stands for it");
            let others = self.names_of(known.of).filter(|other| other.made.is_some() && other.text != known.text);
            let others: Vec<_> = others.map(|other| other.text.clone()).collect();
            assert_eq!(name.primary().as_ref(), Some(&primary.text), "the primary of {}", known.text);
            assert_eq!(name.is_primary(), primary.text == known.text);
            assert_eq!((name.is_shared(), name.aliases()), (!others.is_empty(), others), "of {}", known.text);
            assert_eq!((name.name(), name.object_size()), (known.text.as_str(), known.size));
            assert_eq!(name.calls(), known.calls, "what {} counted", known.text);
            assert_eq!(name.departed_calls(), shared.departed, "what names counted that left {}", known.text);
            // SAFETY: the name is living.
            let raw = unsafe { name.raw() };
            assert_eq!(raw.object_size(), shared.largest);
            let stats = raw.stats();
            assert_eq!(stats.objects - stats.rcu_pending, shared.live.len() as u64, "live objects of {}", known.text);
            for other in self.names.iter().filter_map(|other| Some((other.of, other.made.as_ref()?))) {
                assert_eq!(other.0 == known.of, other.1.name.storage_id() == name.storage_id());
            }
        }
        for name in &self.ended {
            assert!(!name.is_living() && name.primary().is_none() && name.aliases().is_empty());
        }
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Create { text, size, align, kind } => self.create(TEXTS[text], size, align, kind),
            Op::DestroyAgain { name } => {
                if let Some(ended) = self.ended.get(name % self.ended.len().max(1)) {
                    // SAFETY: it has ended: nothing happens.
                    let refused = unsafe { ended.destroy() };
                    assert_eq!(refused, Err(Error::Destroyed { cache: ended.name().to_owned() }));
                }
            }
            Op::Alloc { name, .. }
            | Op::Free { name, .. }
            | Op::FreeRcu { name }
            | Op::Destroy { name }
            | Op::Shrink { name } => {
                let Some(n) = self.pick(name) else { return };
                match *op {
                    Op::Alloc { count, zero, .. } => self.alloc(n, count, zero),
                    Op::Free { count, .. } => self.free(n, count, false),
                    Op::FreeRcu { .. } => self.free(n, 3, true),
                    Op::Shrink { .. } => drop(self.raw(n).shrink()),
                    _ => self.destroy(n),
                }
            }
        }
        self.audit();
    }
}

fn run(backend: BackendKind, ops: &[Op]) {
    let cpus = (backend == BackendKind::Virtual).then_some(2);
    let small = ArenaConfig { cpus, reserve: 64 << 20, ..config(backend, Form::Packed) };
    let Some(arena) = arena(small) else { return };
    set_virtual_cpu(Some(0));
    let mut world = World { arena, shared: vec![], names: vec![], ended: vec![] };
    ops.iter().for_each(|op| world.step(op));
    while let Some(n) = world.pick(0) {
        world.free(n, usize::MAX, false);
        world.destroy(n);
        world.audit();
    }
    assert_eq!((arena.names().len(), arena.info().used), (0, 0), "something is left when all names have ended");
}

/// Of each property; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rseq(ops in vec(op(), 1..60)) {
        run(BackendKind::Rseq, &ops);
    }

    #[test]
    fn locked(ops in vec(op(), 1..60)) {
        run(BackendKind::Locked, &ops);
    }

    #[test]
    fn virtual_cpus(ops in vec(op(), 1..60)) {
        run(BackendKind::Virtual, &ops);
    }
}
