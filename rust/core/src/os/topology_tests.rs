use super::*;

#[test]
fn counts_agree_with_the_files() {
    let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible").expect("tests run with /sys");
    assert_eq!(possible_cpus(), ids(&possible).max().expect("some CPU") + 1);
    let present = std::fs::read_to_string("/sys/devices/system/cpu/present").expect("tests run with /sys");
    assert_eq!(present_cpus(), ids(&present).count() as u32);
    assert!(present_cpus() <= possible_cpus());
}

#[test]
fn the_answers_without_sys_are_possible_ones() {
    let (highest, count) = allowed().expect("some CPU");
    assert!(count >= 1 && highest < possible_cpus());
    assert!((1..=possible_cpus()).contains(&configured()));
}

#[test]
fn a_list_that_is_not_there_is_none() {
    assert_eq!(read_list("/sys/devices/system/cpu/no-such-list", str::len), None);
}

#[test]
fn every_cpu_has_one_of_the_nodes() {
    let mut nodes = vec![0xff; possible_cpus() as usize + 3];
    let count = nodes_of_cpus(&mut nodes);
    assert!(count >= 1);
    assert!(nodes.iter().all(|&node| u32::from(node) < count));
}

#[test]
fn paths_of_nodes() {
    assert_eq!(node_path(&mut [0; 64], 0), Some("/sys/devices/system/node/node0/cpulist"));
    assert_eq!(node_path(&mut [0; 64], 255), Some("/sys/devices/system/node/node255/cpulist"));
}
