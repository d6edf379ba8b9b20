#!/usr/bin/env bash
# Makes .venv ready: setup.sh [run|test|lint|fuzz|bench]...  (default: run)
#
#   run   what pyrep itself needs       test  + the tests' tools       lint  + the linters
#   fuzz  + clang with libFuzzer        bench + what the benchmarks compare and draw with
#
# Idempotent and quiet; when nothing it looks at has changed it asks neither apt nor the network. What
# apt must bring is installed when root, and named in one line when not. CONSTRAINTS names the file of
# the packages' versions (default: scripts/constraints.txt); empty, the newest allowed ones are taken.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/sbin:/sbin" # mke2fs and e2fsck, off an ordinary user's PATH on Debian
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONWARNINGS=

purposes=("${@:-run}")
python=${PYTHON:-python3}
venv=.venv
constraints=${CONSTRAINTS-scripts/constraints.txt}
log=$venv/setup.log

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$*" >&2
    exit 1
}

# Runs a command with its output in the log, and shows the log's end only when it fails.
quietly() {
    if ! "$@" >>"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "failed: $* (the whole log: $log)"
    fi
}

python_is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# Prints the Debian packages that bring what is missing for the purposes, one a line.
missing_packages() {
    local version headers
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    # The distribution's own python3 has packages without a number in their names.
    [ "$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$version" ] && version=3
    "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "python$version-venv"
    command -v cc >/dev/null || echo gcc
    echo '#include <stdlib.h>' | cc -E - >/dev/null 2>&1 || echo libc6-dev
    [ -e "$headers/Python.h" ] || echo "python$version-dev"
    echo '#include <ext2fs/ext2fs.h>' | cc -E - >/dev/null 2>&1 || echo libext2fs-dev
    command -v mke2fs >/dev/null && command -v e2fsck >/dev/null || echo e2fsprogs
    case " ${purposes[*]} " in
    *" fuzz "*)
        command -v clang >/dev/null || echo clang
        echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' |
            clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null || echo libclang-rt-dev
        ;;
    esac
    case " ${purposes[*]} " in
    *" test "* | *" lint "*)
        command -v cmake >/dev/null || echo cmake
        command -v make >/dev/null || echo make
        command -v git >/dev/null || echo git
        command -v sfdisk >/dev/null || echo fdisk
        command -v strace >/dev/null || echo strace
        command -v pkg-config >/dev/null || echo pkg-config
        ;;
    esac
}

install_packages() {
    local missing
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -eq 0 ] && return
    if ! command -v apt-get >/dev/null; then
        fail "missing, by their names in Debian: ${missing[*]}"
    fi
    if [ "$(id -u)" -ne 0 ]; then
        fail "missing packages; run: sudo apt-get install -y ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    quietly apt-get -qq -o DPkg::Lock::Timeout=300 update
    quietly apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "${missing[@]}"
    mapfile -t missing < <(missing_packages)
    [ ${#missing[@]} -eq 0 ] || fail "still missing after apt-get: ${missing[*]} (python: $python)"
}

make_venv() {
    if [ -e $venv/bin/python ] && python_is_new_enough $venv/bin/python && $venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    say "making $venv with $("$python" --version)"
    rm -rf $venv/bin $venv/lib $venv/include $venv/pyvenv.cfg $venv/stamp-*
    quietly "$python" -m venv $venv
}

# Prints what pyproject.toml asks for: to build, to run, and for the extras given.
requirements() {
    $venv/bin/python - "$@" <<'PYTHON'
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    configuration = tomllib.load(file)
project = configuration["project"]
print(*configuration["build-system"]["requires"], *project["dependencies"], sep="\n")
for purpose in sys.argv[1:]:
    print(*project["optional-dependencies"].get(purpose, ()), sep="\n")
PYTHON
}

hash_of() { cat "$@" | sha256sum | cut -d ' ' -f 1; }
is_current() { [ "$(cat "$venv/stamp-$1" 2>/dev/null)" = "$2" ]; }

command -v "$python" >/dev/null || fail "no such interpreter: $python (PYTHON=... chooses one)"
python_is_new_enough "$python" || fail "$python is $("$python" --version 2>&1 || true): pyrep needs Python 3.11 or newer (PYTHON=python3.12 make ... chooses one)"
mkdir -p $venv
exec 9>$venv/lock
flock 9 # two commands of make at once: one sets up, the other waits and finds it done
[ -x $venv/bin/python ] && $venv/bin/python -c '' 2>/dev/null || rm -f $venv/stamp-*

wanted=$(hash_of pyproject.toml "$0" ${constraints:+"$constraints"})
stale=()
for purpose in "${purposes[@]}"; do
    case $purpose in run | test | lint | fuzz | bench) ;; *) fail "unknown purpose: $purpose" ;; esac
    is_current "$purpose" "$wanted" || stale+=("$purpose")
done
if [ ${#stale[@]} -gt 0 ]; then
    : >"$log"
    install_packages
    make_venv
    say "installing Python packages for: ${stale[*]}"
    requirements "${stale[@]}" >$venv/requirements.txt
    quietly $venv/bin/python -m pip install -q -r $venv/requirements.txt ${constraints:+-c "$constraints"}
    for purpose in "${stale[@]}"; do echo "$wanted" >"$venv/stamp-$purpose"; done
fi

built=$(hash_of pyproject.toml setup.py $(find csrc -type f \( -name '*.[ch]' -o -name '*.py' \) | LC_ALL=C sort))
if ! is_current build "$built" || ! ls pyrep/_core_native*.so >/dev/null 2>&1; then
    say "building the extensions"
    : >"$log"
    quietly $venv/bin/python -m pip install -q --no-deps --no-build-isolation -e .
    echo "$built" >$venv/stamp-build
fi
