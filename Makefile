# make demo | test | check | docs | ...: each makes the virtual environment that it needs, if there is none.
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

# What looks after the supply has an environment of its own too: its tools need other versions of shared packages.
SUPPLY := $(VENV)/supply
PLAIN := $(VENV)-plain
PLAIN_DEMO := $(abspath $(PLAIN))/demo
# Licences that oblige those who use or pass on medgen, and none at all: words in what a package says of itself.
REFUSED := GPL;GNU General;GNU Affero;SSPL;Commons Clause;Proprietary;UNKNOWN

WORKERS ?= auto
OUT ?= demo

.DEFAULT_GOAL := help
.PHONY: help demo test check docs defaults mutations wheel plain lock audit licences versions format clean

help:
	@echo "make demo    phantom -> training -> synthetic CT -> report, in $(OUT)/ (some minutes on two cores)"
	@echo "make test    the tests"
	@echo "make check   format, lint, types, docstrings and doctests"
	@echo "make docs    the documentation, in site/"
	@echo "make defaults  do the defaults of every method train? (eight minutes of one core)"
	@echo "make wheel   the wheel, in dist/, and whether it holds what it should"
	@echo "make plain   the wheel without extras in an environment of its own, and medgen demo at 5 mm with it"
	@echo "make lock    requirements.lock: the versions of constraints.txt and all that they need, with hashes"
	@echo "make audit   known vulnerabilities of what the lock names (asks the package index)"
	@echo "make licences  the licences of what is installed; fails for those that medgen does not take"
	@echo "make versions  does the core resolve, from wheels alone, for each Python?"
	@echo "make mutations  break the code on purpose, and show the test that notices (some minutes)"
	@echo "make format  rewrite the sources in the project's format"
	@echo "make clean   remove what these made, but not $(VENV)"
	@echo "Variables: PYTHON=$(PYTHON) VENV=$(VENV) WORKERS=$(WORKERS) OUT=$(OUT)"

demo: $(VENV)/.with-medgen
	$(BIN)/medgen demo --out $(OUT)

test: $(VENV)/.with-dev
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile tests

check: $(VENV)/.with-dev $(DOCSTRINGS)/.done
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(DOCSTRINGS)/bin/flake8 --isolated $(DOCSTRING_RULES) medgen
	$(TEST_ENVIRONMENT) $(BIN)/python -m pytest --doctest-modules medgen

docs: $(VENV)/.with-dev
	$(BIN)/properdocs build --strict # --quiet would hide the warnings from --strict

# By pip alone, as people's own installations do. One wheel at a time: dist/*.whl is what images are made of.
wheel: | $(VENV)/bin/python
	rm -f dist/medgen-*.whl
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(BIN)/python -m tests.wheel_contents dist/medgen-*.whl

# From the wheel, and in another folder: so that a file which the package lacks is missed.
plain: wheel
	rm -rf $(PLAIN)
	@$(MAKE) --no-print-directory VENV=$(PLAIN) $(PLAIN)/bin/python
	$(PLAIN)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt dist/medgen-*.whl
	cd $(PLAIN) && bin/medgen demo --spacing 5 --set schedule.steps=600 --set schedule.validate_every=600 --out $(PLAIN_DEMO)
	test -s $(PLAIN_DEMO)/report.html
	@echo "a plain install ends its demo with $(PLAIN_DEMO)/report.html"

lock: $(SUPPLY)/.done
	$(SUPPLY)/bin/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11.5 --quiet \
		--constraints constraints.txt --generate-hashes --no-annotate --no-header --output-file requirements.lock

audit: $(SUPPLY)/.done # strict: else a package of which the index says nothing counts as sound
	$(SUPPLY)/bin/pip-audit --strict --requirement requirements.lock --require-hashes --disable-pip

licences: $(SUPPLY)/.done $(VENV)/.with-dev
	$(SUPPLY)/bin/pip-licenses --python $(BIN)/python --with-urls --order license --partial-match --fail-on '$(REFUSED)'

versions: $(SUPPLY)/.done
	@for version in 3.11 3.12 3.13 3.14; do $(SUPPLY)/bin/uv pip compile pyproject.toml --quiet --no-header \
		--no-annotate --only-binary :all: --python-version $$version --output-file $(SUPPLY)/$$version.txt || exit 1; \
		echo "Python $$version: the core resolves from wheels, $$(grep -c == $(SUPPLY)/$$version.txt) packages"; done

defaults: $(VENV)/.with-dev
	$(TEST_ENVIRONMENT) $(BIN)/python pipelines/defaults/run.py

mutations: $(VENV)/.with-dev
	$(TEST_ENVIRONMENT) $(BIN)/python -m tests.faults.mutations

format: $(VENV)/.with-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' || { \
		echo "medgen needs Python 3.11, 3.12, 3.13 or 3.14, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
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

$(SUPPLY)/.done: constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(SUPPLY)
	$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv pip-audit pip-licenses
	@touch $@
