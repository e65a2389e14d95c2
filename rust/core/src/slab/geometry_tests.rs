use super::*;
use proptest::prelude::*;

const Z: SlabFlags = SlabFlags::RED_ZONE;
const P: SlabFlags = SlabFlags::POISON;
const U: SlabFlags = SlabFlags::STORE_USER;
const KMALLOC: SlabFlags = SlabFlags::KMALLOC;
const TYPESAFE: SlabFlags = SlabFlags::TYPESAFE_BY_RCU;

fn plain(object_size: usize) -> GeometryRequest {
    GeometryRequest::new(object_size, 2)
}

fn with(object_size: usize, align: usize, flags: SlabFlags) -> GeometryRequest {
    GeometryRequest { align, flags, ..plain(object_size) }
}

fn order_and_objects(object_size: usize, cpus: u32) -> (u8, u32) {
    let g = geometry(&GeometryRequest::new(object_size, cpus)).unwrap();
    (g.order, g.objs_per_slab)
}

#[test]
fn order_and_objects_by_size_and_cpus() {
    let table: [(usize, [(u8, u32); 5]); 14] = [
        (64, [(0, 64), (0, 64), (0, 64), (0, 64), (0, 64)]),
        (128, [(0, 32), (0, 32), (0, 32), (0, 32), (1, 64)]),
        (136, [(0, 30), (0, 30), (0, 30), (1, 60), (1, 60)]),
        (192, [(0, 21), (0, 21), (1, 42), (1, 42), (1, 42)]),
        (256, [(0, 16), (1, 32), (1, 32), (1, 32), (2, 64)]),
        (264, [(0, 15), (1, 31), (1, 31), (2, 62), (2, 62)]),
        (512, [(1, 16), (2, 32), (2, 32), (2, 32), (3, 64)]),
        (640, [(1, 12), (2, 25), (2, 25), (3, 51), (3, 51)]),
        (1024, [(2, 16), (3, 32), (3, 32), (3, 32), (3, 32)]),
        (2048, [(3, 16); 5]),
        (4096, [(3, 8); 5]),
        (12000, [(3, 2); 5]), // wastes more than a quarter at every order
        (20000, [(3, 1); 5]),
        (40000, [(4, 1); 5]),
    ];
    for (size, expected) in table {
        assert_eq!([2, 8, 16, 64, 192].map(|cpus| order_and_objects(size, cpus)), expected, "size {size}");
    }
}

#[test]
fn min_partial_and_capacity_by_size() {
    let table = [
        (64, 5, 60),
        (128, 5, 60),
        (192, 5, 60),
        (256, 5, 28),
        (512, 5, 28),
        (1024, 5, 12),
        (2048, 5, 12),
        (4096, 6, 4),
        (20000, 7, 4),
        (40000, 7, 4),
        (MAX_SIZE, 10, 4),
    ];
    for (size, min_partial, capacity) in table {
        let g = geometry(&plain(size)).unwrap();
        assert_eq!((g.min_partial, g.sheaf_capacity), (min_partial, capacity), "size {size}");
    }
}

#[test]
fn layout_by_flags() {
    let constructed = GeometryRequest { has_ctor: true, ..plain(64) };
    let freeptr_at_8 = GeometryRequest { freeptr_offset: Some(8), ..with(64, 0, TYPESAFE) };
    let table = [
        (plain(64), (64, 32, 0, 64)),
        (plain(13), (16, 0, 0, 16)),
        (with(64, 0, Z), (72, 32, 8, 88)),
        (with(64, 0, P), (64, 64, 0, 72)),
        (with(64, 0, Z | P | U), (72, 72, 8, 160)),
        (with(64, 64, Z | P | U), (72, 72, 64, 256)),
        (with(32, 32, KMALLOC | Z | U), (40, 40, 32, 160)),
        (with(64, 0, KMALLOC | Z), (72, 32, 64, 192)),
        (with(64, 0, KMALLOC | U), (64, 32, 0, 192)),
        (with(4, 0, Z), (8, 8, 8, 32)),
        (with(64, 0, TYPESAFE), (64, 64, 0, 72)),
        (constructed, (64, 64, 0, 72)),
        (freeptr_at_8, (64, 8, 0, 64)),
        (GeometryRequest { freeptr_offset: Some(8), ..constructed }, (64, 8, 0, 64)),
        // Poison covers the whole object: a custom offset no longer helps.
        (GeometryRequest { flags: TYPESAFE | P, ..freeptr_at_8 }, (64, 64, 0, 72)),
    ];
    for (request, expected) in table {
        let g = geometry(&request).unwrap();
        assert_eq!((g.inuse, g.offset, g.red_left_pad, g.slab_size), expected, "{request:?}");
    }
}

