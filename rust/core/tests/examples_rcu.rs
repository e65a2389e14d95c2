//! The examples about freeing after a grace period run and say what they should.

use std::path::PathBuf;
use std::process::Command;

/// Builds an example in the profile of the tests and returns its executable.
fn example(name: &str) -> PathBuf {
    // target/debug/deps/examples_rcu-1234: two up is the profile's folder, three up the one that cargo was given.
    let exe = std::env::current_exe().unwrap();
    let (profile, target) = (exe.ancestors().nth(2).unwrap(), exe.ancestors().nth(3).unwrap());
    let mut command = Command::new(env!("CARGO"));
    command.args(["build", "--locked", "--quiet", "--package", "haybarn", "--example", name]);
    command
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .arg("--target-dir")
        .arg(target);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    assert!(command.status().unwrap().success());
    profile.join("examples").join(name)
}

#[test]
fn routes_are_replaced_under_their_readers_on_every_backend() {
    let program = example("free_rcu");
    for backend in haybarn::BackendKind::ALL {
        let done = Command::new(&program).args(["0.3", backend.name()]).output().unwrap();
        let (said, complaint) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        if complaint.contains("is not to be had here") {
            eprintln!("not run: {complaint}");
            continue;
        }
        assert!(done.status.success(), "{backend}: {said}{complaint}");
        let replaced: u64 = said.split([' ', ':']).find_map(|word| word.parse().ok()).unwrap();
        assert!(replaced > 0 && said.contains("routes waited for readers"), "{said}");
    }
}
