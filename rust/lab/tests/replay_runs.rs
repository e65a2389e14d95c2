//! Whole replays: every design, backend and engine over the recorded traces.

use haybarn::{Arena, ArenaConfig, BackendKind};
use haybarn_lab::replay::{
    Counts, Cpus, DesignKind, Options, Plan, ReplayError, Report, Shape, Sheaves, replay, threads,
};
use haybarn_lab::trace::{ReadError, Reader};
use std::path::{Path, PathBuf};

const TRACES: [&str; 3] = ["kmem-gcc.ftrace.txt.gz", "kmem-git.ftrace.txt.gz", "kmem-ls.perf-script.txt.gz"];

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn on(backend: BackendKind) -> Options {
    Options { backend: Some(backend), ..Options::default() }
}

/// The threaded backends that this machine has.
fn threaded() -> Vec<BackendKind> {
    let there = |&kind: &BackendKind| {
        Arena::create(ArenaConfig { backend: Some(kind), reserve: 1 << 30, ..ArenaConfig::default() }).is_ok()
    };
    [BackendKind::Rseq, BackendKind::Locked].into_iter().filter(there).collect()
}

fn run(files: &[&str], options: &Options) -> Report {
    let files: Vec<PathBuf> = files.iter().map(|name| example(name)).collect();
    let report = replay(&files, options).unwrap().report;
    assert_eq!(report.violation_texts, [""; 0], "{files:?} {options:?}");
    adds_up(&report);
    report
}

/// The identities that hold in every report.
fn adds_up(report: &Report) {
    let counts = &report.totals;
    assert_eq!(counts.allocs - counts.frees, counts.live_at_end);
    let frees = counts.frees - report.implied_frees + report.null_frees + report.unmatched_frees;
    assert_eq!(report.lines.events, counts.allocs + report.failed_allocs + frees);
    let levels = |counts: &Counts| {
        let Counts { served_sheaf, served_barn, served_partial, served_new_slab, served_page_run, .. } = *counts;
        [served_sheaf, served_barn, served_partial, served_new_slab, served_page_run]
    };
    let sum = |count: fn(&Counts) -> u64| report.caches.values().map(|cache| count(&cache.counts)).sum::<u64>();
    assert_eq!(sum(|counts| counts.allocs), counts.allocs);
    assert_eq!(sum(|counts| counts.frees), counts.frees);
    for (name, cache) in &report.caches {
        assert_eq!(cache.counts.allocs - cache.counts.frees, cache.counts.live_at_end, "{name}");
        assert!(cache.peak_objects >= cache.counts.live_at_end && cache.peak_objects <= cache.counts.allocs, "{name}");
        let served = levels(&cache.counts);
        if report.design == "system" {
            assert_eq!((served, cache.peak_slabs, cache.peak_bytes, cache.waste_bytes), ([None; 5], None, None, None));
            continue;
        }
        assert_eq!(served.into_iter().flatten().sum::<u64>(), cache.counts.allocs, "{name}");
        let (bytes, waste) = (cache.peak_bytes.unwrap(), cache.waste_bytes.unwrap());
        assert!(cache.peak_slabs.unwrap() > 0 && bytes > 0 && waste < bytes, "{name} {cache:?}");
        if let Some(made) = &cache.made {
            assert_eq!(bytes, cache.peak_slabs.unwrap() * (4096 << made.order), "{name}");
        }
    }
    assert!(levels(counts).iter().all(|level| level.is_none() == (report.design == "system")));
}

/// (events, allocs, implied, null, unmatched, live) as an independent script counted them.
#[test]
fn counts_are_those_of_an_independent_script() {
    for (name, wanted) in TRACES.into_iter().zip([
        [36_635, 18_435, 2_120, 2_801, 7, 923],
        [30_358, 15_320, 784, 2_518, 4, 2_020],
        [25_018, 11_438, 4, 1_452, 1_340, 646],
    ]) {
        let report = run(&[name], &on(BackendKind::Virtual));
        let Counts { allocs, live_at_end, .. } = report.totals;
        let Report { implied_frees, null_frees, unmatched_frees, .. } = report;
        assert_eq!(
            [report.lines.events, allocs, implied_frees, null_frees, unmatched_frees, live_at_end],
            wanted,
            "{name}"
        );
    }
}

