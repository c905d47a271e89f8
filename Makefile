# make train      install and train, with a page at a printed URL (ARGS="--exit-when-done" for scripts)
# make test       check and run every test, after installing the system packages they need
# make test-fast  run the unit tests: no Ray, no browser, no Prometheus
# make check      run the linter, the formatter's check and the type checker
# make generate   write the generated files: dashboards, rules, metric reference
# make lock       write the hashes of constraints.txt to requirements.txt and requirements-dev.txt
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false

.PHONY: train test test-fast pytest check lint types generate lock clean

train: $(VENV)/.installed
	@$(BIN)/raymon train $(ARGS)

test: lint
	@scripts/system-packages
	@$(MAKE) --no-print-directory -j2 types pytest  # together, since many tests wait

pytest: $(VENV)/.installed-dev
	env -u MAKEFLAGS $(BIN)/python -m pytest $(ARGS)  # cmake in a test must not look for this make's other jobs

test-fast: $(VENV)/.installed-dev
	$(BIN)/python -m pytest tests/unit $(ARGS)

check: lint types

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

generate: $(VENV)/.installed-dev
	$(BIN)/python -m generate

lock: $(VENV)/.installed-dev
	$(BIN)/python scripts/lock

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name another with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

# Torch comes without a hash: each of its builds, with and without CUDA, has its own. See scripts/lock.
$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt requirements.txt
	$(PIP) --no-deps --require-hashes -r requirements.txt
	$(PIP) -c constraints.txt torch
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt
	$(PIP) --no-deps --require-hashes -r requirements-dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
