//! Building and running a C program.

use super::library::folder;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// What a program is linked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    Shared,
    Static,
    /// Nothing: the program loads it.
    Loaded,
}

/// An executable.
pub struct Program(PathBuf);

/// The compiler for a source: the variable that names one, else the system's.
fn compiler(is_cpp: bool) -> (&'static str, String) {
    let (variable, usual) = if is_cpp { ("CXX", "c++") } else { ("CC", "cc") };
    let named = std::env::var(variable).ok().filter(|name| !name.is_empty());
    (variable, named.unwrap_or_else(|| usual.to_owned()))
}

/// Whether the system can build C++; without it that test says so and passes, but not where CI is set.
pub fn has_cpp() -> bool {
    let (variable, compiler) = compiler(true);
    let found = Command::new(&compiler).arg("--version").output().is_ok();
    if !found {
        let what = format!("no C++ compiler '{compiler}': install g++, or name yours by {variable}");
        assert!(std::env::var_os("CI").is_none(), "{what}");
        eprintln!("skipped: {what}");
    }
    found
}

/// Builds a source of tests/c, or one given by its whole path, with every warning an error.
pub fn build(source: impl AsRef<Path>, library: Library) -> Program {
    static BUILT: Mutex<u32> = Mutex::new(0);
    let number = {
        let mut built = BUILT.lock().expect("no panic under it");
        *built += 1;
        *built
    };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = root.join("tests/c").join(source);
    let is_cpp = source.extension().is_some_and(|ending| ending == "cpp");
    let (variable, compiler) = compiler(is_cpp);
    let stem = source.file_stem().expect("a source has a name").to_string_lossy().into_owned();
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{stem}-{}-{number}", std::process::id()));
    let mut command = Command::new(&compiler);
    command.arg(if is_cpp { "-std=c++17" } else { "-std=gnu11" });
    command.args(["-Wall", "-Wextra", "-Werror", "-O2", "-g", "-pthread"]);
    // A test frees what is not the library's on purpose.
    command.args(["-Wno-free-nonheap-object", "-Wno-use-after-free"]);
    command.arg("-I").arg(root.join("include")).arg("-I").arg(root.join("tests/c"));
    command.arg(&source).arg("-o").arg(&program);
    let folder = folder();
    match library {
        Library::Shared => command.arg(folder.join("libhaybarn.so")).arg(format!("-Wl,-rpath,{}", folder.display())),
        Library::Loaded => command.arg("-ldl"),
        Library::Static => command.arg(folder.join("libhaybarn.a")).args(["-lgcc_s", "-lutil", "-lrt", "-lm", "-ldl"]),
    };
    let done = command.output().unwrap_or_else(|error| {
        panic!("no compiler '{compiler}' ({error}): install one (Debian: gcc, g++), or name yours by {variable}")
    });
    assert!(done.status.success(), "{compiler} {}: {}", source.display(), String::from_utf8_lossy(&done.stderr));
    Program(program)
}

/// Runs a program, with a backend forced where one is named.
pub fn run(program: &Program, backend: &str, arguments: &[&str]) -> Output {
    run_with(program, &[("HAYBARN_BACKEND", backend)], arguments)
}

/// Runs a program with variables of its environment.
pub fn run_with(program: &Program, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(&program.0);
    command.args(arguments).envs(variables.iter().copied());
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.0.display()))
}

impl Drop for Program {
    fn drop(&mut self) {
        let _gone = std::fs::remove_file(&self.0);
    }
}
