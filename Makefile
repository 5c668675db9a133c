# Klinecast's commands. `make help` lists them; each installs what it needs
# into .tools/ (scripts/tools.sh).

# Programs in .tools/bin come first. A toolchain that is not on the PATH comes last.
export PATH := $(CURDIR)/.tools/bin:$(PATH):$(HOME)/.cargo/bin:/usr/local/sbin:/usr/sbin

# Flags for the program that a target starts: make run ARGS='--feed sim'.
ARGS ?=
# `make run` builds in this profile: docs/operations.md says why it is not release.
RUN_PROFILE ?= dev
# Where cargo puts its build results.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
# What `make load` runs: ramp, slow, storm, soak or smoke.
LOAD ?= ramp
# What `make deny` checks; empty for all. Without a network: bans licenses sources.
DENY ?=
# Clients of `make load`; empty for the default of the script in loadtest/k6/ (ramp: 10,000).
CONNECTIONS ?=

# A Python with third-party exchange clients, for the tests of exchange-sim.
export KLINECAST_PYTHON ?= $(CURDIR)/.tools/clients-venv/bin/python
# A Python with Binance's own connector, for the tests of the whole system.
export KLINECAST_CONNECTOR_PYTHON ?= $(CURDIR)/.tools/clients-venv-connector/bin/python
# A Python with nats-py, for the tests of broker.
export KLINECAST_BROKER_PYTHON ?= $(CURDIR)/.tools/clients-venv-broker/bin/python
# A Python for the tests of clients/python.
export KLINECAST_CLIENT_PYTHON ?= $(CURDIR)/.tools/clients-venv-klinecast/bin/python
# A Python with WebSocket clients and protobuf, for the tests of ws-gateway.
export KLINECAST_GATEWAY_PYTHON ?= $(CURDIR)/.tools/clients-venv-gateway/bin/python
# A Python with ClickHouse's engine, for the tests of history.
export KLINECAST_CLICKHOUSE_PYTHON ?= $(CURDIR)/.tools/clickhouse-venv/bin/python
# A Python with Helm and Kubernetes's schemas, for the test of the chart.
export KLINECAST_HELM_PYTHON ?= $(CURDIR)/.tools/helm-venv/bin/python

TOOLS = scripts/tools.sh --for 'make $@'
WEB_SOURCES := $(wildcard web/src/* clients/typescript/src/*) web/scripts/build.mjs web/package-lock.json

.DEFAULT_GOAL := help
.PHONY: help run test fleet fleet-down fleet-status load bench check deny web tools clean

help: ## List the targets
	@printf 'Klinecast: make TARGET\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nStart with: make run\n'

run: ## Build and run everything in one process; flags: make run ARGS='--feed sim'
	@$(TOOLS) rust web
	@$(MAKE) --no-print-directory web/dist/index.html
	cargo run --profile $(RUN_PROFILE) --locked --bin klinecast -- $(ARGS)

test: ## Run all checks and tests (about 40 minutes from a cold cache, on two cores)
	@$(TOOLS) rust lint python web nginx nats k6 kosoku chromium clients prometheus helm redis influxdb clickhouse
	@$(MAKE) --no-print-directory web/dist/index.html
	@scripts/test.sh $(PARTS)

fleet: ## Start NATS, exchange-sim, marketdata, history, alerts, 3 gateways and nginx as processes; a cluster: NATS=3
	@$(TOOLS) rust web nginx nats
	@$(MAKE) --no-print-directory web/dist/index.html
	cargo build --release --locked -p exchange-sim -p marketdata -p history -p alerts -p ws-gateway
	@BIN_DIR='$(TARGET_DIR)/release' scripts/fleet.sh up

fleet-down: ## Stop the processes of make fleet
	@scripts/fleet.sh down

fleet-status: ## Show the processes of make fleet: ports, PIDs, state, logs
	@scripts/fleet.sh status

load: ## Connect 10,000 k6 clients to a fleet; other loads: LOAD=slow, storm, soak or smoke
	@$(TOOLS) rust web nginx nats k6
	@$(MAKE) --no-print-directory web/dist/index.html
	cargo build --release --locked -p exchange-sim -p marketdata -p history -p alerts -p ws-gateway
	@BIN_DIR='$(TARGET_DIR)/release' CONNECTIONS='$(CONNECTIONS)' scripts/load.sh $(LOAD)

bench: ## Measure the pipeline and history's store, and compare both and the fan-out with others (docs/performance.md)
	@$(TOOLS) rust python nats
	cargo bench --locked -p marketdata --bench pipeline
	scripts/bench-history.sh $(KLINECAST_CAPTURES)
	scripts/bench-fanout.sh $(ARGS)

check: ## Check format, clippy, documentation and TypeScript; warnings are errors
	@$(TOOLS) lint web
	@scripts/test.sh lint

deny: ## Check licences, second versions, advisories and sources (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo 'make deny needs cargo-deny: cargo install --locked cargo-deny' >&2; exit 1; }
	cargo deny --workspace --locked check $(DENY)

web: ## Build the page into web/dist
	@$(TOOLS) web
	@$(MAKE) --no-print-directory web/dist/index.html

web/dist/index.html: $(WEB_SOURCES)
	npm --prefix web run --silent build
	@touch $@

tools: ## Install every tool that some target needs
	@$(TOOLS) all

clean: ## Delete all build results; tools stay (rm -rf .tools removes them too)
	@[ ! -s .run/fleet.tsv ] || scripts/fleet.sh down
	cargo clean
	rm -rf web/dist web/build clients/typescript/dist .run loadtest/reports
