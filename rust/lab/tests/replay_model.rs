//! Replays of the recorded traces on virtual CPUs against the model, event for event.

mod model;

use haybarn::{Arena, ArenaConfig, BackendKind, Stat};
use haybarn_lab::replay::{Op, Plan, Served, Shape, Sheaves, virtual_cpus};
use haybarn_lab::trace::Reader;
use model::{Level, Model, Numbers, Object};
use std::path::Path;

const TRACES: [&str; 3] = ["kmem-gcc.ftrace.txt.gz", "kmem-git.ftrace.txt.gz", "kmem-ls.perf-script.txt.gz"];

/// Counters that the policy does not speak of at zero: nothing drains, shrinks or falls back here.
const MODELLED: [Stat; 15] = [
    Stat::AllocFastpath,
    Stat::AllocSlowpath,
    Stat::FreeFastpath,
    Stat::FreeSlowpath,
    Stat::FreeAddPartial,
    Stat::FreeRemovePartial,
    Stat::AllocSlab,
    Stat::FreeSlab,
    Stat::SheafFlush,
    Stat::SheafRefill,
    Stat::SheafAlloc,
    Stat::BarnGet,
    Stat::BarnGetFail,
    Stat::BarnPut,
    Stat::BarnPutFail,
];

fn plan(name: &str) -> Plan {
    let mut reader = Reader::new(true);
    reader.file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)).unwrap();
    Plan::new(&reader.finish())
}

/// Runs a plan on virtual CPUs and on the model side by side. Gives the sum of all counters, so that a test can see that the
/// ways that it is about were gone.
fn compare(name: &str, plan: &Plan, cpus: u32, nodes: u32) -> impl Fn(Stat) -> u64 + use<> {
    let config = ArenaConfig {
        backend: Some(BackendKind::Virtual),
        cpus: Some(cpus),
        nodes,
        reserve: 1 << 30,
        ..ArenaConfig::default()
    };
    let arena = Arena::create(config).unwrap();
    let shapes: Vec<Shape> = plan.caches.iter().map(|cache| Shape::of(cache, None, cpus).unwrap()).collect();
    let sheaves = Sheaves::new(arena, plan, &shapes).unwrap();
    let mut models: Vec<Option<Model>> = (0..plan.caches.len() as u32)
        .map(|cache| {
            let info = sheaves.raw(cache)?.info();
            Some(Model::new(Numbers {
                cpus: cpus as usize,
                nodes: nodes as usize,
                capacity: info.sheaf_capacity as usize,
                stride: info.slab_size,
                objects_per_slab: info.objs_per_slab,
                min_partial: info.min_partial as usize,
            }))
        })
        .collect();
    let mut objects: Vec<Option<Object>> = vec![None; plan.objects.len()];
    let mut peaks = vec![(0, 0); plan.caches.len()];
    let mut live_bytes = vec![0u64; plan.caches.len()];

    let mut outcome = virtual_cpus::run(plan, &sheaves, |step| {
        let (cache, object) = (step.cache as usize, step.op.object as usize);
        let place = || format!("{name}, step {}, {:?}, cache {}", step.index, step.op, plan.caches[cache].name);
        let Some(model) = &mut models[cache] else {
            assert_eq!(step.served, (!step.op.free).then_some(Served::PageRun), "{}", place());
            return;
        };
        let cpu = usize::from(step.op.cpu);
        let bytes = u64::from(plan.objects[object].bytes_req);
        let level = if step.op.free {
            model.free(cpu, objects[object].take().unwrap());
            live_bytes[cache] -= bytes;
            None
        } else {
            let (given, level) = model.alloc(cpu);
            objects[object] = Some(given);
            live_bytes[cache] += bytes;
            Some(level)
        };
        assert_eq!(step.served, level.map(served), "{}", place());
        if model.slabs() > peaks[cache].0 {
            peaks[cache] = (model.slabs(), live_bytes[cache]);
        }
        let stats = sheaves.raw(step.cache).unwrap().stats();
        for stat in MODELLED {
            assert_eq!(stats.get(stat), model.counter(stat), "{} after {}", stat.name(), place());
        }
        assert_eq!(stats.slabs, model.slabs(), "slabs after {}", place());
    })
    .unwrap();

    for (cache, planned) in plan.caches.iter().enumerate() {
        let (peak, tally) = (outcome.peaks[cache], outcome.caches[cache]);
        assert_eq!(tally.served.iter().sum::<u64>(), tally.allocs, "{}", planned.name);
        assert_eq!((tally.allocs, tally.frees), (planned.allocs, planned.frees), "{}", planned.name);
        if models[cache].is_some() {
            assert_eq!((peak.usage.slabs, peak.live_bytes), peaks[cache], "{name}, cache {}", planned.name);
        }
    }
    let sums: Vec<u64> =
        MODELLED.iter().map(|&stat| models.iter().flatten().map(|model| model.counter(stat)).sum()).collect();
    outcome.close(plan, &sheaves, |cpu| haybarn::set_virtual_cpu(Some(u32::from(cpu))));
    assert_eq!(outcome.violations.texts, [""; 0], "{name}");
    move |stat| sums[MODELLED.iter().position(|&known| known == stat).unwrap()]
}

