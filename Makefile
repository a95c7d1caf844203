# `make demo` and `make test` need only Python 3.11+, make and a package registry.
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# On a GPU machine: make demo CONSTRAINTS= (pip then installs the CUDA build of torch); see README.
CONSTRAINTS ?= constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-reliability test-nightly test-scale test-mutants evaluate bench bench-peers bench-service format lint type test-deps reference clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

# Thanks to the stamp file, a second run installs nothing.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## create .venv with all dependencies needed to run and test

demo: install ## transcribe the sample recordings with the daemon's code path
	@$(BIN)/thoth-watch demo

test: install ## run the tests
	@$(BIN)/python -m pytest

test-reliability: install ## run the long tests of kills, power cuts, full disks and malicious files (up to 45 minutes on 2 cores)
	@$(BIN)/python -m pytest -m reliability

test-nightly: install ## run the reliability tests that take hours
	@$(BIN)/python -m pytest -m nightly

$(VENV)/.installed-scale: $(VENV)/.installed
	$(PIP) install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --editable '.[dev,celery,postgres,redis]'
	@touch $@

test-scale: $(VENV)/.installed-scale ## run the tests of several machines: faults of workers, Redis, RabbitMQ and PostgreSQL (`make test-deps` installs the servers)
	@$(BIN)/python -m pytest -m "scale and not nightly"

test-mutants: install ## check that each deliberately inserted bug fails a test
	@$(BIN)/python -m tests.reliability.mutants

evaluate: install ## evaluate the builtin model (EVALUATE_ARGS="--people FOLDER" adds real recordings)
	@$(BIN)/python -m training.evaluate $(EVALUATE_ARGS)

bench: install ## benchmark the engines (BENCH_ARGS=--quick: only builtin and tiny)
	@$(BIN)/python -m benchmarks.bench $(BENCH_ARGS)

# thoth_watch and the other programs share one environment, and therefore torch. whisper.cpp needs a C++ compiler; it is
# built without its AMX kernels for int8, because they crash with a protection fault (ggml 0.13.1).
NO_AMX := $(if $(filter x86_64,$(shell uname -m)),-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8)
$(PEERS)/.installed: pyproject.toml benchmarks/peers-requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip --disable-pip-version-check --quiet install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --editable '.[training]'
	CMAKE_ARGS="$(NO_AMX)" $(PEERS)/bin/pip --disable-pip-version-check --quiet install \
		$(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --no-binary pywhispercpp --requirement benchmarks/peers-requirements.txt
	@touch $@

bench-peers: $(PEERS)/.installed ## benchmark faster-whisper, openai-whisper, whisper.cpp and others against thoth_watch (BENCH_ARGS=--quick: only tiny)
	@$(PEERS)/bin/python -m benchmarks.peers $(BENCH_ARGS)

bench-service: install ## benchmark everything except the engine (for example BENCH_ARGS="--only lone")
	@$(BIN)/python -m benchmarks.service $(BENCH_ARGS)

lint: install ## check style, import contracts and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

type: install ## check types only
	@$(BIN)/mypy

format: install ## format the code and apply automatic fixes
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

reference: install ## generate docs/reference and man pages (build/man) from the code
	@$(BIN)/python docs/make_reference.py --man build/man

test-deps: ## install the Debian packages that only tests and training need (as root; skipped on other systems)
	@sh tests/install-debian-packages.sh

clean: ## remove everything that the commands above created
	rm -rf $(VENV) $(PEERS) demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
