# sync · test · dev · lint · bench: each does all of its own set-up, and is quick when nothing changed.

SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
export DAGSTER_HOME := $(CURDIR)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export DAGSTER_DISABLE_TELEMETRY := 1
# Nobody else on this machine may read what a deployment writes, Python's compiled files included.
PRIVATELY := umask 077;
# Where Python is told to keep no bytecode, each of a hundred processes here would compile all of it anew.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help sync test dev lint linted ruff types layers image definitions tests-of-parts tests-of-the-whole bench simulate lock audit sbom clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

sync: .venv/ready .env  ## install, migrate, connect the mock organisation, sync 13 weeks, print the figures
	@$(PRIVATELY) $(BIN)/xero-pipeline migrate
	@$(PRIVATELY) $(BIN)/xero-pipeline status --json | grep -q '"connected": true' || $(BIN)/xero-pipeline connect
	@$(PRIVATELY) $(BIN)/xero-pipeline sync --weeks 13

dev: .venv/ready .env  ## the admin page on port 3001, with Dagster's UI at /dagster; Ctrl-C ends it
	@$(PRIVATELY) $(BIN)/xero-pipeline migrate
	@$(PRIVATELY) $(BIN)/xero-pipeline dev

test: .venv/ready-dev  ## everything that CI runs
	@$(MAKE) --no-print-directory --jobs 3 tests-of-parts tests-of-the-whole

WHOLE := xero_pipeline_tests/test_whole.py xero_pipeline_tests/test_door.py
# Three on two cores: many of them wait, for a browser, for Dagster or for the disk.
tests-of-parts: .venv/ready-dev
	$(BIN)/python -m pytest -n 3 --dist worksteal $(addprefix --ignore=,$(WHOLE))

# After the linters: these wait most of their time for Dagster's daemon, and the parts can have the rest.
tests-of-the-whole: linted
	$(BIN)/python -m pytest -q $(WHOLE)

lint: .venv/ready-dev  ## ruff, types, layers, and that Dagster can load the definitions
	@$(MAKE) --no-print-directory --jobs 2 linted

linted: types definitions ruff layers image

types: .venv/ready-dev
	$(BIN)/mypy

definitions: .venv/ready-dev
	XERO_MOCK_MODE=true XERO_ENCRYPTION_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_hex(32))') DAGSTER_HOME= $(BIN)/dagster definitions validate

ruff: .venv/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

image: .venv/ready-dev
	$(BIN)/hadolint Dockerfile

layers: .venv/ready-dev
	$(BIN)/lint-imports

bench: .venv/ready-dev  ## goals, floors and others, measured into dist/bench.md; ONLY=a,c for some of them, FULL=1, DOCS=1
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(RUNS),--runs $(RUNS)) $(if $(FULL),--full) $(if $(DOCS),--write-docs)

# Years that stand in the file RESULTS are left out, so that a thousand of them can be spread over many runs.
simulate: .venv/ready-dev  ## years with every disaster that a seed draws: SEED, YEARS, EVENTS, WEEKS, DATABASE, RESULTS
	@PYTHONHASHSEED=0 $(BIN)/python -m simulator $(if $(SEED),--seed $(SEED)) $(if $(YEARS),--years $(YEARS)) \
		$(if $(EVENTS),--events $(EVENTS)) $(if $(WEEKS),--weeks $(WEEKS)) $(if $(DATABASE),--database $(DATABASE)) \
		$(if $(RESULTS),--results $(RESULTS)) $(if $(KEEP_GOING),--keep-going)

lock: .venv/ready-dev  ## resolve the dependencies anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate --no-header \
		--extra postgres --extra parquet --extra build pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate --no-header \
		--extra postgres --extra parquet --extra build --extra kubernetes pyproject.toml -o requirements-image.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-annotate --no-header \
		--extra postgres --extra parquet --extra build --extra kubernetes --extra dev pyproject.toml -o requirements-dev.lock

audit: .venv/ready-dev  ## compare the locked dependencies with known vulnerabilities
	$(BIN)/python -m supply_chain.audit

sbom: .venv/ready-dev  ## the bill of materials, dist/sbom.cdx.json (CycloneDX)
	$(BIN)/python -m supply_chain.sbom dist/sbom.cdx.json

clean:  ## remove the environment; .env and data/, with the key, the tokens and every figure, stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed; name it with make PYTHON=…")'
	$(PYTHON) -m venv .venv

# Python compiles what is used when it is used: to compile all of it takes pip half a minute.
.venv/ready: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

.venv/ready-dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@ .venv/ready

.env: | .venv/ready
	@$(BIN)/python -c 'import pathlib, secrets, os; \
		text = pathlib.Path(".env.example").read_text(); \
		new = text.replace("XERO_ENCRYPTION_KEY=\n", f"XERO_ENCRYPTION_KEY={secrets.token_hex(32)}\n"); \
		os.close(os.open(".env", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)); \
		pathlib.Path(".env").write_text(new)'
	@echo "made .env from .env.example, with a fresh key"
