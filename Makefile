# Two commands are all it takes: `make demo` and `make test`. `make help` lists the rest.
# Settings: PYTHON=python3.12 (any Python >= 3.11), VENV=.venv, ARGS="..." (passed on to pytest or to the demo),
# REQUIRE=cpu (backends without which the tests fail).
# Packages come from wherever your pip is set up to look.
SHELL := /bin/sh
PYTHON ?= python3
VENV ?= .venv
ARGS ?=
ifeq ($(shell uname -s),Linux) # where triton can be had
REQUIRE ?= cpu,triton
endif
REQUIRE ?= cpu
PY := $(VENV)/bin/python
SOURCES := pyproject.toml constraints.txt CMakeLists.txt src/mamba_mender/__init__.py $(wildcard src/mamba_mender/ops/csrc/*)
BENCHMARKS := $(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))
# A process for each core, up to four, each on one thread; all tests of a file in one process, so that what they share is made once.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest --require $(REQUIRE) --numprocesses auto --maxprocesses 4 --dist loadfile
INSTALL := $(PY) -m pip install --quiet --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test check bench clean tools compiler fallback

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' Makefile

demo: $(VENV)/.demo ## find and mend the flaw of a small Vim on decoy digits; about two minutes
	rm -rf runs/demo
	$(VENV)/bin/mamba-mender mend --out runs/demo $(ARGS)

test: $(VENV)/.test ## run the tests, with the C++ kernels required
	$(PYTEST) $(ARGS)

# $(call stage,NAME,COMMAND): run a command, and print what it took
stage = @echo "== $(1)"; start=$$(date +%s); $(2) || { echo "== $(1) failed after $$(($$(date +%s) - start)) s"; exit 1; }; \
	echo "== $(1) passed in $$(($$(date +%s) - start)) s"

check: $(VENV)/.test ## all that has to pass before a change lands: style, types, tests, quick benchmarks
	$(call stage,ruff check,$(PY) -m ruff check)
	$(call stage,ruff format,$(PY) -m ruff format --check)
	$(call stage,pyright,$(PY) -m pyright --pythonpath $(PY))
	$(call stage,pytest,$(PYTEST) --durations 10 $(ARGS))
	$(call stage,pytest of the ops on all threads,$(PY) -m pytest -q --require cpu tests/ops/test_scan.py tests/ops/test_cpu_scan.py tests/ops/test_cross_scan.py tests/ops/test_cpu_conv.py tests/ops/test_cpu_norm.py tests/ops/test_state_update.py tests/ops/test_conv_update.py)
	$(call stage,install without a compiler,$(MAKE) --no-print-directory fallback)
	$(call stage,quick benchmarks,(for file in $(BENCHMARKS); do echo "-- $$file"; $(PY) $$file --quick || exit 1; done))

bench: $(VENV)/.bench ## run every benchmark in full; hours
	for file in $(BENCHMARKS); do echo "-- $$file"; $(PY) $$file || exit 1; done

# Without a compiler the install succeeds, without the kernels; where they are required, it fails.
fallback: $(VENV)/.torch
	@rm -rf build/fallback
	@CXX=/bin/false $(PY) -m pip install --quiet --no-deps --target build/fallback .
	@test -f build/fallback/mamba_mender/ops/reference.py && ! ls build/fallback/mamba_mender/_C* 2>/dev/null
	@! MAMBA_MENDER_REQUIRE_KERNEL=1 CXX=/bin/false $(PY) -m pip install --quiet --no-deps --target build/refused . 2>/dev/null

clean: ## remove the environment, the build tree and caches; your runs stay
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# What has to be there before anything is installed.
tools:
	@command -v $(PYTHON) >/dev/null || { echo "make: '$(PYTHON)' is not there; install Python >= 3.11, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $$($(PYTHON) --version) is too old; install Python >= 3.11, or name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "make: $(PYTHON) cannot make virtual environments; install them (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

compiler: tools
	@command -v "$${CXX:-c++}" >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null || \
		{ echo "make: no C++ compiler; install one with C++17 (Debian, Ubuntu: apt install g++), or name one in CXX"; exit 1; }
	@$(PYTHON) -c 'import pathlib, sysconfig, sys; sys.exit(not pathlib.Path(sysconfig.get_path("include"), "Python.h").is_file())' || \
		{ echo "make: Python.h is not there; install Python's headers (Debian, Ubuntu: apt install python3-dev)"; exit 1; }

# Stamps: what is installed is installed again only when what it depends on has changed.
# torch comes first and alone, so that nothing that follows can choose another.
$(VENV)/.torch: constraints.txt | tools
	@echo "== installing torch into $(VENV) (once; minutes)"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --constraint constraints.txt torch
	@touch $@

$(VENV)/.demo: $(SOURCES) $(VENV)/.torch
	@echo "== installing mamba-mender"
	@$(INSTALL) --editable .
	@$(PY) -c 'import importlib.util as u, sys; sys.exit(u.find_spec("mamba_mender._C") is None)' || \
		echo "make: the C++ kernels were not built, so this will be slow; 'make compiler' says what is missing"
	@touch $@

$(VENV)/.test: $(SOURCES) $(VENV)/.torch | compiler
	@echo "== installing mamba-mender, its kernels and what the tests need"
	@MAMBA_MENDER_REQUIRE_KERNEL=1 $(INSTALL) --editable '.[test]'
	@touch $(VENV)/.demo $@

$(VENV)/.bench: $(VENV)/.test
	@echo "== installing the implementations that ours is timed against"
	@MAMBA_MENDER_REQUIRE_KERNEL=1 $(INSTALL) --editable '.[test,bench]'
	@# Of mamba_ssm only the reference is wanted, which is plain torch: no CUDA build, and none of what it depends on.
	@$(PY) -c 'import importlib.util as u, sys; sys.exit(u.find_spec("mamba_ssm") is None)' || MAMBA_SKIP_CUDA_BUILD=TRUE \
		MAMBA_FORCE_BUILD=TRUE $(INSTALL) --no-deps --no-build-isolation mamba_ssm
	@touch $@
