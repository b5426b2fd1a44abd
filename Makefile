# Two commands are enough on a fresh machine with Python and make: `make demo` and `make test`.
# Everything is installed into .venv, with the versions of constraints.txt.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# The packages are installed again when one of these changes.
PINS := pyproject.toml constraints.txt
# `make PIP_FLAGS= demo` shows what pip does.
PIP_FLAGS ?= --quiet
PYTEST_FLAGS ?=
# `make docs SPHINX_FLAGS="-D plot_gallery=0"` leaves the examples unrun, which is quick.
SPHINX_FLAGS ?=
WORKERS ?= 2
# `make bench SUITES=models BENCH_FLAGS=--compile`
SUITES ?= ops models scaling
BENCH_FLAGS ?=

# Nothing may be fetched while the demo and the tests run: the model comes with its package.
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 HF_DATASETS_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
# One thread for each pytest worker; the tests that are about threads set their own number.
TEST_ENV := $(OFFLINE) OMP_NUM_THREADS=1 MPLBACKEND=Agg

PYTEST := $(TEST_ENV) $(PY) -m pytest -n $(WORKERS) --dist loadgroup $(PYTEST_FLAGS)

.DEFAULT_GOAL := help
# Two installations into one environment must not run side by side.
.NOTPARALLEL:
.PHONY: help python demo test test-all bench lint format format-check types docs clean

help:
	@echo "make demo          install, then run the demo; it writes polypool-demo/index.html"
	@echo "make test          install, then run the tests"
	@echo "make test-all      the same with the long matrix"
	@echo "make bench         measure everything against everybody; takes some 20 minutes of a quiet machine"
	@echo "make lint          ruff check"
	@echo "make format        ruff format; make format-check only looks"
	@echo "make types         mypy"
	@echo "make docs          build the documentation into docs/_build/html"
	@echo "make clean         remove what was built, .venv too"
	@echo "PYTHON=python3.12 make demo   takes another interpreter (3.11 or newer)"

$(PY):
	@command -v "$(PYTHON)" >/dev/null 2>&1 || \
	  { echo "polypool needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "polypool needs Python 3.11 or newer; '$(PYTHON)' is $$("$(PYTHON)" --version 2>&1). Name another: make PYTHON=python3.11" >&2; exit 1; }
	@echo "creating $(VENV) with $$("$(PYTHON)" --version)"
	@"$(PYTHON)" -m venv $(VENV)

# One stamp for each set of extras. The larger sets hold the smaller: after `make test`, `make demo` finds
# everything there and its installation is a short check.
$(VENV)/.installed-%: $(PINS) | $(PY)
	@echo "installing polypool[$*] into $(VENV) (some minutes the first time)"
	@$(PY) -m pip install $(PIP_FLAGS) --disable-pip-version-check -e ".[$*]" -c constraints.txt
	@touch $@

DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
DOCS := $(VENV)/.installed-docs

demo: $(DEMO)
	$(OFFLINE) $(VENV)/bin/polypool demo

test: $(DEV)
	$(PYTEST) -m "not slow"

# Once more without kernels: what runs where numba is missing.
test-all: $(DEV)
	$(PYTEST)
	POLYPOOL_KERNELS=reference $(PYTEST) -m "not slow" tests/test_conformance.py tests/bad_input tests/cells tests/layouts tests/poolings tests/blocks

# The command sets MALLOC_MMAP_THRESHOLD_, MALLOC_TRIM_THRESHOLD_ and MALLOC_TOP_PAD_ for the processes that measure, so
# that malloc keeps freed memory, for everybody alike; and unsets them for the table that is about fresh memory. A wrong
# result in one suite does not keep the others from being measured.
bench: $(BENCH)
	@failed=0; for suite in $(SUITES); do \
	  $(OFFLINE) $(VENV)/bin/polypool bench --suite $$suite --json benchmarks/results/$$suite.json $(BENCH_FLAGS) || failed=$$?; \
	done; exit $$failed

lint: $(DEV)
	$(PY) -m ruff check .

format: $(DEV)
	$(PY) -m ruff format .

format-check: $(DEV)
	$(PY) -m ruff format --check .

types: $(DEV) $(DOCS)
	$(PY) -m mypy

docs: $(DOCS)
	$(OFFLINE) MPLBACKEND=Agg $(PY) -m sphinx -W --keep-going $(SPHINX_FLAGS) -b html docs docs/_build/html

clean:
	rm -rf $(VENV) build dist polypool-demo docs/_build docs/_generated docs/gallery docs/operators
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
