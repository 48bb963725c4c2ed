# Every target sets itself up. A second run starts at once.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
TOOLS := .venv-tools
# The CPU build of torch is smaller: make demo TORCH_INDEX=https://... names an index of yours that has it.
TORCH_INDEX ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-one lint protos-lint format hooks docs docs-links mutants bench fuzz chaos defences dist stubs \
	sbom audit up down clean

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | sort | sed -E 's/^([a-z-]+):.*## (.*)/  \1|\2/' | column -t -s '|'

setup: $(VENV)/.complete stubs $(VENV)/.kernels ## make the virtual environment and everything in it

$(VENV)/.python: requirements/embedded.txt
	@scripts/prerequisites $(PYTHON)
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing the services' requirements"
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/embedded.txt
	@touch $@

$(VENV)/.project: $(VENV)/.python pyproject.toml services/pyproject.toml
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable services
	@touch $@

$(VENV)/.complete: $(VENV)/.project requirements/torch.txt
	@echo "installing torch, which only training needs: the largest part of the set-up"
	@if [ -n "$(TORCH_INDEX)" ]; then $(BIN)/pip install --quiet --index-url "$(TORCH_INDEX)" torch onnx onnxscript; \
	else $(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/torch.txt; fi
	@touch $@

stubs: $(VENV)/.project
	@$(BIN)/python scripts/build_stubs.py

$(VENV)/.kernels: $(VENV)/.project $(wildcard libraries/fleetloop/triggerlang/kernels/*.py) | stubs
	@echo "compiling the detector's loops: about a minute, once"
	@$(BIN)/python -m fleetloop.triggerlang.kernels.warm
	@touch $@

demo: setup ## bring everything up, drive a fleet, and turn the loop twice (ARGS=--label-myself to label)
	@$(BIN)/fleetloop demo $(ARGS)

test: setup ## run every test: unit, contract, integration on a real Kafka, end to end, browser
	@$(BIN)/python -m pytest $(ARGS)

test-fast: setup ## run the tests that need no broker
	@$(BIN)/python -m pytest tests/unit tests/contract tests/security $(ARGS)

test-one: setup ## run the tests of one path (ARGS=tests/unit/label_desk)
	@$(if $(ARGS),,echo "name a path: make test-one ARGS=tests/unit/label_desk" >&2; exit 2;) $(BIN)/python -m pytest $(ARGS)

# Needs neither torch nor compiled kernels, so that it works a minute after cloning.
lint: stubs ## check style, types and the architecture's rules
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python scripts/check_style.py
	@$(BIN)/mypy libraries services scripts tests
	@$(BIN)/lint-imports

protos-lint: ## hold the protos to buf's rules, and to what was there before (needs npm)
	@npm exec --yes --package=@bufbuild/buf -- buf lint protos
	@npm exec --yes --package=@bufbuild/buf -- buf breaking protos --against '.git#branch=main,subdir=protos'

format: $(VENV)/.python ## format the code with ruff
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

$(TOOLS)/.complete: requirements/tools.txt | $(VENV)/.python
	@echo "installing Sphinx, cosmic-ray, pre-commit and the tools of the supply chain"
	@$(PYTHON) -m venv --clear $(TOOLS)
	@$(TOOLS)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.txt
	@ls -d "$(CURDIR)"/$(VENV)/lib/python*/site-packages > $$(ls -d $(TOOLS)/lib/python*/site-packages)/after_project.pth
	@touch $@

hooks: $(VENV)/.project $(TOOLS)/.complete ## install the git hooks that check style and commit messages
	@$(TOOLS)/bin/pre-commit install

# Sphinx reads docstrings by importing the code; after_project.pth puts the code's requirements behind Sphinx's own.
SPHINX = PYTHONPATH=libraries:services $(TOOLS)/bin/python -m sphinx
docs: $(TOOLS)/.complete stubs ## build the documentation; a broken link is an error (docs/_build/html)
	@$(SPHINX) --fail-on-warning --keep-going --quiet -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

docs-links: $(TOOLS)/.complete stubs ## check the documentation's external links (needs the internet)
	@$(SPHINX) --quiet -b linkcheck docs docs/_build/links

mutants: setup $(TOOLS)/.complete ## plant one fault at a time and list those that no test finds (ARGS=label_desk/core)
	@$(BIN)/python scripts/mutants.py $(ARGS)

bench: setup ## measure, as ratios in one run; results go to .fleetloop/bench
	@$(BIN)/python -m tests.bench $(ARGS)

chaos: setup ## harm the running system under load and look for what is lost (ARGS=quick within 10 minutes, ARGS=list)
	@$(BIN)/python -m tests.chaos $(ARGS)

defences: setup ## remove every defence of SECURITY.md, one at a time, and require a failing test (ARGS=--quick, ARGS=--list)
	@$(BIN)/python -m tests.defences $(ARGS)

fuzz: setup ## fuzz everything that takes bytes from outside (ARGS="--inputs 1000000 --write"; Linux only)
	@$(BIN)/python -m tests.fuzz $(ARGS)

dist: stubs ## build the wheels of fleetloop and of its services into dist/
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir dist . ./services
	@ls dist

up: setup ## run all services on this machine until Ctrl-C
	@$(BIN)/fleetloop up $(ARGS)

down: setup ## stop what `make up` started in the background
	@$(BIN)/fleetloop down

sbom: $(TOOLS)/.complete ## list what the services' image installs, in CycloneDX (dist/sbom.cdx.json); needs no network
	@mkdir -p dist
	@$(TOOLS)/bin/cyclonedx-py requirements --output-reproducible -o dist/sbom.cdx.json requirements/services.txt

audit: $(TOOLS)/.complete ## look for known vulnerabilities of the pinned requirements (needs the internet)
	@for file in services embedded torch build tools; do \
		$(TOOLS)/bin/pip-audit --strict --require-hashes --disable-pip -r requirements/$$file.txt || exit 1; done

clean: ## remove what runs left behind (not the virtual environment)
	rm -rf .fleetloop .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