#[test]
fn alignment_by_flags() {
    for (size, align) in [(1, 8), (8, 8), (9, 16), (17, 32), (24, 32), (33, 64), (100, 64)] {
        assert_eq!(geometry(&with(size, 0, SlabFlags::HWCACHE_ALIGN)).unwrap().align, align, "size {size}");
    }
    for (size, align) in [(8, 8), (96, 32), (192, 64), (8192, 8192), (13, 8)] {
        assert_eq!(geometry(&with(size, 0, KMALLOC)).unwrap().align, align, "size {size}");
    }
    for (asked, align) in [(0, 8), (1, 8), (16, 16), (4096, 4096)] {
        assert_eq!(geometry(&with(24, asked, SlabFlags::HWCACHE_ALIGN)).unwrap().align, align.max(32));
        assert_eq!(geometry(&with(24, asked, SlabFlags::empty())).unwrap().align, align);
    }
}

#[test]
fn capacity_is_the_larger_of_formula_and_argument() {
    let capacity = |flags, sheaf_capacity| {
        geometry(&GeometryRequest { sheaf_capacity, ..with(256, 0, flags) }).unwrap().sheaf_capacity
    };
    for (asked, got) in [(0, 28), (1, 28), (28, 28), (29, 29), (1020, 1020)] {
        assert_eq!(capacity(SlabFlags::HWCACHE_ALIGN, asked), got);
    }
    for flag in SlabFlags::DEBUG | SlabFlags::NOLEAKTRACE {
        assert_eq!((capacity(flag, 0), capacity(flag, 100)), (0, 0), "{flag:?}");
    }
}

#[test]
fn a_larger_minimum_order() {
    let slab = |object_size, min_order| {
        let g = geometry(&GeometryRequest { min_order, ..plain(object_size) }).unwrap();
        (g.order, g.objs_per_slab, g.fallback_order, g.fallback_objs)
    };
    assert_eq!(slab(64, 0), (0, 64, 0, 64));
    assert_eq!(slab(64, 2), (2, 256, 0, 64));
    assert_eq!(slab(64, 9), (8, 16384, 0, 64));
    assert_eq!(slab(512, 9), (9, 4096, 0, 8));
    assert_eq!(slab(40000, 3), (4, 1, 4, 1));
    assert_eq!(slab(40000, 6), (6, 6, 4, 1));
    assert_eq!(slab(MAX_SIZE, 9), (10, 1, 10, 1));
    // 262144 objects do not fit the counter of a slab.
    assert_eq!(slab(8, 9), (5, 16384, 0, 512));
}

#[test]
fn cpus_of_a_single_cpu_system_are_the_possible_ones() {
    assert_eq!(
        [(1, 8), (2, 8), (1, 1), (0, 0)].map(|(present, possible)| default_cpus(present, possible)),
        [8, 2, 1, 1]
    );
}

