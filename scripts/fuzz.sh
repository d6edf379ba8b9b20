#!/usr/bin/env bash
# Runs the fuzz targets with libFuzzer, two at a time: fuzz.sh [NAME]...  (default: all of tests/fuzz)
#
#   FUZZ_SECONDS  for each target (default: 60)
#
# What it has found interesting stays in build/fuzz-corpus, and the next run begins there. An input
# that crashes is left in build/fuzz-crashes, and the verdict says how to run it again.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-60}
plain=build/c-plain
fuzz=build/c-fuzz
corpus=build/fuzz-corpus
crashes=build/fuzz-crashes
export seconds plain fuzz corpus crashes
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1

# build DIRECTORY OPTIONS...
build() {
    local directory=$1
    shift
    mkdir -p "$directory"
    if ! { cmake -S . -B "$directory" "$@" && cmake --build "$directory" -j 2; } >"$directory/build.log" 2>&1; then
        tail -n 60 "$directory/build.log" >&2
        exit 1
    fi
}

# one NAME: prints a line; shows the end of its log when it fails.
one() {
    local name=$1 log=$fuzz/$1.log
    mkdir -p "$corpus/$name" "$crashes"
    "$plain/$name" --seeds "$corpus/$name"
    if ! "$fuzz/$name" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -use_value_profile=1 \
        -print_final_stats=1 -artifact_prefix="$crashes/$name-" "$corpus/$name" >"$log" 2>&1; then
        tail -n 60 "$log"
        echo "fuzz: $name FAILED; again with: $fuzz/$name INPUT, or $plain/$name INPUT in a debugger"
        return 1
    fi
    awk -v name="$name" '
        / cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
        /number_of_executed_units/ { runs = $2 }
        END { printf "fuzz: %s ok, %d inputs, %d edges\n", name, runs, edges }' "$log"
}
export -f one

build "$plain" -DREP_SANITIZE= -DCMAKE_EXPORT_COMPILE_COMMANDS=ON
build "$fuzz" -DREP_FUZZ=ON -DCMAKE_C_COMPILER=clang
mapfile -t names < <(cd "$fuzz" && find . -maxdepth 1 -name 'fuzz_*' -type f -executable -printf '%f\n' | LC_ALL=C sort)
[ $# -eq 0 ] || names=("$@")
printf '%s\0' "${names[@]}" | xargs -0 -n 1 -P 2 bash -c 'one "$1"' fuzz
