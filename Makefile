# Two commands for a new user: `make run` and `make test`. Each makes .venv first if it is missing or out of date.
.DEFAULT_GOAL := help
.PHONY: help setup run run-fast run-long compare test test-all figures mutants clean
CONFIG ?= examples/cheerful.toml
ARGS ?=
READY := .venv/.ready

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(READY)  ## make .venv with every package at its pinned version (the others call it)

$(READY): pyproject.toml constraints.txt scripts/setup
	@echo "Making .venv: about two minutes and 2 GB on a first call, a moment later on."
	scripts/setup
	@touch $@

run: $(READY)  ## the main job, about 10 minutes on two cores; options through ARGS, another config through CONFIG
	.venv/bin/credence run $(CONFIG) $(ARGS)

run-fast: $(READY)  ## the same in about 2 minutes, for trying out
	.venv/bin/credence run $(CONFIG) --fast $(ARGS)

run-long: $(READY)  ## the same with a budget of up to 90 minutes
	.venv/bin/credence run $(CONFIG) --long $(ARGS)

compare: $(READY)  ## engines on the main job's target and on a hard constraint, budgets of 23 CPU minutes in all
	scripts/compare $(ARGS)

test: $(READY)  ## format, lint, types, layers and every test of about a CPU second or less; under 10 minutes
	scripts/check

test-all: test  ## the slow tests too: end to end on the embedded model, kills, mutants; 25 minutes more
	scripts/check slow

figures: $(READY)  ## published figures reproduced, JSON and pictures in runs/figures; ARGS="f8 f9" for some, three minutes in all
	OMP_NUM_THREADS=1 .venv/bin/python scripts/figures $(ARGS)

mutants: $(READY)  ## every named wrong engine on ten seeds, as a table; ARGS="chain decoding" for some
	OMP_NUM_THREADS=1 .venv/bin/python -m tests.mutants $(ARGS)

clean:  ## remove .venv and caches; runs/ stays
	rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache
