# Every target sets itself up. A second run starts at once.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The CPU build of torch is smaller: make demo TORCH_INDEX=https://... names an index of your own that has it.
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast lint protos-lint format bench stubs up down clean

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup: $(VENV)/.complete stubs $(VENV)/.kernels ## make the virtual environment and everything in it

$(VENV)/.python: requirements/embedded.txt pyproject.toml services/pyproject.toml
	@scripts/prerequisites $(PYTHON)
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing the services' requirements"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/embedded.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable services
	@touch $@

$(VENV)/.complete: $(VENV)/.python requirements/torch.txt
	@echo "installing torch, which only training needs: the largest part of the set-up"
	@if [ -n "$(TORCH_INDEX)" ]; then $(BIN)/pip install --quiet --index-url "$(TORCH_INDEX)" torch onnx onnxscript; \
	else $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/torch.txt; fi
	@touch $@

stubs: $(VENV)/.python
	@$(BIN)/python scripts/build_stubs.py

$(VENV)/.kernels: $(VENV)/.python $(wildcard libraries/fleetloop/triggerlang/kernels/*.py) | stubs
	@echo "compiling the detector's loops: about a minute, once"
	@$(BIN)/python -m fleetloop.triggerlang.kernels.warm
	@touch $@

demo: setup ## bring everything up, drive a fleet, and turn the loop twice (ARGS=--label-myself to label)
	@$(BIN)/fleetloop demo $(ARGS)

test: setup ## run every test: unit, contract, integration on a real Kafka, end to end, browser
	@$(BIN)/python -m pytest $(ARGS)

test-fast: setup ## run the tests that need no broker
	@$(BIN)/python -m pytest tests/unit tests/contract $(ARGS)

lint: setup ## ruff, mypy in strict mode, the architecture's rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy libraries services scripts tests
	@$(BIN)/lint-imports

protos-lint: ## hold the protos to buf's rules, and to what was there before (needs npm)
	@npm exec --yes --package=@bufbuild/buf -- buf lint protos
	@npm exec --yes --package=@bufbuild/buf -- buf breaking protos --against '.git#branch=main,subdir=protos'

format: setup ## let ruff put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup ## measure, as ratios in one run; results go to .fleetloop/bench
	@$(BIN)/python -m tests.bench $(ARGS)

up: setup ## run all services on this machine until Ctrl-C
	@$(BIN)/fleetloop up $(ARGS)

down: setup ## stop what `make up` started in the background
	@$(BIN)/fleetloop down

clean: ## remove what runs left behind (not the virtual environment)
	rm -rf .fleetloop .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
