#!/usr/bin/env bash
# Builds the wheel into dist/ and runs the unit tests on it: what a user gets, not the source tree.
set -euo pipefail
cd "$(dirname "$0")/.."
site=$PWD/build/wheel-site
python=$PWD/.venv/bin/python
rm -rf "$site" dist
mkdir -p build

if ! { "$python" -m pip wheel -q --no-deps --no-build-isolation -w dist . &&
    "$python" -m pip install -q --no-deps --no-index --target "$site" dist/*.whl; } >build/wheel.log 2>&1; then
    tail -n 60 build/wheel.log >&2
    exit 1
fi
echo "wheel: $(echo dist/*.whl)"
# A run that picked the source tree would prove nothing.
PYTHONPATH=$site "$python" -P -c 'import sys, pyrep; sys.exit(not pyrep.__file__.startswith(sys.argv[1]))' "$site"
PYTHONPATH=$site exec .venv/bin/pytest -q ${PARALLEL:-} -p no:cacheprovider tests/unit "$@"
