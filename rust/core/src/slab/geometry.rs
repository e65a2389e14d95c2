#![forbid(unsafe_code)]
//! The numbers that Linux chooses for a cache: alignment, layout, slab order, limits. Pure arithmetic; no arena, no state.
//!
//! An object's place in a slab (its *stride*) under full debugging; without it only the middle part is there:
//!
//! ```text
//! | left red zone | object .. inuse | free pointer | two tracks | asked-for size | right red zone | padding to align |
//! ```
//!
//! Sources: the kernel's `calculate_alignment`, `create_boot_cache`, `calculate_sizes`, `calculate_order`,
//! `calculate_sheaf_capacity` and `set_min_partial`, for pages of 4096 bytes on every architecture. Two differences: a sheaf's
//! capacity is exactly the larger of formula and argument, and a bad argument is an error with its legal range.

use super::flags::SlabFlags;

/// Bytes of a page.
pub const PAGE_SIZE: usize = 4096;
/// Bytes of the largest object and of the largest stride: the kernel's `KMALLOC_MAX_SIZE`, pages of order 10.
pub const MAX_SIZE: usize = PAGE_SIZE << 10;
/// Bytes of the largest alignment that may be asked for. Natural alignment of KMALLOC objects may be larger.
pub const MAX_ALIGN: usize = PAGE_SIZE;
/// The largest `min_order` (2 MiB).
pub const MAX_MIN_ORDER: u8 = 9;
/// Pointers in the largest sheaf: a block of 8 KiB less four words.
pub const MAX_SHEAF_CAPACITY: u32 = 1020;

/// Slabs are made no larger than this order for the sake of more objects (`slab_max_order`).
const MAX_ORDER: u8 = 3;
/// What the 15 bits of a slab's object counter hold.
const MAX_OBJECTS: usize = 32767;
const CACHE_LINE: usize = 64;
const WORD: usize = size_of::<u64>();
/// A record of who allocated or freed an object: address, stack handle, CPU, process, time.
const TRACK: usize = 32;

/// What a cache is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GeometryRequest {
    /// Bytes of an object, 1 to [`MAX_SIZE`].
    pub object_size: usize,
    /// Bytes; 0 for none, or a power of two up to [`MAX_ALIGN`].
    pub align: usize,
    /// All public flags count here, also those that caches do not take yet.
    pub flags: SlabFlags,
    /// Whether objects are constructed once per slab: then a free one's contents must survive.
    pub has_ctor: bool,
    /// Bytes from the object's start at which a free object of a TYPESAFE_BY_RCU or constructed cache may hold its free
    /// pointer; `None` puts it behind such objects.
    pub freeptr_offset: Option<usize>,
    /// CPUs that share the machine, at least 1; see [`default_cpus`].
    pub cpus: u32,
    /// Least order of a slab, 0 to [`MAX_MIN_ORDER`] (`slab_min_order`). Above 3 it is the largest order tried as well, as
    /// in Linux: slabs then have this order unless one object needs more, or more than 32767 objects would fit.
    pub min_order: u8,
    /// Least capacity of a sheaf in objects, up to [`MAX_SHEAF_CAPACITY`]; 0 for the formula alone.
    pub sheaf_capacity: u32,
}

impl GeometryRequest {
    /// A request with no wishes but the size in bytes, on a machine of `cpus` CPUs.
    #[must_use]
    pub const fn new(object_size: usize, cpus: u32) -> Self {
        let flags = SlabFlags::empty();
        let (has_ctor, freeptr_offset) = (false, None);
        Self { object_size, align: 0, flags, has_ctor, freeptr_offset, cpus, min_order: 0, sheaf_capacity: 0 }
    }
}

