"""What a person and CI run. `nox` alone checks and tests; `nox --list` says what else there is."""

from __future__ import annotations

import os
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = nox.project.load_toml("pyproject.toml")

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["check", "test"]
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_external_run = True

# One folder of build products for every session, so that a crate is compiled once for each set of flags.
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).absolute()
CAMPAIGN_SECONDS = "60"


def group(name: str) -> list[str]:
    """Requirements of a dependency group of pyproject.toml."""
    return list(nox.project.dependency_groups(PROJECT, name))


def cargo(session: nox.Session, *args: str, flags: str = "", folder: str = "", silent: bool = False) -> str:
    """Runs cargo; another set of compiler flags gets a folder of its own. Returns what it printed, if silent."""
    env = {"CARGO_TARGET_DIR": str(TARGET / folder), "CARGO_TERM_COLOR": "never"}
    if flags:
        env["RUSTFLAGS"] = flags
        # A model explores states, not nanoseconds: link-time optimisation would only cost minutes of building.
        env |= {"CARGO_PROFILE_RELEASE_LTO": "off", "CARGO_PROFILE_RELEASE_CODEGEN_UNITS": "16"}
    # Standard error is left alone: it shows what cargo compiles, and the warnings.
    printed = session.run("cargo", args[0], "--locked", *args[1:], env=env, external=True, silent=silent, stderr=None)
    return str(printed) if silent else ""


def install(session: nox.Session, *extra: str) -> None:
    """Builds the wheel and installs it with the tools that a session needs."""
    session.install(*extra, ".", env={"CARGO_TARGET_DIR": str(TARGET)})


def rustdoc(session: nox.Session) -> None:
    """Rust's documentation; a broken link is an error."""
    env = {"RUSTDOCFLAGS": "-D warnings", "CARGO_TARGET_DIR": str(TARGET)}
    session.run("cargo", "doc", "--workspace", "--no-deps", "--locked", env=env, external=True)


@nox.session
def check(session: nox.Session) -> None:
    """Formatters, linters, types, the structure of the sources, the workflows."""
    session.install(*group("lint"))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("python", "tools/structure.py")
    session.run("zizmor", "--offline", "--quiet", ".github")
    session.run("cargo", "fmt", "--all", "--check", external=True)
    cargo(session, "clippy", "--workspace", "--all-targets", "--", "-D", "warnings")
    rustdoc(session)


@nox.session
def test(session: nox.Session) -> None:
    """Every test but the campaigns: Rust units and properties, the models, then Python's on the wheel."""
    session.run("python", "tools/host_tools.py")
    # The binding is a cdylib without logic of its own: Python's tests are its tests.
    cargo(session, "test", "--no-fail-fast", "-p", "haybarn", "-p", "haybarn-lab", "-p", "haybarn-malloc")
    models(session)
    install(session, *group("test"))
    session.run("pytest", *session.posargs)


@nox.session(venv_backend="none")
def models(session: nox.Session) -> None:
    """The models alone: loom explores every interleaving of small ones, shuttle samples large ones."""
    for checker in ("loom", "shuttle"):
        names = ("-p", "haybarn", "--release", "--lib", f"{checker}_")
        printed = cargo(session, "test", *names, flags=f"--cfg {checker}", folder=checker, silent=True)
        session.log("%s", printed.strip())
        if "running 0 tests" in printed:
            session.error(f"no test is named {checker}_*: a renamed model would go unnoticed")


@nox.session
def campaign(session: nox.Session) -> None:
    """Minutes of stress on each backend, and the tests marked campaign."""
    install(session, *group("test"))
    for backend in ("rseq", "locked", "virtual"):
        session.run("haybarn", "stress", "--threads", "8", "--seconds", CAMPAIGN_SECONDS, "--backend", backend)
    session.run("pytest", "-m", "campaign", "--timeout=1800", *session.posargs)


@nox.session(venv_backend="none")
def planted(session: nox.Session) -> None:
    """Bugs planted in the core, awake one at a time: stress has to catch every one; arguments name those to try."""
    session.run("python3", "tools/planted.py", *session.posargs, env={"CARGO_TARGET_DIR": str(TARGET)}, external=True)


@nox.session
def bench(session: nox.Session) -> None:
    """Builds the engine with its peers (minutes of C and C++) and runs the rows side by side."""
    cargo(session, "build", "-p", "haybarn-lab", "--release", "--features", "peers", "--bins")
    install(session, *group("bench"))
    session.run("haybarn", "bench", *session.posargs, env={"CARGO_TARGET_DIR": str(TARGET)})


@nox.session
def asv(session: nox.Session) -> None:
    """One asv run of the commit that is checked out; arguments go to `asv run`."""
    session.install(*group("bench"))
    session.run("asv", "run", *(session.posargs or ["HEAD^!"]))


@nox.session
def free_threaded(session: nox.Session) -> None:
    """Python's tests without the GIL: on HAYBARN_FREE_THREADED_PYTHON, or what tools/free_threaded.sh builds."""
    python = os.environ.get("HAYBARN_FREE_THREADED_PYTHON")
    if python is None:
        printed = session.run("bash", "tools/free_threaded.sh", external=True, silent=True, stderr=None)
        python = str(printed).strip().splitlines()[-1]
    folder = Path(session.create_tmp()) / "venv"
    session.run(python, "-m", "venv", "--clear", str(folder), external=True)
    inside = str(folder / "bin" / "python")
    # Wheels only for what others made: some lack one for this build and would compile for minutes.
    session.run(inside, "-m", "pip", "install", "-q", "--only-binary", ":all:", *group("test"), external=True)
    env = {"CARGO_TARGET_DIR": str(TARGET)}
    session.run(inside, "-m", "pip", "install", "-q", "--no-deps", ".", env=env, external=True)
    probe = "import sys, haybarn; sys.exit(sys._is_gil_enabled())"
    session.run(inside, "-W", "error", "-c", probe, external=True)
    session.run(inside, "-m", "pytest", *session.posargs, external=True)


@nox.session
def wheels(session: nox.Session) -> None:
    """An sdist and wheels, in dist/; arguments go to `maturin build` (such as --target, --zig)."""
    session.install(*group("wheels"))
    session.run("maturin", "sdist", "--out", "dist")
    session.run(
        "maturin", "build", "--release", "--out", "dist", *session.posargs, env={"CARGO_TARGET_DIR": str(TARGET)}
    )


@nox.session
def docs(session: nox.Session) -> None:
    """The reference of both languages: Rust's, where a broken link is an error, and Python's, in target/doc/python."""
    rustdoc(session)
    install(session, *group("docs"))
    session.run("pdoc", "haybarn", "--output-directory", str(TARGET / "doc" / "python"))
