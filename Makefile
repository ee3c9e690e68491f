# Four verbs for every day: demo, test, check, build. Everything is set up on first use, in .venv.
PYTHON ?= python3
# A CPU build where pip can find one; on Linux the plain index has CUDA builds of several GB:
#   PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make demo
TORCH ?= torch==2.13.0

VENV := .venv
DOCS := .venv-docs
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check format notebooks outputs build ship lowest bench docs clean

help: ## Show this list
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.runtime ## Index the Python standard library's documentation and search it
	@$(BIN)/jina-local demo --to edge:.demo

test: check ## Format check, lint, types, tests
	@OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2

check: $(VENV)/.dev ## Format check, lint, types
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@echo "check: formatted, linted, typed"

format: $(VENV)/.dev ## Rewrite the sources in the project's format
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

notebooks: $(VENV)/.notebooks ## Execute all notebooks, and compare what they show with what is committed
	@$(BIN)/python tools/notebooks.py

outputs: $(VENV)/.notebooks ## Execute all notebooks, and keep what they show
	@$(BIN)/python tools/notebooks.py --write

build: $(VENV)/.dev ## Source distribution, and from it the wheel, into dist/
	@rm -rf dist
	@$(BIN)/python -m build --outdir dist . > .venv/build.log || { cat .venv/build.log; exit 1; }
	@ls -l dist

ship: build ## Install the wheel into a clean environment, without the sources, and test it
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh tools/ship.sh

lowest: ## All tests with the lowest allowed versions of direct dependencies
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh tools/lowest.sh

bench: $(VENV)/.dev ## Benchmarks on this machine's CPU, a few minutes
	@$(BIN)/python -m benchmarks

# Never with --quiet: what is not printed is not counted, and then strict mode finds nothing.
docs: $(DOCS)/.docs ## Guides and API reference as a site, into site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build
	@echo "docs: site/index.html"

clean: ## Remove everything that the other targets made
	@rm -rf $(VENV) .venv-* .demo dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Each stamp is written last, so that an interrupted installation starts again.
$(VENV)/bin/python:
	@echo "set-up: new environment in $(VENV) ($$($(PYTHON) --version))"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: pyproject.toml | $(VENV)/bin/python
	@echo "set-up: jina-local with Qdrant (once; a few minutes)"
	@$(PIP) --upgrade "pip>=25.1"
	@$(PIP) "$(TORCH)"
	@$(PIP) --editable ".[edge]"
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	@echo "set-up: frameworks and development tools (once; a few minutes)"
	@$(PIP) --editable ".[all]" --group dev
	@touch $@

$(VENV)/.notebooks: $(VENV)/.dev
	@echo "set-up: what a notebook trains with (once)"
	@$(PIP) --group notebooks
	@touch $@

# The site is made without importing the packages: nothing of theirs is installed.
$(DOCS)/.docs: pyproject.toml
	@echo "set-up: what makes the site, in $(DOCS) (once)"
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check --group docs
	@touch $@