fn served(level: Level) -> Served {
    match level {
        Level::Sheaf => Served::Sheaf,
        Level::Barn => Served::Barn,
        Level::Partial => Served::Partial,
        Level::NewSlab => Served::NewSlab,
    }
}

#[test]
fn two_cpus_as_recorded() {
    for name in TRACES {
        let counted = compare(name, &plan(name), 2, 1);
        assert!(counted(Stat::AllocSlab) > 0 && counted(Stat::SheafRefill) > 0, "{name}");
        assert_eq!(counted(Stat::FreeSlowpath), 0, "{name}: one node has no remote frees");
    }
}

/// Steps spread over four CPUs by a hash of their number: objects change CPU and node all the time.
#[test]
fn four_cpus_on_two_nodes() {
    for name in TRACES {
        let mut plan = plan(name);
        plan.place(|index, _| ((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as u16);
        let counted = compare(name, &plan, 4, 2);
        assert!(counted(Stat::FreeSlowpath) > 0, "{name}: frees to the other node");
        assert!(counted(Stat::BarnPut) > 0 && counted(Stat::BarnGet) > 0, "{name}: the barn is used");
    }
}

/// What the recorded traces are too small for: a wave that fills barns, flushes sheaves and empties slabs.
#[test]
fn waves_that_overflow_the_barn() {
    let recorded = plan(TRACES[0]);
    let caches = ["filp", "vm_area_struct", "task_struct", "kmalloc-cg-2k"];
    let mut plan = Plan { caches: recorded.caches.clone(), objects: Vec::new(), ops: Vec::new(), ..recorded.clone() };
    for name in caches {
        let cache = plan.caches.iter().position(|cache| cache.name == name).expect("a cache of the trace");
        let sample = *recorded.objects.iter().find(|object| object.cache as usize == cache).unwrap();
        for wave in 0..3u16 {
            let first = plan.objects.len() as u32;
            let objects: Vec<u32> = (first..first + 2500).collect();
            plan.objects.resize(plan.objects.len() + objects.len(), sample);
            let cpu_of = |object: u32| (object / 700 + u32::from(wave)) as u16 % 4;
            plan.ops.extend(objects.iter().map(|&object| Op { object, cpu: cpu_of(object), free: false }));
            // Freed in another order than allocated (a stride that has no factor with the count), mostly where allocated.
            let mut order: Vec<u32> = (0..objects.len() as u32).map(|step| first + step * 1009 % 2500).collect();
            if wave == 1 {
                order.reverse();
            }
            plan.ops.extend(order.iter().map(|&object| Op {
                object,
                cpu: if object.is_multiple_of(7) { 0 } else { cpu_of(object) },
                free: true,
            }));
        }
    }
    for cache in &mut plan.caches {
        let waves = if caches.contains(&cache.name.as_str()) { 3 * 2500 } else { 0 };
        (cache.allocs, cache.frees) = (waves, waves);
    }
    let counted = compare("waves", &plan, 4, 2);
    for stat in [Stat::BarnPutFail, Stat::SheafFlush, Stat::FreeSlab, Stat::FreeRemovePartial, Stat::FreeSlowpath] {
        assert!(counted(stat) > 0, "{} stayed at zero", stat.name());
    }
}