#[test]
fn a_bad_argument_is_named_with_its_value_and_range() {
    let base = plain(64);
    let freeptr = |flags, at| GeometryRequest { flags, freeptr_offset: Some(at), ..base };
    let table = [
        (plain(0), "object_size is 0; legal: 1 to 4194304 bytes"),
        (plain(MAX_SIZE + 1), "object_size is 4194305; legal: 1 to 4194304 bytes"),
        (plain(usize::MAX), "object_size is 18446744073709551615; legal: 1 to 4194304 bytes"),
        (with(64, 24, base.flags), "align is 24; legal: 0 or a power of two up to 4096 bytes"),
        (with(64, 8192, base.flags), "align is 8192; legal: 0 or a power of two up to 4096 bytes"),
        (with(64, 0, SlabFlags::from_bits_retain(1 << 31)), "flags is 0x80000000; legal: bits of 0x1ffff"),
        (GeometryRequest { cpus: 0, ..base }, "cpus is 0; legal: at least 1"),
        (GeometryRequest { min_order: 10, ..base }, "min_order is 10; legal: 0 to 9"),
        (GeometryRequest { sheaf_capacity: 1021, ..base }, "sheaf_capacity is 1021; legal: 0 to 1020 objects"),
        (
            freeptr(base.flags, 8),
            "freeptr_offset is 8; legal: none, unless the cache is TYPESAFE_BY_RCU or has a constructor",
        ),
        (freeptr(TYPESAFE, 12), "freeptr_offset is 12; legal: a multiple of 8 below the object size of 64 bytes"),
        (freeptr(TYPESAFE, 64), "freeptr_offset is 64; legal: a multiple of 8 below the object size of 64 bytes"),
        (
            with(MAX_SIZE, 0, P),
            "object_size is 4194304; legal: with these flags and this alignment a stride of at most 4194304 bytes, not 4194312",
        ),
    ];
    for (request, message) in table {
        assert_eq!(geometry(&request).unwrap_err().to_string(), message);
    }
}

/// Any request at all, legal ones often.
fn requests() -> impl Strategy<Value = GeometryRequest> {
    let size = prop_oneof![8 => 1..=9000usize, 2 => 1..=MAX_SIZE, 1 => any::<usize>()];
    let align = prop_oneof![4 => Just(0), 8 => (0..13u32).prop_map(|bit| 1 << bit), 1 => any::<usize>()];
    let flags = prop_oneof![8 => 0..=SlabFlags::all().bits(), 1 => any::<u32>()].prop_map(SlabFlags::from_bits_retain);
    let freeptr =
        prop_oneof![3 => Just(None), 1 => (0..64usize).prop_map(|word| Some(word * 8)), 1 => any::<Option<usize>>()];
    let cpus = prop_oneof![8 => 1..300u32, 1 => any::<u32>()];
    (size, align, flags, any::<bool>(), freeptr, cpus, 0..=10u8, 0..=1100u32).prop_map(
        |(object_size, align, flags, has_ctor, freeptr_offset, cpus, min_order, sheaf_capacity)| GeometryRequest {
            object_size,
            align,
            flags,
            has_ctor,
            freeptr_offset,
            cpus,
            min_order,
            sheaf_capacity,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn every_legal_request_gets_a_sound_slab(request in requests()) {
        let Ok(g) = geometry(&request) else { return Ok(()) };
        let slab = PAGE_SIZE << g.order;
        let (stride, objs) = (g.slab_size, g.objs_per_slab as usize);

        prop_assert!(g.align.is_power_of_two() && g.align >= request.align.max(8));
        prop_assert_eq!((stride % g.align, g.red_left_pad % g.align, g.offset % 8), (0, 0, 0));
        prop_assert!(g.object_size <= g.inuse && g.inuse <= stride - g.red_left_pad);
        prop_assert!(g.offset + 8 <= stride - g.red_left_pad, "the free pointer stays inside its stride");

        prop_assert_eq!(objs, slab / stride);
        prop_assert!((1..=MAX_OBJECTS).contains(&objs));
        prop_assert!(slab % stride <= slab / 2);
        prop_assert!(g.fallback_order <= g.order && g.fallback_objs >= 1);
        prop_assert!(g.order >= request.min_order || objects(request.min_order, stride) > MAX_OBJECTS);
        let wanted = 4 * (u32::BITS - request.cpus.leading_zeros() + 1) as usize;
        prop_assert!(objs >= wanted.min(objects(request.min_order.max(3), stride)), "enough objects for these CPUs");
        prop_assert!(g.fallback_order == 0 || PAGE_SIZE << (g.fallback_order - 1) < stride, "one order less is too small");

        prop_assert!((5..=10).contains(&g.min_partial));
        prop_assert!(g.sheaf_capacity == 0 || g.sheaf_capacity >= request.sheaf_capacity.max(4));
    }

    #[test]
    fn the_effective_alignment_asks_for_itself(request in requests()) {
        let Ok(g) = geometry(&request) else { return Ok(()) };
        prop_assume!(g.align <= MAX_ALIGN);
        prop_assert_eq!(geometry(&GeometryRequest { align: g.align, ..request }), Ok(g));
    }
}
