# Builds, tests and shows pagemesh. CARGO_TARGET_DIR is honoured.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check lint chart images sim bench bench-peers scale e2e e2e-test e2e-up e2e-down binaries need-cargo need-cc need-python

CARGO ?= cargo
CC ?= cc
PYTHON ?= python3
SEEDS ?= 100000
ROUNDS ?= 20
# Asked of cargo, once and only when it is needed, for it may be set in cargo's configuration as well.
TARGET = $(eval TARGET := $$(shell $(CARGO) metadata --no-deps --format-version 1 | $(PYTHON) -c \
	'import json, sys; print(json.load(sys.stdin)["target_directory"])'))$(TARGET)

help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: need-cargo need-cc need-python ## Three nodes on this machine share memory: build, check the machine, show it
	$(CARGO) build --release --workspace
	$(TARGET)/release/pagemesh check
	@mkdir -p $(TARGET)/demo
	for source in demo/*.c; do \
		$(CC) -std=c11 -O2 -Wall -Wextra -pthread -o "$(TARGET)/demo/$$(basename "$$source" .c)" "$$source"; \
	done
	DEMO_PROGRAMS=$(TARGET)/demo $(TARGET)/release/pagemesh dev --nodes 3 --dir $(TARGET)/demo/mesh \
		--region dictionary=1Mi --region counters=1Mi --region words=64Mi -- demo/run.sh

test: need-cargo need-cc need-python binaries ## All tests, those on the real kernel and 2,000 seeds of the simulation included
	$(CARGO) test --workspace --exclude pagemesh-protocol
	$(CARGO) test --release -p pagemesh-protocol
	$(CARGO) test --release -p pagemesh-protocol --features mutations --test mutations

check: lint test ## All that CI runs but the demo: lint, then test

lint: need-cargo need-python chart ## Formatting, clippy, chart and manifests, links of the documentation
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) clippy -p pagemesh-protocol --all-targets --features mutations -- -D warnings
	$(PYTHON) docs/check_links.py
	@if command -v mdbook > /dev/null; then mdbook build docs -d $(TARGET)/book; fi

chart: need-python ## The Helm chart and all manifests, against the schemas of Kubernetes and our own
	PYTHON=$(PYTHON) charts/check

bench: need-cargo ## What sharing memory costs here, beside the bare kernel and network. LIMITS: another program that measures these
	$(CARGO) build --release -p pagemesh -p pagemesh-agent
	$(TARGET)/release/pagemesh bench $(if $(LIMITS),--limits $(LIMITS))

images: need-cargo need-python ## Container images of static programs, as archives in TARGET/images; no engine is needed
	CARGO=$(CARGO) PYTHON=$(PYTHON) deploy/image/build $(TARGET)/images

sim: need-cargo ## Simulate the protocol with SEEDS seeds (default 100000)
	SEEDS=$(SEEDS) $(CARGO) test --release -p pagemesh-protocol --test simulation -- --nocapture

scale: need-cargo need-python ## Count what the protocol costs per access with 2 to 1,000 agents: tables and a plot in TARGET/scale
	$(CARGO) run --release -p pagemesh-protocol --example scale -- $(TARGET)/scale

bench-peers: need-cargo need-cc ## Pagemesh, MPI, Redis, memcached and NFS do the same work in one interleaved run, ROUNDS times (default 20)
	bench/peers/install
	$(CARGO) build --release -p pagemesh -p pagemesh-agent -p pagemesh-bench-peers
	$(TARGET)/release/pagemesh-bench-peers --rounds $(ROUNDS)

e2e: images ## The end-to-end tests on a real Kubernetes, which is made when there is none
	IMAGES=$(TARGET)/images e2e/run

e2e-test: images ## Those of the end-to-end tests whose names contain T
	IMAGES=$(TARGET)/images e2e/run $(T)

e2e-up: ## A Kubernetes cluster for the end-to-end tests: e2e/cluster/cluster says how to use it
	e2e/cluster/cluster up

e2e-down: ## Delete that cluster
	e2e/cluster/cluster down

# Tests start the agent, the command line and programs under the preload library as a user does.
binaries: need-cargo
	$(CARGO) build --workspace

need-cargo:
	@command -v $(CARGO) > /dev/null || { echo "pagemesh needs Rust: install it from https://rustup.rs"; exit 1; }
need-cc:
	@command -v $(CC) > /dev/null || { echo "pagemesh needs a C compiler: install gcc, or name yours with CC="; exit 1; }
need-python:
	@command -v $(PYTHON) > /dev/null || { echo "pagemesh needs Python 3: install python3"; exit 1; }
