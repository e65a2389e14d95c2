use super::ids;

fn all(list: &str) -> Vec<u32> {
    ids(list).collect()
}

#[test]
fn single_numbers_and_ranges() {
    assert_eq!(all("0\n"), [0]);
    assert_eq!(all("0-3,8,10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
}

#[test]
fn an_empty_list_is_a_node_without_cpus() {
    assert!(all("\n").is_empty());
}

#[test]
fn what_is_no_number_is_skipped() {
    assert_eq!(all("x,2-,-,5,7-6"), [5]);
}
