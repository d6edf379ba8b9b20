#!/usr/bin/env bash
# Every linter, all of them before the verdict; silent where there is nothing to say.
set -uo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
failed=()

# step NAME COMMAND...: prints the command's output only when it fails.
step() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        echo "lint: $name ok"
    else
        printf '%s\nlint: %s FAILED\n' "$output" "$name"
        failed+=("$name")
    fi
}

clang_format() {
    local file status=0
    for file; do
        "$bin/clang-format" --dry-run -Werror "$file" 2>/dev/null && continue
        echo "$file: make fmt would change it"
        status=1
    done
    return $status
}

# Prints the complaints alone; .venv/bin/clang-tidy -p build/c-plain FILE tells how it got there.
clang_tidy() {
    local build=build/c-plain complaints
    cmake -S . -B $build -DREP_SANITIZE= -DCMAKE_EXPORT_COMPILE_COMMANDS=ON >/dev/null || return 1
    complaints=$(
        printf '%s\0' csrc/*.c tests/c/*.c tests/fuzz/*.c | xargs -0 -n 2 -P 2 "$bin/clang-tidy" --quiet -p $build 2>&1
        # csrc/ext isn't in CMake's build: it takes the flags after --.
        printf '%s\0' csrc/ext/*.c | xargs -0 -I{} -P 2 "$bin/clang-tidy" --quiet {} \
            -- -std=c11 -D_GNU_SOURCE -Icsrc 2>&1
        "$bin/clang-tidy" --quiet examples/*.c -- -std=c11 -D_GNU_SOURCE -Icsrc 2>&1
    )
    ! grep -E '(error|warning): ' <<<"$complaints" | sort -u | grep .
}

# The public headers as a C++ program takes them.
cxx_headers() {
    local complaints
    complaints=$("$bin/clang-tidy" --quiet --checks='-*,clang-diagnostic-*,misc-definitions-in-headers' csrc/rep_*.h \
        -- -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Icsrc 2>&1)
    ! grep -E '(error|warning): ' <<<"$complaints" | sort -u | grep .
}

mapfile -t c_files < <(git ls-files --cached --others --exclude-standard '*.c' '*.h')
step "ruff format" "$bin/ruff" format --check .
step "ruff check" "$bin/ruff" check --quiet .
step "mypy" "$bin/mypy"
# Apart: two files named conftest can't be checked in one run.
step "mypy benchmarks" env MYPYPATH=benchmarks "$bin/mypy" benchmarks
step "import-linter" "$bin/lint-imports" --no-cache
step "clang-format" clang_format "${c_files[@]}"
step "clang-tidy" clang_tidy
step "headers in C++" cxx_headers
if [ ${#failed[@]} -gt 0 ]; then
    echo "lint: failed: ${failed[*]}" >&2
    exit 1
fi
