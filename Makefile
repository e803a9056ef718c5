# `make demo` and `make test` need Python 3.11 or newer, make and git; they create .venv and install what is missing.
PYTHON ?= python3
VENV := .venv
# One thread per test process: on shared cores several threads are slower than one, and results don't depend on them.
PYTEST := OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest --numprocesses 2 --dist loadfile
BIN := $(VENV)/bin
DEMO := demo

.PHONY: help weights test-weights demo test test-fast lint clean

help:
	@echo "make demo       train on synthetic people for 5 to 35 minutes, measure, write $(DEMO)/animation.mp4"
	@echo "make test       lint, types and the whole test suite"
	@echo "make test-fast  the tests that take seconds"
	@echo "make lint       ruff and mypy"

# The stamp is newer than what it depends on exactly when nothing needs installing.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

weights: $(VENV)/installed
	@$(BIN)/zoo weights install lpips

# What the tests measure with besides: 137 MB more.
test-weights: weights
	@$(BIN)/zoo weights install fvd
	@$(BIN)/zoo weights install fid
	@$(BIN)/zoo weights install pose

demo: weights
	$(BIN)/zoo demo --output $(DEMO)

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint test-weights
	$(PYTEST)

test-fast: test-weights
	$(PYTEST) -m "not slow"

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
