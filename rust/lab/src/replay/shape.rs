//! The shape of each cache of a replay: from the sizes of the trace, or from a copy of `/sys/kernel/slab`.
//!
//! A stride that a constructor or a grace period made (the free pointer lies behind the object, 96 bytes take 104) is reached
//! without either: with the object's size and the smallest alignment that gives the stride, else with an object as large as
//! the stride. Every shape is checked against [`haybarn::geometry`], and what differs is said in its notes.

#![forbid(unsafe_code)]

use super::kmalloc;
use super::plan::{Origin, PlannedCache};
use super::sysfs::{Attributes, Sysfs};
use haybarn::{Geometry, GeometryRequest, SlabFlags, geometry};

const PAGE: usize = 4096;

/// What to create for a cache of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of an object as it is created: at least what the trace asks for.
    pub object_size: usize,
    /// Alignment in bytes; 0 for none.
    pub align: usize,
    /// Flags that caches take.
    pub flags: SlabFlags,
    /// Least order of a slab.
    pub min_order: u8,
    /// Least capacity of a sheaf; 0: Linux's formula.
    pub sheaf_capacity: u32,
    /// What is not as recorded, for people.
    pub notes: Vec<String>,
}

impl Shape {
    /// The shape of a cache on a machine of `cpus` CPUs; as `sysfs` says where it knows the cache. Page runs have none.
    ///
    /// # Errors
    /// The attribute of `sysfs` that cannot be used, or the size that no cache can have.
    pub fn of(cache: &PlannedCache, sysfs: Option<&Sysfs>, cpus: u32) -> Result<Shape, String> {
        if cache.origin == Origin::Large {
            return Ok(Shape::default());
        }
        let attributes = sysfs.map(|sysfs| sysfs.attributes(&cache.name)).transpose()?;
        let shape = match (&attributes, cache.origin) {
            (Some(Some(attributes)), _) => from_sysfs(cache, attributes, cpus),
            (_, Origin::Kmalloc(bucket)) => Ok(from_bucket(bucket, cache)),
            _ => from_sizes(cache, cpus),
        };
        let mut shape = shape.map_err(|why| format!("cache {}: {why}", cache.name))?;
        if attributes == Some(None) {
            shape.notes.push("not in the copy of /sys/kernel/slab: sizes of the trace".into());
        }
        Ok(shape)
    }

    fn geometry(&self, cpus: u32) -> Result<Geometry, String> {
        let &Shape { object_size, align, flags, min_order, sheaf_capacity, .. } = self;
        let request =
            GeometryRequest { align, flags, min_order, sheaf_capacity, ..GeometryRequest::new(object_size, cpus) };
        geometry(&request).map_err(|error| error.to_string())
    }
}

/// kmalloc's own rule: the bucket's size, naturally aligned. A trace may name the cache too, with a larger object.
fn from_bucket(bucket: u32, cache: &PlannedCache) -> Shape {
    let object_size = bucket.max(cache.bytes_req) as usize;
    // Alignment of the largest bucket is above a page, which is the most that a cache may ask for; its stride of two pages
    // aligns its objects all the same.
    Shape { object_size, align: kmalloc::natural_align(bucket).min(PAGE), ..Shape::default() }
}

fn from_sizes(cache: &PlannedCache, cpus: u32) -> Result<Shape, String> {
    let (size, stride) = (cache.bytes_req as usize, cache.bytes_alloc as usize);
    let mut shape = Shape { object_size: size, ..Shape::default() };
    reach(&mut shape, stride, cpus, "the recorded bytes_alloc")?;
    Ok(shape)
}

/// Changes alignment, else size, so that the stride becomes `stride`; what is left is noted.
fn reach(shape: &mut Shape, stride: usize, cpus: u32, whose: &str) -> Result<(), String> {
    if shape.geometry(cpus)?.slab_size == stride {
        return Ok(());
    }
    let wanted = shape.object_size;
    let align = (3..=12).map(|bit| 1 << bit).find(|&align| wanted.next_multiple_of(align) == stride);
    match align {
        Some(align) if align >= shape.align => shape.align = align,
        _ => {
            shape.object_size = wanted.max(stride);
            shape
                .notes
                .push(format!("objects of {wanted} bytes are created with {} for the stride", shape.object_size));
        }
    }
    let reached = shape.geometry(cpus)?.slab_size;
    if reached != stride {
        shape.notes.push(format!("stride {reached} instead of {whose}, {stride}"));
    }
    Ok(())
}

/// Switches that caches take as flags.
const TAKEN: &[(&str, SlabFlags)] = &[
    ("hwcache_align", SlabFlags::HWCACHE_ALIGN),
    ("reclaim_account", SlabFlags::RECLAIM_ACCOUNT),
    ("cache_dma", SlabFlags::CACHE_DMA),
];

fn from_sysfs(cache: &PlannedCache, attributes: &Attributes, cpus: u32) -> Result<Shape, String> {
    let flags = TAKEN.iter().filter(|(name, _)| attributes.on.contains(name)).map(|&(_, flag)| flag).collect();
    let object_size = attributes.object_size.max(cache.bytes_req as usize);
    let (align, sheaf_capacity) = (attributes.align.min(PAGE), attributes.sheaf_capacity);
    let mut shape = Shape { object_size, align, flags, sheaf_capacity, ..Shape::default() };
    let refused: Vec<_> =
        attributes.on.iter().copied().filter(|switch| TAKEN.iter().all(|(name, _)| name != switch)).collect();
    if !refused.is_empty() {
        shape.notes.push(format!("not taken: {}", refused.join(", ")));
    }
    if attributes.object_size < object_size {
        let noted = format!("object_size {} is below the recorded bytes_req {object_size}", attributes.object_size);
        shape.notes.push(noted);
    }
    reach(&mut shape, attributes.slab_size, cpus, "slab_size")?;
    if shape.geometry(cpus)?.order < attributes.order {
        shape.min_order = attributes.order;
    }
    let Geometry { order, objs_per_slab, .. } = shape.geometry(cpus)?;
    if (order, objs_per_slab) != (attributes.order, attributes.objs_per_slab) {
        let Attributes { order: theirs, objs_per_slab: objects, .. } = attributes;
        shape.notes.push(format!("order {order}, {objs_per_slab} objects; there order {theirs}, {objects} objects"));
    }
    Ok(shape)
}

#[cfg(test)]
#[path = "shape_tests.rs"]
mod tests;
