# make demo | test | check | docs: each makes the virtual environment that it needs, if there is none.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

# One core a worker: several test processes that each start threads for every core slow each other down.
TEST_ENVIRONMENT := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
# pydoclint has an environment of its own: its docstring parser has the import name of the one that cyclopts needs.
# The rules chosen say that what a docstring lists is true (arguments that exist, in their order; returns and yields
# that happen); they do not ask for a section where one line says it all.
DOCSTRINGS := $(VENV)/docstrings
DOCSTRING_RULES := --select=DOC102,DOC104,DOC105,DOC202,DOC203,DOC403,DOC404 --style=google \
	--arg-type-hints-in-docstring=False --check-return-types=False --check-yield-types=False \
	--check-class-attributes=False --skip-checking-raises=True

WORKERS ?= auto
OUT ?= demo

.DEFAULT_GOAL := help
.PHONY: help demo test check docs format clean mutations

help:
	@echo "make demo    phantom -> training -> synthetic CT -> report, in $(OUT)/ (some minutes on two cores)"
	@echo "make test    the tests"
	@echo "make check   format, lint, types, docstrings and doctests"
	@echo "make docs    the documentation, in site/"
	@echo "make mutations  break the code on purpose, and show the test that notices (some minutes)"
	@echo "make format  rewrite the sources in the project's format"
	@echo "make clean   remove what these made, but not $(VENV)"
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) WORKERS=$(WORKERS) OUT=$(OUT)"

demo: $(VENV)/.with-medgen
	$(BIN)/medgen demo --out $(OUT)

test: $(VENV)/.with-dev
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -n $(WORKERS) tests

check: $(VENV)/.with-dev $(DOCSTRINGS)/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(DOCSTRINGS)/bin/flake8 --isolated $(DOCSTRING_RULES) medgen
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest --doctest-modules medgen

docs: $(VENV)/.with-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict # --quiet would hide the warnings from --strict

mutations: $(VENV)/.with-dev
	$(TEST_ENVIRONMENT) $(BIN)/python -m tests.faults.mutations

format: $(VENV)/.with-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
		echo "medgen needs Python 3.11, 3.12 or 3.13, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
		echo "  do: install one of them and name it, for example: make demo PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "the virtual environment could not be made."; \
		echo "  do: install Python's venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }

$(VENV)/.with-medgen: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing medgen into $(VENV); the first time this downloads torch"
	$(PIP) -e .
	@touch $@

$(VENV)/.with-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing medgen and its development tools into $(VENV); the first time this downloads torch"
	$(PIP) -e '.[dev]'
	@touch $(VENV)/.with-medgen $@

$(DOCSTRINGS)/.done: constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(DOCSTRINGS)
	$(DOCSTRINGS)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt 'pydoclint[flake8]'
	@touch $@
