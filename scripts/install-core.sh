#!/usr/bin/env bash
# Builds the C core and installs it below PREFIX (/usr/local), staged in DESTDIR when that is given:
# a static and a shared library, the public headers, pyrep-core.pc. Needs cmake and a C compiler.
set -euo pipefail
cd "$(dirname "$0")/.."
build=build/c-install
for tool in cmake cc; do
    command -v "$tool" >/dev/null || { echo "install-core: $tool is missing (Debian: cmake, gcc)" >&2 && exit 1; }
done
mkdir -p "$build"
exec 9>"$build/lock"
flock 9 # another one at once waits for its end
log=$build/build.log
if ! { cmake -S . -B "$build" -DREP_TESTS=OFF -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_INSTALL_PREFIX="${PREFIX:-/usr/local}" && cmake --build "$build" -j 2 &&
    DESTDIR=${DESTDIR:-} cmake --install "$build"; } >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    exit 1
fi
sed -n 's/^-- \(Installing\|Up-to-date\): //p' "$log"
