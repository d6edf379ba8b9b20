# Each target makes .venv ready first (scripts/setup.sh: quick when nothing has changed).
#   PYTHON=python3.12  the interpreter for .venv      ARGS=...  goes to pytest, or to pyrep demo
PYTHON ?= python3
PREFIX ?= /usr/local
BIN := .venv/bin
C_FILES = $(shell git ls-files --cached --others --exclude-standard '*.c' '*.h')
# One process per CPU; each takes work from another's end, since the longest tests are most of the time.
PARALLEL := -n auto --maxprocesses=8 --dist=worksteal
export PYTHON PARALLEL
# mke2fs and e2fsck stand off an ordinary user's PATH on Debian.
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install-core demo test test-c test-python lint fmt check sanitize fuzz bench plot wheel soak clean

help:  ## say what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 15

demo:  ## set up and run the main job on two systems: mirror, back up, restore files and volumes
	@scripts/setup.sh run
	@$(BIN)/pyrep demo $(ARGS)

test: test-c test-python  ## set up and run all tests

test-c:
	@scripts/setup.sh test
	@scripts/c-tests.sh plain

test-python:
	@scripts/setup.sh test bench
	@$(BIN)/pytest -q $(PARALLEL) $(ARGS)

lint:  ## formatting, rules, types, layers, clang-tidy; changes nothing
	@scripts/setup.sh test lint bench
	@scripts/lint.sh

fmt:  ## format Python and C in place, and apply the safe fixes
	@scripts/setup.sh test lint
	@$(BIN)/ruff check -q --fix-only .
	@$(BIN)/ruff format -q .
	@$(BIN)/clang-format -i $(C_FILES)

check: lint test sanitize fuzz wheel  ## lint, tests, sanitizers, a minute of each fuzz target, the wheel

sanitize:
	@scripts/setup.sh test
	@scripts/c-tests.sh asan
	@scripts/c-tests.sh tsan
	@scripts/python-asan.sh $(ARGS)

fuzz:  ## each target in tests/fuzz for FUZZ_SECONDS (60)
	@scripts/setup.sh test fuzz
	@scripts/fuzz.sh

bench:  ## measure, each figure beside its C ceiling; results in benchmarks/results
	@scripts/setup.sh test bench
	@mkdir -p benchmarks/results
	@$(BIN)/pytest benchmarks --benchmark-enable --benchmark-only --benchmark-json=benchmarks/results/latest.json $(ARGS)

plot:  ## draw benchmarks/results/latest.json: resync time against dirty share and volume size
	@scripts/setup.sh test bench
	@$(BIN)/python benchmarks/plot.py benchmarks/results/latest.json benchmarks/results

install-core:  ## the C core for C programs: libraries, headers, pyrep-core.pc (PREFIX=/usr/local DESTDIR=)
	@PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" scripts/install-core.sh

wheel:  ## build sdist and wheel into dist/, test them in a fresh environment, also without libext2fs
	@scripts/setup.sh test
	@scripts/wheel.sh $(ARGS)

soak:  ## machine test, simulation, power losses, kills and flipped bits, many more and longer runs; the fuzz targets for 15 minutes each
	@scripts/setup.sh test fuzz
	@$(BIN)/pytest tests/machine --hypothesis-profile=soak --timeout=0 $(ARGS)
	@PYREP_SIM_RUNS=$${SIM_RUNS:-1000} PYREP_SIM_STEPS=$${SIM_STEPS:-300} $(BIN)/pytest -q $(PARALLEL) tests/sim/test_simulation.py --timeout=0
	@PYREP_CRASH_STATES=$${CRASH_STATES:-0} PYREP_CRASH_LOSSES=$${CRASH_LOSSES:-4} PYREP_CRASH_SIDES=$${CRASH_SIDES:-0} PYREP_MEDIA_RUNS=$${MEDIA_RUNS:-40} $(BIN)/pytest -q $(PARALLEL) tests/crash --timeout=0
	@PYREP_KILLS=$${KILLS:-200} $(BIN)/pytest -q tests/system/test_kill.py --timeout=0
	@PYREP_STEP_KILLS=$${STEP_KILLS:-0} $(BIN)/pytest -q tests/system/test_step_kills.py --timeout=0
	@PYREP_FLIPS=$${FLIPS:-all} $(BIN)/pytest -q $(PARALLEL) tests/property/test_live_peer.py
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-900} scripts/fuzz.sh

clean:  ## remove what was built, .venv included
	@rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@rm -f pyrep/_core_native* pyrep/_ext_native*
	@find csrc pyrep tests benchmarks setup.py -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