#[test]
fn virtual_replays_are_equal_byte_for_byte() {
    let text = |options: &Options, name| serde_json::to_string(&run(&[name], options)).unwrap();
    for name in TRACES {
        let recorded = on(BackendKind::Virtual);
        assert_eq!(text(&recorded, name), text(&recorded, name), "{name}");
        let many = Options { cpus: Cpus::Modulo(7), nodes: Some(3), ..recorded };
        assert_eq!(text(&many, name), text(&many, name), "{name}");
    }
}

#[test]
fn every_trace_runs_on_threads_of_every_backend() {
    let backends = threaded();
    assert!(!backends.is_empty());
    for name in TRACES {
        let reference = run(&[name], &on(BackendKind::Virtual));
        for &backend in &backends {
            for cpus in [Cpus::Recorded, Cpus::Modulo(1)] {
                let report = run(&[name], &Options { cpus, ..on(backend) });
                let wanted = if cpus == Cpus::Recorded { reference.recorded_cpus.len() } else { 1 };
                assert_eq!((report.threads as usize, report.cpus.len()), (wanted, wanted), "{name} {backend}");
                assert_eq!(report.backend, Some(backend.to_string()));
                for (cache, there) in &reference.caches {
                    let here = &report.caches[cache];
                    let counts = |counts: &Counts| (counts.allocs, counts.frees, counts.live_at_end);
                    assert_eq!(counts(&here.counts), counts(&there.counts), "{name} {backend} {cache}");
                    assert_eq!(here.peak_objects, there.peak_objects, "{name} {backend} {cache}");
                    let counts_hits = here.counters.contains_key("alloc_fastpath");
                    assert_eq!(counts_hits, here.made.is_some() && backend != BackendKind::Rseq, "{name} {cache}");
                }
                assert!(report.seconds.is_some_and(|seconds| seconds.read > 0.0 && seconds.replay > 0.0));
            }
        }
    }
}

