# `make demo` and `make test` need Python 3.11+, make and a package registry; nothing else.
PYTHON ?= python3
VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# On a GPU machine: make demo CONSTRAINTS= (then pip takes torch's CUDA build); see README.
CONSTRAINTS ?= constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-reliability test-nightly test-scale test-mutants evaluate bench bench-peers bench-service format lint type test-deps reference clean

help: ## these lines
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

# the stamp makes a second run install nothing
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --editable '.[dev]'
	@touch $@

install: $(VENV)/.installed ## make .venv with everything that running and testing need

demo: install ## transcribe the sample recordings through the daemon's own path
	@$(BIN)/thoth-watch demo

test: install ## run the tests
	@$(BIN)/python -m pytest

test-reliability: install ## kills, power cuts, full disks, hostile files: the long set, at most 45 minutes on 2 cores
	@$(BIN)/python -m pytest -m reliability

test-nightly: install ## the same, for hours
	@$(BIN)/python -m pytest -m nightly

$(VENV)/.installed-scale: $(VENV)/.installed
	$(PIP) install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --editable '.[dev,celery,postgres,redis]'
	@touch $@

test-scale: $(VENV)/.installed-scale ## several machines: faults of workers, Redis, RabbitMQ and PostgreSQL (make test-deps has them)
	@$(BIN)/python -m pytest -m "scale and not nightly"

test-mutants: install ## bugs put in on purpose: each must turn a test red
	@$(BIN)/python -m tests.reliability.mutants

evaluate: install ## measure the builtin model (EVALUATE_ARGS="--people FOLDER" adds real recordings)
	@$(BIN)/python -m training.evaluate $(EVALUATE_ARGS)

bench: install ## time the engines side by side (BENCH_ARGS=--quick: builtin and tiny)
	@$(BIN)/python -m benchmarks.bench $(BENCH_ARGS)

# ours and theirs in one environment, so that they share torch; needs a C++ compiler for whisper.cpp,
# whose AMX kernels for int8 end in a protection fault (ggml 0.13.1): it is built without those
NO_AMX := $(if $(filter x86_64,$(shell uname -m)),-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8)
$(PEERS)/.installed: pyproject.toml benchmarks/peers-requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/pip --disable-pip-version-check --quiet install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --editable '.[training]'
	CMAKE_ARGS="$(NO_AMX)" $(PEERS)/bin/pip --disable-pip-version-check --quiet install \
		$(if $(CONSTRAINTS),-c $(CONSTRAINTS)) --no-binary pywhispercpp --requirement benchmarks/peers-requirements.txt
	@touch $@

bench-peers: $(PEERS)/.installed ## time faster-whisper, openai-whisper, whisper.cpp and others beside ours (BENCH_ARGS=--quick: tiny)
	@$(PEERS)/bin/python -m benchmarks.peers $(BENCH_ARGS)

bench-service: install ## measure what stands around the engine (BENCH_ARGS="--only lone" and the like)
	@$(BIN)/python -m benchmarks.service $(BENCH_ARGS)

lint: install ## style, layers and types
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/mypy

type: install ## types only
	@$(BIN)/mypy

format: install ## put the code in shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

reference: install ## write docs/reference and man pages (build/man) from the code
	@$(BIN)/python docs/make_reference.py --man build/man

test-deps: ## Debian packages that only tests and training need (as root; skipped elsewhere)
	@sh tests/install-debian-packages.sh

clean: ## remove what the commands above made
	rm -rf $(VENV) $(PEERS) demo build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
