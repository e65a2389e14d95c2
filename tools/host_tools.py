"""Programs of Debian that some tests call: installs what is missing where that is allowed (root, apt-get).

A test whose program is still missing afterwards skips and says so (tests/conftest.py); under CI=true it fails instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

# program -> (Debian package, what the tests need it for)
PROGRAMS = {
    "c++": ("g++", "the C header in C++"),
    "cc": ("gcc", "linking Rust, and the C programs"),
    "llvm-mc": ("llvm", "assembling the aarch64 sequences"),
    "objdump": ("binutils", "the golden test of the fast path"),
    "strace": ("strace", "showing that the fast and slow paths make no system call in steady state"),
    "valgrind": ("valgrind", "counting the instructions that the fast path executes"),
}


def missing() -> dict[str, str]:
    """Programs that are not on the path, with the package of each."""
    return {program: package for program, (package, _) in PROGRAMS.items() if shutil.which(program) is None}


def install(packages: list[str]) -> None:
    """Installs Debian packages.

    Raises:
        subprocess.CalledProcessError: apt-get failed.
    """
    env = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=env)
    subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, env=env)


def main() -> int:
    """Installs what is missing, or says what to install; never an error by itself."""
    lacking = missing()
    if lacking and os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            install(sorted(set(lacking.values())))
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"host_tools: {error}\n")
        lacking = missing()
    for program, package in lacking.items():
        sys.stderr.write(
            f"host_tools: no {program} (Debian package {package}): its tests ({PROGRAMS[program][1]}) skip\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
