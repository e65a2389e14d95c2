//! Makes haybarn.h of the sources, and refuses to build where the committed one is another.
#![forbid(unsafe_code)]

use std::path::Path;
use std::{env, fs};

const SOURCES: &[&str] = &[
    "abi",
    "handle",
    "failure",
    "create",
    "setup",
    "objects",
    "bulk",
    "sheaf",
    "size",
    "resize",
    "copies",
    "buckets",
    "deferred",
    "nolock",
    "attributes",
];

fn main() {
    let root = env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&root);
    let mut config = cbindgen::Config::from_file(root.join("cbindgen.toml")).expect("cbindgen.toml");
    let macros = root.join("include/macros.h");
    config.trailer = Some(fs::read_to_string(&macros).expect("include/macros.h"));
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in SOURCES {
        builder = builder.with_src(root.join(format!("src/{file}.rs")));
    }
    let mut made = Vec::new();
    builder.generate().expect("haybarn.h cannot be made of the sources").write(&mut made);
    for file in ["src", "include", "cbindgen.toml"] {
        println!("cargo:rerun-if-changed={file}");
    }
    println!("cargo:rerun-if-env-changed=HAYBARN_BLESS");
    let header = root.join("include/haybarn.h");
    if env::var_os("HAYBARN_BLESS").is_some_and(|bless| !bless.is_empty()) {
        fs::write(&header, &made).expect("include/haybarn.h");
    }
    assert!(
        fs::read(&header).is_ok_and(|committed| committed == made),
        "include/haybarn.h is not what cbindgen makes of the sources: HAYBARN_BLESS=1 cargo build -p haybarn-malloc, and look at the diff"
    );
    // What is linked with the library asks for it by this name.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,libhaybarn.so");
    // It stays until the process ends, whoever calls dlclose: the kernel reads the descriptor of a thread's last sequence when it next
    // takes the CPU away, and the library's own thread and handlers go on.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
