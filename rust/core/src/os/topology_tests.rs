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
    let nodes = Nodes::of_machine(possible_cpus() + 3);
    assert!((1..=MAX_NODES).contains(&nodes.count));
    assert_eq!(nodes.of_cpu.len(), possible_cpus() as usize + 3);
    assert!(nodes.of_cpu.iter().all(|&node| u32::from(node) < nodes.count));
    assert_eq!(nodes.others.len(), nodes.count as usize);
}

/// A tree like the system's, below a directory of the test's.
struct Tree(std::path::PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let root = std::env::temp_dir().join(format!("haybarn-{name}-{}", std::process::id()));
        for (path, text) in files {
            let file = root.join("node").join(path);
            std::fs::create_dir_all(file.parent().expect("a file")).expect("a directory");
            std::fs::write(file, text).expect("a file");
        }
        Self(root)
    }

    fn nodes(&self, cpus: u32) -> Nodes {
        Nodes::below(self.0.to_str().expect("plain text"), cpus)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_machine_of_four_nodes_in_two_pairs() {
    let tree = Tree::new(
        "pairs",
        &[
            ("possible", "0-3\n"),
            ("online", "0-3\n"),
            ("has_memory", "0-3\n"),
            ("node0/cpulist", "0-1\n"),
            ("node1/cpulist", "2-3\n"),
            ("node2/cpulist", "4,6\n"),
            ("node3/cpulist", "5,7\n"),
            ("node0/distance", "10 12 21 21\n"),
            ("node1/distance", "12 10 21 20\n"),
            ("node2/distance", "21 21 10 12\n"),
            ("node3/distance", "21 20 12 10\n"),
        ],
    );
    let nodes = tree.nodes(9);
    assert_eq!((nodes.count, nodes.of_cpu), (4, vec![0, 0, 1, 1, 2, 3, 2, 3, 0]));
    assert_eq!(nodes.others, [[1, 2, 3], [0, 3, 2], [3, 0, 1], [2, 1, 0]]);
}

#[test]
fn cpus_without_memory_of_their_own_are_at_the_nearest_that_is() {
    let tree = Tree::new(
        "memoryless",
        &[
            ("possible", "0-5\n"),
            ("online", "0,2-3\n"),
            ("has_memory", "2-3\n"),
            ("node0/cpulist", "0-3\n"),
            ("node2/cpulist", "\n"),
            ("node3/cpulist", "4-5\n"),
            // Columns of the nodes that are online: 0, 2, 3.
            ("node0/distance", "10 30 20\n"),
            ("node2/distance", "30 10 20\n"),
            ("node3/distance", "20 20 10\n"),
        ],
    );
    let nodes = tree.nodes(6);
    assert_eq!((nodes.count, nodes.of_cpu), (4, vec![3; 6]), "node 2 is memory alone, node 0 has none");
    assert_eq!(nodes.others[0], [3, 2, 1], "a node that is not there comes last");
}

#[test]
fn without_a_tree_there_is_one_node() {
    let nodes = Nodes::below("/no/such/place", 3);
    assert_eq!(nodes, Nodes { count: 1, of_cpu: vec![0; 3], others: vec![vec![]] });
}

#[test]
fn fake_nodes_are_all_as_far_from_each_other() {
    let nodes = Nodes::fake(3, 5, |cpu| cpu);
    assert_eq!(nodes.of_cpu, [0, 1, 2, 0, 1]);
    assert_eq!(nodes.others, [[1, 2], [2, 0], [0, 1]]);
}
