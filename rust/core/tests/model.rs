//! Any cache, under any operations, against a model that knows only what a user may expect: objects are apart and aligned,
//! keep their contents, come back when they are freed, and the counters agree with the count of live objects at every step.

mod support;

use haybarn::{
    AllocFlags, Arena, ArenaConfig, BackendKind, CacheArgs, Form, RawCache, RawPrefilled, SlabFlags, Stat,
    set_virtual_cpu,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;
use support::*;

#[derive(Clone, Debug)]
enum Op {
    Alloc { count: usize, flags: u32, counted: bool },
    AllocNode { node: u32, this_node: bool },
    AllocLevel,
    AllocBulk { count: usize, zero: bool },
    Prefill { n: usize },
    Take { at: usize, count: usize, zero: bool },
    RefillSheaf { at: usize, n: usize },
    Return { at: usize },
    Free { at: usize, count: usize, counted: bool },
    FreeBulk { at: usize, count: usize, backwards: bool },
    FreeAll,
    Cpu(u32),
    Shrink,
    Validate,
    FreeRcu { at: usize, count: usize, bulk: bool },
    RcuBarrier,
    Trim,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1..150_usize, 0..16_u32, any::<bool>())
            .prop_map(|(count, flags, counted)| Op::Alloc { count, flags, counted }),
        1 => (0..70_u32, any::<bool>()).prop_map(|(node, this_node)| Op::AllocNode { node, this_node }),
        1 => Just(Op::AllocLevel),
        2 => (0..300_usize, any::<bool>()).prop_map(|(count, zero)| Op::AllocBulk { count, zero }),
        2 => prop_oneof![4 => 1..60_usize, 1 => 60..1500_usize].prop_map(|n| Op::Prefill { n }),
        3 => (any::<usize>(), 0..80_usize, any::<bool>()).prop_map(|(at, count, zero)| Op::Take { at, count, zero }),
        1 => (any::<usize>(), 1..100_usize).prop_map(|(at, n)| Op::RefillSheaf { at, n }),
        2 => any::<usize>().prop_map(|at| Op::Return { at }),
        4 => (any::<usize>(), 1..200_usize, any::<bool>())
            .prop_map(|(at, count, counted)| Op::Free { at, count, counted }),
        3 => (any::<usize>(), 0..300_usize, any::<bool>())
            .prop_map(|(at, count, backwards)| Op::FreeBulk { at, count, backwards }),
        1 => Just(Op::FreeAll),
        3 => (0..100_u32).prop_map(Op::Cpu),
        1 => Just(Op::Shrink),
        1 => Just(Op::Validate),
        2 => (any::<usize>(), 1..200_usize, any::<bool>()).prop_map(|(at, count, bulk)| Op::FreeRcu { at, count, bulk }),
        1 => Just(Op::RcuBarrier),
        1 => Just(Op::Trim),
    ]
}

#[derive(Clone, Debug)]
struct Made {
    size: usize,
    args: CacheArgs,
}

fn made() -> impl Strategy<Value = Made> {
    let size = prop_oneof![3 => 1..=64_usize, 4 => 8..=1024_usize, 2 => 1024..=9000_usize, 1 => Just(40_000_usize)];
    let align = prop_oneof![3 => Just(0), 1 => (0..=12_u32).prop_map(|shift| 1_usize << shift)];
    let capacity = prop_oneof![3 => Just(0), 2 => 1..=100_u32, 1 => Just(1020_u32)];
    let flags = prop_oneof![
        4 => Just(SlabFlags::empty()),
        1 => Just(SlabFlags::NOLEAKTRACE),
        1 => Just(SlabFlags::HWCACHE_ALIGN | SlabFlags::TYPESAFE_BY_RCU),
    ];
    (size, align, capacity, flags, 0..=4_u8, any::<bool>(), any::<bool>()).prop_map(
        |(size, align, sheaf_capacity, flags, min_order, count_hits, encode_freeptr)| {
            let args = CacheArgs {
                align,
                flags,
                sheaf_capacity,
                min_order,
                count_hits,
                encode_freeptr,
                ..CacheArgs::default()
            };
            Made { size, args }
        },
    )
}

/// Arenas live as long as the process: one for each kind, made at its first use.
fn arena_of(kind: BackendKind, form: Form, nodes: u32) -> Option<&'static Arena> {
    type Key = (BackendKind, Form, u32);
    static MADE: Mutex<Vec<(Key, Option<&'static Arena>)>> = Mutex::new(Vec::new());
    let mut made = MADE.lock().unwrap();
    if let Some(&(_, arena)) = made.iter().find(|&&(key, _)| key == (kind, form, nodes)) {
        return arena;
    }
    let is_virtual = kind == BackendKind::Virtual;
    let config = ArenaConfig {
        cpus: is_virtual.then_some(2 * nodes),
        nodes: if is_virtual { nodes } else { 0 },
        ..config(kind, form)
    };
    let arena = arena(config);
    made.push(((kind, form, nodes), arena));
    arena
}

