use super::*;
use proptest::prelude::*;

/// The rules one by one, in the order in which a reader of `find_mergeable` meets them, and by counting up.
fn naive(wanted: &Wanted, standing: &Standing) -> bool {
    const NEVER: [SlabFlags; 9] = [
        SlabFlags::CONSISTENCY_CHECKS,
        SlabFlags::RED_ZONE,
        SlabFlags::POISON,
        SlabFlags::STORE_USER,
        SlabFlags::TRACE,
        SlabFlags::TYPESAFE_BY_RCU,
        SlabFlags::NOLEAKTRACE,
        SlabFlags::NO_MERGE,
        SlabFlags::empty(),
    ];
    const SAME: [SlabFlags; 4] =
        [SlabFlags::RECLAIM_ACCOUNT, SlabFlags::CACHE_DMA, SlabFlags::CACHE_DMA32, SlabFlags::ACCOUNT];
    for never in NEVER.into_iter().filter(|flag| !flag.is_empty()) {
        if wanted.flags.contains(never) || standing.flags.contains(never) {
            return false;
        }
    }
    if wanted.apart || standing.apart {
        return false;
    }
    let mut size = wanted.object_size;
    while !size.is_multiple_of(8) {
        size += 1;
    }
    while !size.is_multiple_of(wanted.align) {
        size += 1;
    }
    if size > standing.slab_size {
        return false;
    }
    for same in SAME {
        if wanted.flags.contains(same) != standing.flags.contains(same) {
            return false;
        }
    }
    // Every object must be aligned, wherever it lies in its slab.
    let aligned = (0..16).all(|n| (n * standing.slab_size).is_multiple_of(wanted.align));
    aligned && (0..8).any(|more| size + more == standing.slab_size)
}

fn flags() -> impl Strategy<Value = SlabFlags> {
    // Mostly those that matter and let caches share; now and then anything.
    let kinds = [SlabFlags::empty(), SlabFlags::RECLAIM_ACCOUNT, SlabFlags::ACCOUNT, SlabFlags::CACHE_DMA];
    prop_oneof![
        6 => proptest::sample::select(kinds.to_vec()),
        1 => any::<u32>().prop_map(SlabFlags::from_bits_truncate),
        1 => (0..17_u32).prop_map(|bit| SlabFlags::from_bits_truncate(1 << bit)),
    ]
}

prop_compose! {
    fn wanted()(object_size in 1..600_usize, shift in 3..9_u32, flags in flags(), apart in proptest::bool::weighted(0.1)) -> Wanted {
        Wanted { object_size, align: 1 << shift, flags, apart }
    }
}

prop_compose! {
    /// A storage whose stride is near what the request needs, or any.
    fn near(wanted: Wanted)(off in prop_oneof![5 => Just(0_isize), 3 => 0..9_isize, 2 => -24..24_isize], any in 1..80_usize, is_near in proptest::bool::weighted(0.8),
        other in flags(), is_same in proptest::bool::weighted(0.7), apart in proptest::bool::weighted(0.1))
        -> (Wanted, Standing) {
        let needed = wanted.object_size.next_multiple_of(8).next_multiple_of(wanted.align);
        let slab_size = if is_near { needed.saturating_add_signed(off).max(1) } else { any * 8 };
        (wanted, Standing { slab_size, flags: if is_same { wanted.flags } else { other }, apart })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn the_predicate_is_the_naive_one((wanted, standing) in wanted().prop_flat_map(near)) {
        prop_assert_eq!(wanted.fits(&standing), naive(&wanted, &standing));
    }

    #[test]
    fn what_shares_is_as_good_as_what_was_asked_for((wanted, standing) in wanted().prop_flat_map(near)) {
        if !wanted.fits(&standing) {
            return Ok(());
        }
        prop_assert!(standing.slab_size >= wanted.object_size);
        prop_assert!(standing.slab_size.is_multiple_of(wanted.align));
        // Not more than a word is lost on each object.
        prop_assert!(standing.slab_size - wanted.object_size.next_multiple_of(8).next_multiple_of(wanted.align) < 8);
    }
}

#[test]
fn the_properties_see_both_answers() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let pairs = wanted().prop_flat_map(near);
    let fit = (0..2000).filter(|_| {
        let (wanted, standing) = pairs.new_tree(&mut runner).unwrap().current();
        wanted.fits(&standing)
    });
    let fit = fit.count();
    assert!((400..1600).contains(&fit), "{fit} of 2000 fit");
}

#[test]
fn each_rule_alone() {
    let wanted = Wanted { object_size: 60, align: 8, flags: SlabFlags::empty(), apart: false };
    let standing = Standing { slab_size: 64, flags: SlabFlags::empty(), apart: false };
    assert!(wanted.fits(&standing));
    for row in SlabFlags::TABLE {
        let counts = SlabFlags::NEVER_MERGE.union(SlabFlags::MERGE_SAME).contains(row.flag);
        assert_eq!(Wanted { flags: row.flag, ..wanted }.fits(&standing), !counts, "{}", row.name);
        assert_eq!(wanted.fits(&Standing { flags: row.flag, ..standing }), !counts, "{}", row.name);
        let both = Wanted { flags: row.flag, ..wanted }.fits(&Standing { flags: row.flag, ..standing });
        assert_eq!(both, !SlabFlags::NEVER_MERGE.contains(row.flag), "{}", row.name);
    }
    assert!(!Wanted { apart: true, ..wanted }.fits(&standing));
    assert!(!wanted.fits(&Standing { apart: true, ..standing }));
    for (object_size, fits) in [(56, false), (57, true), (64, true), (65, false)] {
        assert_eq!(Wanted { object_size, ..wanted }.fits(&standing), fits, "{object_size}");
    }
    for (align, object_size, slab_size, fits) in
        [(64, 64, 64, true), (16, 40, 48, true), (16, 40, 40, false), (32, 72, 96, true), (64, 65, 192, false)]
    {
        let got = Wanted { align, object_size, ..wanted }.fits(&Standing { slab_size, ..standing });
        assert_eq!(got, fits, "{object_size} bytes aligned to {align} in strides of {slab_size}");
    }
}

#[test]
fn ids_are_linux() {
    assert_eq!(unique_id(192, SlabFlags::empty()), ":0000192");
    assert_eq!(unique_id(64, SlabFlags::RECLAIM_ACCOUNT | SlabFlags::ACCOUNT), ":aA-0000064");
    assert_eq!(unique_id(4096, SlabFlags::CACHE_DMA | SlabFlags::CACHE_DMA32 | SlabFlags::NO_MERGE), ":dD-0004096");
}
