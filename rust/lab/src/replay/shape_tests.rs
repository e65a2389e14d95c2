#![forbid(unsafe_code)]

use super::super::plan::{Origin, Plan, PlannedCache};
use super::super::sysfs::Sysfs;
use super::Shape;
use crate::trace::Reader;
use haybarn::SlabFlags;
use std::path::{Path, PathBuf};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn named(bytes_req: u32, bytes_alloc: u32) -> PlannedCache {
    PlannedCache {
        name: "x".into(),
        origin: Origin::Named,
        bytes_req,
        bytes_alloc,
        allocs: 1,
        frees: 0,
        peak_objects: 1,
    }
}

/// (size, align) of the shape, and its stride.
fn shape(bytes_req: u32, bytes_alloc: u32) -> (usize, usize, usize) {
    let shape = Shape::of(&named(bytes_req, bytes_alloc), None, 2).unwrap();
    (shape.object_size, shape.align, shape.geometry(2).unwrap().slab_size)
}

#[test]
fn strides_are_reached_by_alignment_and_else_by_size() {
    assert_eq!(shape(192, 192), (192, 0, 192));
    assert_eq!(shape(184, 192), (184, 16, 192));
    assert_eq!(shape(5840, 5888), (5840, 64, 5888));
    assert_eq!(shape(96, 104), (104, 0, 104));
    assert_eq!(shape(1120, 1128), (1128, 0, 1128));
    assert_eq!(shape(5, 8), (5, 0, 8));
}

#[test]
fn a_stride_out_of_reach_is_noted() {
    let shape = Shape::of(&named(10, 20), None, 2).unwrap();
    assert_eq!((shape.object_size, shape.geometry(2).unwrap().slab_size), (20, 24));
    assert_eq!(shape.notes.last().unwrap(), "stride 24 instead of the recorded bytes_alloc, 20");
}

/// Every cache of every trace gets the recorded stride, from its sizes alone and from the copy of sysfs, whose order and
/// objects it then has too (it was made on 2 CPUs).
#[test]
fn recorded_caches_have_the_recorded_shape() {
    let sysfs = Sysfs::read(&example("sysfs-slab-linux-6.18.json.gz")).unwrap();
    for name in ["kmem-gcc.ftrace.txt.gz", "kmem-git.ftrace.txt.gz", "kmem-ls.perf-script.txt.gz"] {
        let mut reader = Reader::new(true);
        reader.file(&example(name)).unwrap();
        for cache in Plan::new(&reader.finish()).caches {
            let from_trace = Shape::of(&cache, None, 2).unwrap();
            assert_eq!(from_trace.geometry(2).unwrap().slab_size, cache.bytes_alloc as usize, "{name} {cache:?}");
            let from_sysfs = Shape::of(&cache, Some(&sysfs), 2).unwrap();
            let wanted = sysfs.attributes(&cache.name).unwrap().unwrap();
            let made = from_sysfs.geometry(2).unwrap();
            let made = (made.slab_size, made.order, made.objs_per_slab);
            assert_eq!(made, (wanted.slab_size, wanted.order, wanted.objs_per_slab), "{name} {cache:?}");
        }
    }
}

#[test]
fn attributes_become_flags_or_notes() {
    let sysfs = Sysfs::read(&example("sysfs-slab-linux-6.18.json.gz")).unwrap();
    let filp = PlannedCache { name: "filp".into(), ..named(184, 192) };
    let shape = Shape::of(&filp, Some(&sysfs), 2).unwrap();
    assert_eq!((shape.flags, shape.align), (SlabFlags::HWCACHE_ALIGN, 64));
    assert_eq!(shape.notes, ["not taken: destroy_by_rcu"]);
    let unknown = Shape::of(&named(8, 8), Some(&sysfs), 2).unwrap();
    assert_eq!(unknown.notes, ["not in the copy of /sys/kernel/slab: sizes of the trace"]);
}
