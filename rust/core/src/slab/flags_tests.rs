use super::*;

#[test]
fn the_table_names_every_bit_once_but_for_the_alias() {
    let mut seen = SlabFlags::empty();
    for row in SlabFlags::TABLE {
        assert_eq!(row.flag.bits().count_ones(), 1, "{}", row.name);
        assert_eq!(seen.intersects(row.flag), row.name == "TEMPORARY", "{}", row.name);
        seen |= row.flag;
    }
    assert_eq!(seen, SlabFlags::all());
    assert_eq!(SlabFlags::TABLE.len(), 18);
}

#[test]
fn names_find_their_flag_and_help_is_one_line() {
    for row in SlabFlags::TABLE {
        assert_eq!(SlabFlags::from_name(row.name), Some(row.flag));
        assert!(row.help.ends_with('.') && !row.help.contains('\n'), "{}", row.name);
    }
}

#[test]
fn debugging_never_merges_and_is_not_taken_yet() {
    assert!(SlabFlags::NEVER_MERGE.contains(SlabFlags::DEBUG));
    assert!(!SlabFlags::ACCEPTED_NOW.intersects(SlabFlags::DEBUG));
    assert!(!SlabFlags::NEVER_MERGE.intersects(SlabFlags::MERGE_SAME));
}

#[test]
fn what_is_not_taken_yet_is_exactly_this() {
    let refused = SlabFlags::ACCOUNT | SlabFlags::KMALLOC | SlabFlags::DEBUG;
    assert_eq!(SlabFlags::all() - SlabFlags::ACCEPTED_NOW, refused);
}