/// Steps spread over eight threads by a hash of their number: nearly every object is freed by another thread than the one that
/// allocated it, and threads wait for each other all the time.
#[test]
fn objects_that_change_threads_all_the_time() {
    let mut reader = Reader::new(true);
    reader.file(&example(TRACES[0])).unwrap();
    let mut plan = Plan::new(&reader.finish());
    plan.place(|index, _| ((index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as u16);
    let shapes: Vec<Shape> = plan.caches.iter().map(|cache| Shape::of(cache, None, 2).unwrap()).collect();
    for backend in threaded() {
        let config = ArenaConfig { backend: Some(backend), reserve: 1 << 30, ..ArenaConfig::default() };
        let sheaves = Sheaves::new(Arena::create(config).unwrap(), &plan, &shapes).unwrap();
        let mut outcome = threads::run(&plan, &sheaves).unwrap();
        assert_eq!(outcome.threads, 8);
        assert_eq!(outcome.live.len() as u64, plan.caches.iter().map(|cache| cache.live()).sum::<u64>());
        outcome.close(&plan, &sheaves, |_| ());
        assert_eq!(outcome.violations.texts, [""; 0], "{backend}");
    }
}

#[test]
fn the_system_serves_the_same_objects() {
    let system = Options { design: DesignKind::System, ..Options::default() };
    let on_one = Options { backend: Some(BackendKind::Virtual), ..system.clone() };
    for options in [system, on_one] {
        let report = run(&[TRACES[0]], &options);
        assert_eq!((report.totals.allocs, report.totals.live_at_end), (18_435, 923));
    }
}

#[test]
fn several_files_are_one_stream_with_their_own_pointers() {
    let all = run(&TRACES, &on(BackendKind::Virtual));
    let each: Vec<Report> = TRACES.iter().map(|name| run(&[name], &on(BackendKind::Virtual))).collect();
    let sum = |count: fn(&Report) -> u64| each.iter().map(count).sum::<u64>();
    assert_eq!(all.lines.events, sum(|report| report.lines.events));
    assert_eq!(all.totals.live_at_end, sum(|report| report.totals.live_at_end));
    assert_eq!(all.implied_frees, sum(|report| report.implied_frees));
    assert_eq!(all.files.len(), 3);
}

#[test]
fn shapes_come_from_a_copy_of_sysfs() {
    let caches = Some(example("sysfs-slab-linux-6.18.json.gz"));
    let report = run(&[TRACES[0]], &Options { caches, ..on(BackendKind::Virtual) });
    let filp = &report.caches["filp"];
    let made = filp.made.as_ref().unwrap();
    assert_eq!((made.object_size, made.slab_size, made.order, made.objs_per_slab), (184, 192, 0, 21));
    assert_eq!(filp.notes, ["not taken: destroy_by_rcu"]);
    let anon_vma = report.caches["anon_vma"].made.as_ref().unwrap();
    assert_eq!((anon_vma.slab_size, anon_vma.objs_per_slab), (104, 39));
    let missing = Options { caches: Some("/nonexistent.json".into()), ..on(BackendKind::Virtual) };
    assert!(matches!(replay(&[example(TRACES[0])], &missing), Err(ReplayError::Sysfs(_))));
}

#[test]
fn large_kmallocs_are_page_runs_and_odd_names_are_taken() {
    let line = |cpu: u32, event: &str| format!("            task-1       [{cpu:03}] .....     1.000001: {event}\n");
    let sizes = |req: u32, alloc: u32| {
        format!("bytes_req={req} bytes_alloc={alloc} gfp_flags=GFP_KERNEL node=-1 accounted=false")
    };
    let text = ["# tracer: nop\n".to_owned()]
        .into_iter()
        .chain([
            line(0, &format!("kmalloc: call_site=a ptr=0000000000000a00 {}", sizes(9000, 16384))),
            line(3, &format!("kmalloc: call_site=a ptr=0000000000000b00 {}", sizes(5_000_000, 8 << 20))),
            line(1, "kfree: call_site=a ptr=0000000000000a00"),
            line(
                1,
                &format!("kmem_cache_alloc: call_site=a ptr=0000000000000c00 name=an odd/name {}", sizes(100, 104)),
            ),
            line(1, &format!("kmem_cache_alloc: call_site=a ptr=0000000000000000 name=filp {}", sizes(100, 104))),
        ])
        .collect::<String>();
    let path = std::env::temp_dir().join(format!("haybarn-large-{}", std::process::id()));
    std::fs::write(&path, text).unwrap();
    for options in [on(BackendKind::Virtual), on(threaded()[0])] {
        let report = replay(std::slice::from_ref(&path), &options).unwrap().report;
        adds_up(&report);
        assert_eq!((report.violations, report.failed_allocs), (0, 1));
        let large = &report.caches["kmalloc-large"];
        assert_eq!((large.counts.allocs, large.counts.served_page_run, large.counts.live_at_end), (2, Some(2), 1));
        assert!(matches!(large.peak_slabs, Some(1 | 2)), "{large:?}");
        assert_eq!(report.caches["an odd/name"].counts.served_new_slab, Some(1));
        assert_eq!(report.recorded_cpus, [0, 1, 3]);
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_does_not_go_together_is_refused() {
    let files = [example(TRACES[0])];
    let nodes = Options { nodes: Some(2), ..on(BackendKind::Locked) };
    let system = Options { design: DesignKind::System, ..on(BackendKind::Locked) };
    for options in [nodes, system] {
        assert!(matches!(replay(&files, &options), Err(ReplayError::Usage(_))), "{options:?}");
    }
    let missing = replay(&["/nonexistent".into()], &on(BackendKind::Virtual));
    assert!(matches!(missing, Err(ReplayError::Read(ReadError::Io { .. }))));
}
