#!/usr/bin/env bash
# Builds what users get and tests it where the source tree is out of reach: the sdist, the wheel from
# it (into dist/), the tests in a fresh environment; and the same without libext2fs.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$PWD/.venv/bin/python
log=$PWD/build/wheel.log
mkdir -p build
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf dist
: >"$log"

# Runs a command with its output in the log, and shows the log's end only when it fails.
quietly() {
    if ! "$@" >>"$log" 2>&1; then
        tail -n 60 "$log" >&2
        echo "wheel: failed: $*" >&2
        exit 1
    fi
}

# From a copy of what git would keep: nothing left lying about can get in.
mkdir "$work/source"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/source"
(cd "$work/source" && quietly "$python" -c 'import sys
from setuptools import build_meta
build_meta.build_sdist(sys.argv[1])' "$work/dist")
rm -rf "$work/source"
sdist=$(echo "$work"/dist/pyrep-*.tar.gz)
quietly "$python" -m pip wheel -q --no-deps -w "$work/dist" "$sdist"
wheel=$(echo "$work"/dist/pyrep-*-cp311-abi3-linux_*.whl)
[ -e "$wheel" ] || { echo "wheel: not one for every Python from 3.11 on: $(ls "$work/dist")" >&2 && exit 1; }

# The tests alone, and what they read beside themselves.
mkdir "$work/tests"
cp -r tests docs pyproject.toml "$work/tests"
rm -r "$work/tests/tests/unit/build" "$work/tests/tests/unit/benchmarks" # of the source tree itself
"$python" -m venv "$work/venv"
tester=$work/venv/bin/python
requirements=$("$python" -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["test"], sep="\n")')
quietly "$tester" -m pip install -q "$wheel" $requirements
(
    cd "$work/tests"
    unset PYTHONPATH
    # A run that picked the source tree would prove nothing.
    "$tester" -c 'import sys, pyrep; sys.exit(not pyrep.__file__.startswith(sys.argv[1]))' "$work/venv"
    "$tester" -m pytest -q ${PARALLEL:-} -p no:cacheprovider tests/unit tests/property "$@"
)

# A machine without libext2fs: the linker doesn't find it.
cat >"$work/cc" <<'SH'
#!/bin/sh
for one; do
    [ "$one" != -lext2fs ] || { echo "cannot find -lext2fs" >&2 && exit 1; }
done
exec cc "$@"
SH
chmod +x "$work/cc"
CC=$work/cc quietly "$python" -m pip wheel -q --no-deps -w "$work/without" "$sdist"
quietly "$tester" -m pip install -q --no-deps --force-reinstall "$work"/without/*.whl
(
    cd "$work/tests"
    quietly "$tester" - <<'PYTHON'
import tempfile

from pyrep import StorageSystem
from pyrep._core import MemoryIo
from pyrep.errors import MissingLibraryError
from pyrep.fs import Access, ExtFileSystem

with tempfile.TemporaryDirectory() as directory:
    with StorageSystem.create(f"{directory}/100a", "100a") as system:
        volume = system.create_volume("105", 1 << 20)
        system.create_volume("106", 1 << 20)
        system.create_local_pair("105", "106").wait()
        volume.pwrite(b"mirrored", 0)
try:
    ExtFileSystem.open(MemoryIo(1 << 20).address, access=Access.READ_ONLY, name="105")
except MissingLibraryError as error:
    assert "libext2fs" in str(error.hint), error.hint
else:
    raise SystemExit("files were reached without libext2fs")
PYTHON
)
mkdir dist
cp "$sdist" "$wheel" dist/
echo "wheel: $(basename "$wheel"), from $(basename "$sdist"); without libext2fs it says so"
