# Everything happens in this folder: packages go to .venv, what is costly to make to .cache.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup demo up test test-unit lint bench lock

# Parts of the system (commands, not packages), fetched where root and apt-get allow it.
DEMO_PARTS := dockerd docker sshd ssh-keygen unshare mount
TEST_PARTS := $(DEMO_PARTS) ssh redis-server chromium mmdebstrap promtool shellcheck busybox
BENCH_PARTS := $(TEST_PARTS) pssh ansible

# Most tests wait, so there are more processes than cores. Groups and order: tests/support/parallel.py.
PARALLEL := --numprocesses=4 --dist=loadgroup --no-loadscope-reorder

# make test PYTEST_ARGS="tests/unit -k ages"    make demo DEMO_ARGS=--keep
PYTEST_ARGS ?= --cov $(PARALLEL)
DEMO_ARGS ?=
UP_ARGS ?=
BENCH_ARGS ?=

help:  ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' Makefile

setup: .venv/.requirements  ## Install Holystone and its pinned dependencies into .venv, and nothing else

demo: .venv/.requirements  ## Prune a real, throw-away Docker host over ssh, then remove all that was made
	@.ci/system-parts $(DEMO_PARTS)
	@.venv/bin/holystone demo $(DEMO_ARGS)

up: .venv/.requirements  ## Run Redis, worker, beat and Flower on this machine until Ctrl-C
	@.venv/bin/holystone up $(UP_ARGS)

test: .venv/.requirements-dev  ## Run all tests; without some part of the system, those that can run
	@.ci/system-parts $(TEST_PARTS)
	.venv/bin/python -m pytest $(PYTEST_ARGS)

test-unit: .venv/.requirements-dev  ## Run the unit tests: seconds, no network, no services
	.venv/bin/python -m pytest tests/unit

lint: .venv/.requirements-dev  ## Check style, types and the direction of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports
	@if command -v shellcheck >/dev/null; then shellcheck .ci/* hostside/*; fi

bench: .venv/.requirements-dev  ## Measure speed and memory beside ssh, pssh and Ansible; a report, no test
	@.ci/system-parts $(BENCH_PARTS)
	.venv/bin/python -m tests.bench $(BENCH_ARGS)

lock:  ## Renew requirements.lock and requirements-dev.lock
	.ci/lock

.venv/.%: %.lock pyproject.toml .ci/venv
	@.ci/venv $<
	@touch $@
