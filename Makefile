# make train   set everything up and train, visible at a printed URL      (ARGS="--exit-when-done" for scripts)
# make test    install what the tests need, system packages included, and run them
# make check   lint and types      make generate   write the generated files anew
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false

.PHONY: train test check generate clean

train: $(VENV)/.installed
	@$(BIN)/raymon train $(ARGS)

test: $(VENV)/.installed-dev
	@scripts/system-packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
# Real processes are stopped, killed and timed here: a test that a busy machine fails once is run once more, and reported.
	$(BIN)/python -m pytest --reruns 1 -rR $(ARGS)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

generate: $(VENV)/.installed-dev
	$(BIN)/python -m generate

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "make needs Python 3.11 or newer, found " + sys.version.split()[0] + "; name another with make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian and Ubuntu: apt-get install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
