#!/usr/bin/env bash
# Builds the free-threaded CPython that the session `free_threaded` tests on, from Debian's source package of Python 3.14.
#
# No binary package of it exists in Debian or on PyPI. Needs Debian's archive, `dget` (package devscripts), a C compiler and
# about ten minutes of one core. Prints the interpreter's path; does nothing more when it is there already.
set -euo pipefail

VERSION=3.14.7
SOURCE=http://deb.debian.org/debian/pool/main/p/python3.14/python3.14_$VERSION-1.dsc
PREFIX=${HAYBARN_FREE_THREADED_PREFIX:-$HOME/.cache/haybarn/python-$VERSION-free-threaded}
python=$PREFIX/bin/python3.14t

if [[ -x $python ]]; then
    echo "$python"
    exit 0
fi
if ! command -v dget >/dev/null; then
    echo "dget is missing: apt-get install --no-install-recommends devscripts" >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
dget --download-only --allow-unauthenticated --quiet "$SOURCE" >&2
# The .dsc names the hash of what was fetched beside it.
wanted=$(awk '/^Checksums-Sha256:/ {on = 1; next} /^[^ ]/ {on = 0} on && /orig\.tar/ {print $1, $3; exit}' ./*.dsc)
sha256sum --check --quiet <<<"${wanted/ /  }" >&2
tar -xf python3.14_"$VERSION".orig.tar.* --one-top-level=build --strip-components=1
cd build
run() { nice "$@" >"$scratch/log" 2>&1 || { tail -n 40 "$scratch/log" >&2; return 1; }; }
run ./configure -q --prefix="$PREFIX" --disable-gil --without-static-libpython --with-ensurepip=install \
    --disable-test-modules
run make -s -j"${JOBS:-2}"
run make -s install
if [[ $("$python" -c 'import sys; print(sys._is_gil_enabled())') != False ]]; then
    echo "$python was built with its GIL" >&2
    exit 1
fi
echo "$python"
