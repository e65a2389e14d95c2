use super::*;

#[test]
fn small_spans_are_exact_and_others_waste_at_most_an_eighth() {
    for chunks in 1..=1 << 17 {
        let rounded = rounded(chunks);
        assert!(rounded >= chunks);
        assert!(rounded - chunks <= chunks / 8, "{chunks} became {rounded}");
    }
    assert!((1..=16).all(|chunks| rounded(chunks) == chunks));
    assert_eq!(rounded(17), 18);
}

#[test]
fn a_rounded_size_is_the_smallest_of_its_class() {
    for chunks in 1..=1 << 17 {
        let rounded = rounded(chunks);
        assert_eq!(super::rounded(rounded), rounded);
        assert!(rounded == 1 || class(rounded - 1) < class(rounded), "{rounded}");
        assert!(class(chunks) <= class(rounded), "{chunks}");
    }
}

#[test]
fn classes_fit_the_table() {
    let most = (super::super::config::RESERVE_MAX / super::super::ids::CHUNK_SIZE) as u32;
    assert!(class(rounded(most)) < CLASSES);
    assert!(class((1 << 22) - 1) < CLASSES);
}