/// What Linux makes of a [`GeometryRequest`]. Sizes and offsets are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// As asked for.
    pub object_size: usize,
    /// The stride: bytes from one object to the next.
    pub slab_size: usize,
    /// Effective alignment of each object.
    pub align: usize,
    /// A slab has `1 << order` pages.
    pub order: u8,
    /// Objects of a slab.
    pub objs_per_slab: u32,
    /// Order of a slab when pages of `order` are not to be had: the least that holds one object.
    pub fallback_order: u8,
    /// Objects of such a slab.
    pub fallback_objs: u32,
    /// From an object's start to the end of what its user may touch, red zone in the slack included.
    pub inuse: usize,
    /// From an object's start to its free pointer while it is free.
    pub offset: usize,
    /// From the start of a stride to its object.
    pub red_left_pad: usize,
    /// Slabs with free objects that a node keeps before it gives wholly free ones back, 5 to 10.
    pub min_partial: u32,
    /// Objects of a sheaf; 0: no sheaves.
    pub sheaf_capacity: u32,
}

/// An argument outside its legal range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{argument} is {value}; legal: {legal}")]
pub struct GeometryError {
    /// The field of [`GeometryRequest`].
    pub argument: &'static str,
    /// What was given.
    pub value: String,
    /// What could have been given.
    pub legal: String,
}

/// The CPU count that Linux computes with: those present, or on a system of one CPU those possible.
#[must_use]
pub fn default_cpus(present: u32, possible: u32) -> u32 {
    if present > 1 { present } else { possible.max(1) }
}

/// Computes what Linux would choose. Pure; callable from any thread.
///
/// # Errors
/// A [`GeometryError`] names the first argument that is out of range, or `object_size` where the layout that the flags ask
/// for would exceed [`MAX_SIZE`].
pub fn geometry(request: &GeometryRequest) -> Result<Geometry, GeometryError> {
    check(request)?;
    let &GeometryRequest { object_size, flags, cpus, min_order, .. } = request;
    let align = alignment(request);
    let Layout { inuse, offset, red_left_pad, stride } = layout(request, align);
    require(stride <= MAX_SIZE, "object_size", object_size, || {
        format!("with these flags and this alignment a stride of at most {MAX_SIZE} bytes, not {stride}")
    })?;
    let order = order(stride, cpus, min_order);
    let fallback_order = order_of(stride);
    Ok(Geometry {
        object_size,
        slab_size: stride,
        align,
        order,
        objs_per_slab: objects(order, stride) as u32,
        fallback_order,
        fallback_objs: objects(fallback_order, stride) as u32,
        inuse,
        offset,
        red_left_pad,
        min_partial: (stride.ilog2() / 2).clamp(5, 10),
        sheaf_capacity: sheaf_capacity(stride, flags, request.sheaf_capacity),
    })
}

fn require(
    holds: bool,
    argument: &'static str,
    value: impl ToString,
    legal: impl FnOnce() -> String,
) -> Result<(), GeometryError> {
    if holds { Ok(()) } else { Err(GeometryError { argument, value: value.to_string(), legal: legal() }) }
}

fn check(request: &GeometryRequest) -> Result<(), GeometryError> {
    let &GeometryRequest { object_size, align, flags, cpus, min_order, sheaf_capacity, .. } = request;
    require((1..=MAX_SIZE).contains(&object_size), "object_size", object_size, || format!("1 to {MAX_SIZE} bytes"))?;
    require(align == 0 || (align.is_power_of_two() && align <= MAX_ALIGN), "align", align, || {
        format!("0 or a power of two up to {MAX_ALIGN} bytes")
    })?;
    require(SlabFlags::all().contains(flags), "flags", format_args!("{:#x}", flags.bits()), || {
        format!("bits of {:#x}", SlabFlags::all().bits())
    })?;
    require(cpus >= 1, "cpus", cpus, || "at least 1".into())?;
    require(min_order <= MAX_MIN_ORDER, "min_order", min_order, || format!("0 to {MAX_MIN_ORDER}"))?;
    require(sheaf_capacity <= MAX_SHEAF_CAPACITY, "sheaf_capacity", sheaf_capacity, || {
        format!("0 to {MAX_SHEAF_CAPACITY} objects")
    })?;
    let Some(freeptr) = request.freeptr_offset else { return Ok(()) };
    require(request.has_ctor || flags.contains(SlabFlags::TYPESAFE_BY_RCU), "freeptr_offset", freeptr, || {
        "none, unless the cache is TYPESAFE_BY_RCU or has a constructor".into()
    })?;
    require(freeptr < object_size && freeptr.is_multiple_of(WORD), "freeptr_offset", freeptr, || {
        format!("a multiple of {WORD} below the object size of {object_size} bytes")
    })
}