struct Model {
    cache: RawCache,
    size: usize,
    align: usize,
    /// Address to the stamp that the object was filled with.
    live: BTreeMap<usize, u8>,
    /// Prefilled sheaves that are out.
    out: Vec<RawPrefilled>,
    allocated: u64,
    freed: u64,
}

impl Model {
    fn got(&mut self, object: NonNull<u8>, zero: bool) {
        let address = object.addr().get();
        assert!(address.is_multiple_of(self.align), "{address:#x} is not aligned to {}", self.align);
        let below = self.live.range(..=address).next_back();
        assert!(below.is_none_or(|(&other, _)| other + self.size <= address), "{address:#x} overlaps {below:?}");
        let above = self.live.range(address..).next();
        assert!(above.is_none_or(|(&other, _)| address + self.size <= other), "{address:#x} overlaps {above:?}");
        assert!(self.cache.check(object.as_ptr()).is_ok());
        let stamp = (self.allocated % 251) as u8 + 1;
        // SAFETY: the object is ours and `size` bytes.
        unsafe {
            let bytes = std::slice::from_raw_parts_mut(object.as_ptr(), self.size);
            assert!(!zero || bytes.iter().all(|&byte| byte == 0), "asked for zeros");
            bytes.fill(stamp);
        }
        self.live.insert(address, stamp);
        self.allocated += 1;
    }

    fn pick(&self, at: usize, count: usize) -> Vec<NonNull<u8>> {
        let start = if self.live.is_empty() { 0 } else { at % self.live.len() };
        // Every third from there on, so that slabs are freed in part.
        let step = 1 + at % 3;
        let chosen = self.live.keys().skip(start).step_by(step).take(count);
        chosen.map(|&address| NonNull::new(std::ptr::with_exposed_provenance_mut(address)).unwrap()).collect()
    }

    fn gone(&mut self, object: NonNull<u8>) {
        let stamp = self.live.remove(&object.addr().get()).unwrap();
        // SAFETY: still ours.
        let bytes = unsafe { std::slice::from_raw_parts(object.as_ptr(), self.size) };
        assert!(bytes.iter().all(|&byte| byte == stamp), "somebody wrote to {object:p}");
        self.freed += 1;
    }

    fn apply(&mut self, op: &Op) {
        let cache = self.cache;
        match *op {
            Op::Alloc { count, flags, counted } => {
                let flags = AllocFlags::from_bits_truncate(flags);
                for _ in 0..count {
                    let object = if counted { cache.alloc_counted(flags) } else { cache.alloc(flags) };
                    self.got(object.expect("memory"), flags.contains(AllocFlags::ZERO));
                }
            }
            Op::AllocNode { node, this_node } => {
                let flags = if this_node { AllocFlags::THISNODE } else { PLAIN };
                self.got(cache.alloc_node(flags, node).expect("memory"), false);
            }
            Op::AllocLevel => self.got(cache.alloc_level(PLAIN).expect("memory").0, false),
            Op::AllocBulk { count, zero } => {
                let mut out = vec![null_mut(); count];
                assert!(cache.alloc_bulk(if zero { AllocFlags::ZERO } else { PLAIN }, &mut out));
                for object in out {
                    self.got(NonNull::new(object).unwrap(), zero);
                }
            }
            Op::Prefill { n } => {
                let sheaf = cache.prefill(PLAIN, n).expect("memory");
                assert!(sheaf.len() >= n);
                self.out.push(sheaf);
            }
            Op::Take { at, count, zero } if !self.out.is_empty() => {
                let at = at % self.out.len();
                for _ in 0..count {
                    let (sheaf, flags) = (&mut self.out[at], if zero { AllocFlags::ZERO } else { PLAIN });
                    let before = sheaf.len();
                    let taken = sheaf.alloc(flags);
                    assert_eq!((taken.is_some(), sheaf.len()), (before > 0, before.saturating_sub(1)));
                    let Some(object) = taken else { break };
                    self.got(object, zero);
                }
            }
            Op::RefillSheaf { at, n } if !self.out.is_empty() => {
                let at = at % self.out.len();
                self.out[at].refill(PLAIN, n).expect("memory");
                assert!(self.out[at].len() >= n);
            }
            Op::Return { at } if !self.out.is_empty() => {
                let at = at % self.out.len();
                self.out.swap_remove(at).give_back();
            }
            Op::Take { .. } | Op::RefillSheaf { .. } | Op::Return { .. } => {}
            Op::Free { at, count, counted } => {
                for object in self.pick(at, count) {
                    self.gone(object);
                    // SAFETY: ours, and gone from the model.
                    unsafe { if counted { cache.free_counted(object) } else { cache.free(object) } }
                }
            }
            Op::FreeBulk { at, count, backwards } => {
                let mut objects = self.pick(at, count);
                if backwards {
                    objects.reverse();
                }
                objects.iter().for_each(|&object| self.gone(object));
                give_bulk(cache, &objects);
            }
            Op::FreeAll => {
                let objects = self.pick(0, usize::MAX);
                objects.iter().for_each(|&object| self.gone(object));
                give(cache, objects);
            }
            Op::Cpu(cpu) => set_virtual_cpu(Some(cpu)),
            Op::Shrink => {
                let slabs = cache.stats().slabs;
                assert!(cache.shrink() <= slabs);
                audit_drained(cache, self.live.len());
                // Only slabs that hold an object which is live or set aside are left.
                let set_aside = self.out.iter().map(RawPrefilled::len).sum::<usize>();
                assert!(cache.stats().slabs <= (self.live.len() + set_aside) as u64 + cache.rcu_pending());
            }
            Op::FreeRcu { at, count, bulk } => {
                let objects = self.pick(at, count);
                objects.iter().for_each(|&object| self.gone(object));
                let mut all: Vec<_> = objects.iter().map(|object| object.as_ptr()).collect();
                // SAFETY: ours, and gone from the model.
                unsafe {
                    if bulk {
                        cache.free_rcu_bulk(&mut all).unwrap();
                    } else {
                        objects.into_iter().for_each(|object| cache.free_rcu(object).unwrap());
                    }
                }
            }
            Op::RcuBarrier => {
                cache.rcu_barrier().unwrap();
                assert_eq!(cache.rcu_pending(), 0);
            }
            Op::Validate => audit_drained(cache, self.live.len()),
            Op::Trim => drop(cache.arena().trim()),
        }
        audit(cache, self.live.len());
        let out = (self.out.len() as u64, self.out.iter().map(|sheaf| sheaf.len() as u64).sum::<u64>());
        assert_eq!((cache.stats().prefilled, cache.stats().in_prefilled), out);
        if cache.info().counts_hits {
            let stats = cache.stats();
            let taken = [Stat::AllocFastpath, Stat::AllocSlowpath, Stat::AllocPrefilled];
            assert_eq!(taken.iter().map(|&stat| stats.get(stat)).sum::<u64>(), self.allocated);
            let by_rcu = stats.get(Stat::FreeRcuSheaf) + stats.get(Stat::FreeRcuSheafFail);
            assert_eq!(stats.get(Stat::FreeFastpath) + stats.get(Stat::FreeSlowpath) + by_rcu, self.freed);
        }
    }
}

