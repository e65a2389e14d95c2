#![forbid(unsafe_code)]
//! Our geometry against Linux's own: every cache of a recorded 6.18 host, and of the running kernel where it can be read.

use std::collections::BTreeMap;
use std::path::Path;
use std::{fs, io};

use haybarn::slab::geometry::{PAGE_SIZE, default_cpus};
use haybarn::{Geometry, GeometryRequest, SlabFlags, geometry};

#[path = "support/linux.rs"]
mod linux;

use linux::{Attributes, FLAG_ATTRIBUTES, number, recorded, shown_flags};

/// A fact about a cache that no attribute shows, without which its numbers cannot be computed.
struct Exception {
    cache: &'static str,
    reason: &'static str,
    adjust: fn(&mut GeometryRequest),
}

const EXCEPTIONS: &[Exception] = &[Exception {
    cache: "vm_area_struct",
    reason: "type-safe with a free-pointer offset of its own, so that 192 bytes need no extra word",
    adjust: keep_free_pointer_inside,
}];

fn keep_free_pointer_inside(request: &mut GeometryRequest) {
    request.freeptr_offset = Some(0);
}

/// What the cache was created with, as far as its attributes show. A kmalloc size class gets no alignment from there: it has
/// to follow from its size.
fn request(name: &str, attributes: &Attributes, cpus: u32) -> GeometryRequest {
    let mut request = GeometryRequest::new(number(attributes, "object_size"), cpus);
    request.flags = shown_flags(attributes);
    let align = number(attributes, "align");
    // A merged size class has lost its name; no other cache has an alignment above a page.
    if name.starts_with("kmalloc-") || name.starts_with("dma-kmalloc-") || align > PAGE_SIZE {
        request.flags |= SlabFlags::KMALLOC;
    } else {
        request.align = align;
    }
    request.has_ctor = !attributes["ctor"].trim().is_empty();
    request
}

/// (stride, order, objects, alignment)
type Shape = (usize, usize, usize, usize);

fn theirs(attributes: &Attributes) -> Shape {
    let [stride, order, objects, align] =
        ["slab_size", "order", "objs_per_slab", "align"].map(|name| number(attributes, name));
    (stride, order, objects, align)
}

fn ours(request: &GeometryRequest) -> (Shape, Geometry) {
    let g = geometry(request).unwrap_or_else(|error| panic!("{request:?}: {error}"));
    ((g.slab_size, g.order.into(), g.objs_per_slab as usize, g.align), g)
}

const RECORDED_CPUS: u32 = 2;

#[test]
fn every_recorded_cache_has_linux_shape() {
    let caches = recorded();
    for (name, attributes) in &caches {
        let mut request = request(name, attributes, RECORDED_CPUS);
        if let Some(exception) = EXCEPTIONS.iter().find(|exception| exception.cache == name) {
            (exception.adjust)(&mut request);
        }
        let (shape, g) = ours(&request);
        assert_eq!(shape, theirs(attributes), "{name}: {request:?}");
        assert_eq!(g.min_partial as usize, number(attributes, "min_partial"), "{name}");
    }
}

#[test]
fn every_exception_is_still_needed() {
    let caches = recorded();
    for Exception { cache, reason, .. } in EXCEPTIONS {
        let attributes = caches.get(*cache).unwrap_or_else(|| panic!("no cache {cache}: {reason}"));
        let (shape, _) = ours(&request(cache, attributes, RECORDED_CPUS));
        assert_ne!(shape, theirs(attributes), "{cache} matches without its exception: {reason}");
    }
}

#[test]
fn the_running_kernel_agrees() {
    let (caches, cpus) = match comparable().and_then(|()| Ok((live_caches()?, live_cpus()?))) {
        Ok(live) => live,
        Err(why) => return eprintln!("skipped: the running kernel cannot be compared: {why}"),
    };
    let mut unshown = Vec::new();
    for (name, attributes) in &caches {
        let mut request = request(name, attributes, cpus);
        if ours(&request).0 != theirs(attributes) && (request.has_ctor || number(attributes, "destroy_by_rcu") == 1) {
            keep_free_pointer_inside(&mut request);
            unshown.push(name.as_str());
        }
        assert_eq!(ours(&request).0, theirs(attributes), "{name} on {cpus} CPUs: {request:?}");
    }
    eprintln!("{} live caches agree; with a free-pointer offset that is not shown: {unshown:?}", caches.len());
}

/// Whether the running kernel computes by the rules that we follow.
fn comparable() -> io::Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut version = release.split(['.', '-']).map_while(|part| part.trim().parse::<u32>().ok());
    if (version.next(), version.next()) < (Some(6), Some(8)) {
        return Err(io::Error::other(format!("Linux {} chose orders by older rules", release.trim())));
    }
    let options = fs::read_to_string("/proc/cmdline")?;
    if let Some(option) =
        options.split_whitespace().find(|word| word.starts_with("slab_m") || word.starts_with("slub_m"))
    {
        return Err(io::Error::other(format!("it was started with {option}")));
    }
    let pages = format!("KernelPageSize: {} kB", PAGE_SIZE / 1024);
    let maps = fs::read_to_string("/proc/self/smaps")?;
    if !maps.lines().any(|line| line.split_whitespace().eq(pages.split(' '))) {
        return Err(io::Error::other(format!("its pages are not {PAGE_SIZE} bytes")));
    }
    Ok(())
}

/// Caches with their attributes; aliases are links and left out.
fn live_caches() -> io::Result<BTreeMap<String, Attributes>> {
    let mut caches = BTreeMap::new();
    for entry in fs::read_dir("/sys/kernel/slab")? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            caches.insert(entry.file_name().to_string_lossy().into_owned(), live_attributes(&entry.path())?);
        }
    }
    Ok(caches)
}

fn live_attributes(cache: &Path) -> io::Result<Attributes> {
    let mut attributes = Attributes::new();
    for name in ["object_size", "slab_size", "order", "objs_per_slab", "align", "ctor"] {
        attributes.insert(name.into(), fs::read_to_string(cache.join(name))?);
    }
    for (name, _) in FLAG_ATTRIBUTES {
        if let Ok(text) = fs::read_to_string(cache.join(name)) {
            attributes.insert((*name).into(), text);
        }
    }
    Ok(attributes)
}

/// The CPU count that the kernel computed with when it started.
fn live_cpus() -> io::Result<u32> {
    let count = |list: &str| -> io::Result<u32> {
        let text = fs::read_to_string(Path::new("/sys/devices/system/cpu").join(list))?;
        Ok(text.trim().split(',').map(cpus_of_range).sum())
    };
    Ok(default_cpus(count("present")?, count("possible")?))
}

/// `"4"` is one CPU, `"0-3"` four.
fn cpus_of_range(range: &str) -> u32 {
    let parse = |text: &str| text.parse::<u32>().unwrap_or_else(|_| panic!("CPU range {range:?}"));
    range.split_once('-').map_or(1, |(first, last)| parse(last) - parse(first) + 1)
}
