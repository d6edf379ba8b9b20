#!/usr/bin/env bash
# Runs the unit tests against extensions built with ASan and UBSan, beside the ordinary ones.
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/build/python-asan
python=$PWD/.venv/bin/python
mkdir -p "$build"
# Modules that have gone from pyrep/ since the last run must not stay importable.
find "$build" -name '*.py' -delete

if ! PYREP_SANITIZE=address,undefined "$python" setup.py -q build --build-base "$build" \
    --build-lib "$build/lib" >"$build/build.log" 2>&1; then
    tail -n 60 "$build/build.log" >&2
    exit 1
fi

# Python itself leaks by design at exit; the C tests look for leaks of the core.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LD_PRELOAD="$(cc -print-file-name=libasan.so) $(cc -print-file-name=libubsan.so)"
export PYTHONPATH=$build/lib PYTHONMALLOC=malloc
# A run that picked the ordinary extension would prove nothing.
"$python" -P -c 'import sys, pyrep._core_native as core; sys.exit(not core.__file__.startswith(sys.argv[1]))' "$build"
echo "Python unit tests (extensions under asan)"
exec .venv/bin/pytest -q ${PARALLEL:-} -p no:cacheprovider tests/unit "$@"
