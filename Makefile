# Two commands do all the set-up: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
DEMO   ?= .demo
# all extras but ray, which is heavy and holds cloudpickle back
EXTRAS := docs launchers lint lock search test

export WANDB_SILENT ?= true

.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# Rebuilt only when what it depends on changes. Editable, so the checkout is what runs.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "covidct needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV) (a minute or two) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

setup: $(READY)  ## virtual environment with the locked packages

demo: $(READY)  ## synthetic hospital to report, end to end, on two CPU cores
	@bash experiments/demo/run.sh $(BIN)/covidct $(DEMO)

test: $(READY)  ## all tests, on up to four cores; TESTS=tests/ct for some
	@$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal $(TESTS)

lint: $(READY)  ## ruff, formatting, the floors of the house, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/mypy

bench: $(READY)  ## ours beside a plain peer; BENCH=--full for everything, BENCH=--quick for a toy
	@$(BIN)/python -m experiments.throughput.bench $(if $(wildcard ../shared/data/covid_ct_md),--real ../shared/data/covid_ct_md) $(BENCH)

docs: $(READY)  ## the manual, as a site in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

lock: $(READY)  ## resolve requirements.lock anew from pyproject.toml and constraints.txt
	@$(BIN)/pip-compile --quiet --upgrade --strip-extras --no-emit-index-url --no-emit-find-links \
	  --no-emit-trusted-host --no-header $(EXTRAS:%=--extra %) -c constraints.txt -o requirements.lock pyproject.toml
	@sed -i -e 's/+cpu$$//' -e '1i # Exact versions for covidct and every extra, made by `make lock` from pyproject.toml and constraints.txt; do not edit.\n# No hashes: torch 2.13.0 has one wheel for CPU and another for GPU machines.' requirements.lock

clean:  ## remove what the targets made, but not your runs
	@rm -rf $(DEMO) site build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

.PHONY: help setup demo test lint bench docs lock clean
