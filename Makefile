# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CONFIG ?= configs/cnn_digits.py

.PHONY: quickstart test test-slow lint format docs clean help

help:
	@echo "make quickstart  install into $(VENV) and run the benchmark on the embedded digits data"
	@echo "make test        install with test tools and run the tests (make test-slow: the long ones)"
	@echo "make lint        formatting, lint, types, and the order of imports"
	@echo "make format      format the code"
	@echo "make docs        install with the tools of the site and build it into site/"
	@echo "make clean       remove $(VENV), site/ and caches (never checkpoints/)"

quickstart: $(VENV)/.installed
	$(BIN)/python bin/sweep.py --config=$(CONFIG)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.installed-dev
	JAXMU_TEST_COMPILER=full $(BIN)/python -m pytest -n 2 -m slow

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@

$(VENV)/.installed-dev: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-docs: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[bench,docs]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) site .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