/// `calculate_alignment`, and the natural alignment that `create_boot_cache` gives to KMALLOC caches.
fn alignment(request: &GeometryRequest) -> usize {
    let &GeometryRequest { object_size, mut align, flags, .. } = request;
    if flags.contains(SlabFlags::KMALLOC) {
        align = align.max(1 << object_size.trailing_zeros());
    }
    if flags.contains(SlabFlags::HWCACHE_ALIGN) {
        align = align.max(object_size.next_power_of_two().min(CACHE_LINE));
    }
    align.max(WORD)
}

struct Layout {
    inuse: usize,
    offset: usize,
    red_left_pad: usize,
    stride: usize,
}

/// `calculate_sizes`. Size and alignment are at most [`MAX_SIZE`] each and count at most three times: nothing overflows.
fn layout(request: &GeometryRequest, align: usize) -> Layout {
    let &GeometryRequest { object_size, flags, has_ctor, freeptr_offset, .. } = request;
    let red_zone = flags.contains(SlabFlags::RED_ZONE);
    let records_size = flags.contains(SlabFlags::KMALLOC | SlabFlags::STORE_USER);

    let mut size = object_size.next_multiple_of(WORD);
    if red_zone && size == object_size {
        size += WORD;
    }
    let inuse = size;

    let contents_survive = has_ctor || flags.contains(SlabFlags::TYPESAFE_BY_RCU);
    let behind = (contents_survive && freeptr_offset.is_none())
        || flags.contains(SlabFlags::POISON)
        || (red_zone && (object_size < WORD || records_size));
    let offset = if behind {
        size += WORD;
        inuse
    } else {
        // In the middle, where a small overflow of a neighbour does not reach it.
        freeptr_offset.unwrap_or(object_size / 2 / WORD * WORD)
    };

    if flags.contains(SlabFlags::STORE_USER) {
        size += 2 * TRACK;
    }
    if records_size {
        size += WORD;
    }
    let red_left_pad = if red_zone { align } else { 0 };
    if red_zone {
        size += WORD + red_left_pad;
    }
    Layout { inuse, offset, red_left_pad, stride: size.next_multiple_of(align) }
}

/// `get_order`: the least order whose pages hold `bytes`.
fn order_of(bytes: usize) -> u8 {
    bytes.div_ceil(PAGE_SIZE).next_power_of_two().ilog2() as u8
}

fn objects(order: u8, stride: usize) -> usize {
    (PAGE_SIZE << order) / stride
}

/// `calculate_order`: enough objects that CPUs seldom need a new slab, then the first order that wastes little enough.
fn order(stride: usize, cpus: u32, min_order: u8) -> u8 {
    let max_order = MAX_ORDER.max(min_order);
    let fls = u32::BITS - cpus.leading_zeros();
    let wanted = (4 * (fls as usize + 1)).min(objects(max_order, stride).max(1));
    let start = min_order.max(order_of(wanted * stride));
    if objects(start, stride) > MAX_OBJECTS {
        return order_of(stride * MAX_OBJECTS) - 1;
    }
    let wastes_at_most = |order: u8, fraction: usize| {
        let slab = PAGE_SIZE << order;
        slab % stride <= slab / fraction
    };
    [16, 8, 4, 2]
        .into_iter()
        .find_map(|fraction| (start..=max_order).find(|&order| wastes_at_most(order, fraction)))
        .unwrap_or_else(|| order_of(stride))
}

/// `calculate_sheaf_capacity`: by stride, filling a power-of-two block after its header; `least` cannot lower it.
fn sheaf_capacity(stride: usize, flags: SlabFlags, least: u32) -> u32 {
    if flags.intersects(SlabFlags::DEBUG | SlabFlags::NOLEAKTRACE) {
        return 0;
    }
    let formula = match stride {
        PAGE_SIZE.. => 4,
        1024.. => 12,
        256.. => 28,
        _ => 60,
    };
    formula.max(least)
}

#[cfg(test)]
#[path = "geometry_tests.rs"]
mod tests;
