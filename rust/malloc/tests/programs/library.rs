//! The library that the tests link with or load. `cargo test` makes none: no test can depend on a cdylib, so the tests have it built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The folder with `libhaybarn.so` and `libhaybarn.a`, built as this test was.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let exe = std::env::current_exe().expect("a test has an executable");
        // target/debug/deps/test
        let [_, _, folder, target] = exe.ancestors().take(4).collect::<Vec<_>>()[..] else {
            panic!("{} lies in no folder of cargo's", exe.display());
        };
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") => "dev",
            Some(other) => other,
            None => panic!("{} lies in no folder of cargo's", exe.display()),
        };
        let mut command = Command::new(env!("CARGO"));
        command.args(["build", "--quiet", "--locked", "-p", "haybarn-malloc", "--profile", profile]);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--target-dir").arg(target);
        let done = command.output().expect("cargo, which built this test, runs");
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
        folder.to_owned()
    })
}
