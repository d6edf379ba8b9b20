#!/usr/bin/env bash
# Builds the C core alone with CMake and runs its tests: c-tests.sh plain|asan|tsan
set -euo pipefail
cd "$(dirname "$0")/.."
variant=${1:?plain, asan or tsan}
build=build/c-$variant
case $variant in
plain) sanitize= ;;
asan) sanitize=address,undefined ;;
tsan) sanitize=thread ;;
*) echo "c-tests: unknown variant: $variant" >&2 && exit 2 ;;
esac

mkdir -p "$build"
log=$build/build.log
if ! { cmake -S . -B "$build" -DREP_SANITIZE="$sanitize" -DCMAKE_EXPORT_COMPILE_COMMANDS=ON &&
    cmake --build "$build" -j 2; } >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    exit 1
fi
# UBSan goes on after a report unless told otherwise.
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1
# TSan of older compilers refuses the address layout of newer kernels.
run=()
[ "$variant" != tsan ] || ! setarch -R true 2>/dev/null || run=(setarch -R)
if ! "${run[@]}" ctest --test-dir "$build" --no-tests=error --output-on-failure >"$build/tests.log" 2>&1; then
    cat "$build/tests.log" >&2
    exit 1
fi
echo "C tests ($variant): $(grep 'tests passed' "$build/tests.log")"