fn run(kind: BackendKind, form: Form, nodes: u32, made: &Made, ops: &[Op]) {
    let Some(arena) = arena_of(kind, form, nodes) else { return };
    set_virtual_cpu(None);
    // It would change counters while they are compared.
    haybarn::service::stop();
    let name = format!("model-{:?}", std::thread::current().id());
    let cache = create(arena, &name, made.size, &made.args);
    let align = cache.info().align;
    assert!(align >= made.args.align.max(8));
    let mut model =
        Model { cache, size: made.size, align, live: BTreeMap::new(), out: Vec::new(), allocated: 0, freed: 0 };
    for op in ops {
        model.apply(op);
    }
    model.out.clear();
    model.apply(&Op::FreeAll);
    model.apply(&Op::RcuBarrier);
    end(cache);
    set_virtual_cpu(None);
}

/// One thread on `virtual` is deterministic: the same operations leave the same counters, addresses and all.
#[test]
fn virtual_repeats_itself() {
    for form in FORMS {
        let outcome = |_| {
            let arena = arena(ArenaConfig { cpus: Some(4), nodes: 2, ..config(BackendKind::Virtual, form) }).unwrap();
            let cache = create(arena, "repeated", 200, &CacheArgs { sheaf_capacity: 6, ..CacheArgs::default() });
            let (mut held, mut state) = (Vec::new(), 7_u32);
            let mut levels = String::new();
            for _ in 0..20_000 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                set_virtual_cpu(Some(state >> 27));
                if held.is_empty() || state & 1 << 18 != 0 {
                    let (object, level) = cache.alloc_level(PLAIN).unwrap();
                    held.push(object);
                    levels += &format!("{level:?} {:?} ", cache.check(object.as_ptr()).unwrap());
                } else {
                    give(cache, [held.swap_remove((state >> 4) as usize % held.len())]);
                }
            }
            let stats = format!("{:?}", cache.stats());
            give(cache, held);
            end(cache);
            set_virtual_cpu(None);
            (levels, stats)
        };
        let [first, second] = [0, 1].map(outcome);
        assert!(first == second, "{form:?}: two runs differ");
    }
}

fn form() -> impl Strategy<Value = Form> {
    prop_oneof![Just(Form::Double), Just(Form::Packed)]
}

/// Cases of each property; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|number| number.parse().ok()).unwrap_or(100)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rseq(form in form(), made in made(), ops in vec(op(), 1..40)) {
        run(BackendKind::Rseq, form, 1, &made, &ops);
    }

    #[test]
    fn locked(form in form(), made in made(), ops in vec(op(), 1..40)) {
        run(BackendKind::Locked, form, 1, &made, &ops);
    }

    #[test]
    fn virtual_on_one_to_three_nodes(form in form(), nodes in 1..=3_u32, made in made(), ops in vec(op(), 1..40)) {
        run(BackendKind::Virtual, form, nodes, &made, &ops);
    }
}
