# Everything a person does with this project. Needs make and Python 3.11 or 3.12, nothing else, and no root.
#
#   make up                       start it on this machine; Ctrl-C stops it
#   make up PORT=8700 DATA=/srv/jianguan DEMO=no
#   make test ARGS="-k webhooks" JOBS=2       JOBS: processes that share the tests; by default this one alone

.DEFAULT_GOAL := help
SHELL := /bin/sh

BIN := .venv/bin
GENERATORS := jianguan.schemas rules.schema dashboards.openapi tools.make_docs
UP := $(if $(PORT),--port $(PORT)) $(if $(DATA),--data "$(DATA)") $(if $(filter no 0 false,$(DEMO)),--no-demo)

export PYTHON

.PHONY: help install dev kafka up test chaos bench bench-peers lint types format generate check-generated rules secrets clean

help: ## Say what there is.
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do \
		printf '  make %-16s %s\n' "$$name" "$$text"; done

install: ## Create .venv and install what is needed to run.
	@tools/venv.sh

dev: ## The same, and what is needed to test.
	@tools/venv.sh dev

up: install ## Start broker, store, stages and pages here, with a simulated feed. PORT, DATA, DEMO=no.
	@exec $(BIN)/jianguan up $(UP)

test: dev ## Run the tests. ARGS goes to pytest; JIANGUAN_REQUIRE=browser,clickhouse,go,kafka,openssl,promtool makes absence a failure.
	$(BIN)/python -m pytest -n $(or $(JOBS),0) --dist loadfile --no-loadscope-reorder $(ARGS)

kafka: dev ## Fetch the Apache Kafka that tests run on (43 MB, once). Needs Java 17 and Maven.
	@$(BIN)/python -m tests.cluster.kafka

chaos: dev ## Disturb a cluster in every way, from a seed, and check its end. ARGS: --seed, --minutes, --brokers, …
	$(BIN)/python -m tests.chaos $(ARGS)

bench: dev ## Measure throughput and latency. ARGS goes to the benchmark.
	$(BIN)/python -m bench $(ARGS)

bench-peers: dev ## Measure other stream engines on the same job. Installs them into a cache folder. ARGS goes to it.
	$(BIN)/python -m bench.peers $(ARGS)

lint: dev ## Check style and the direction of imports; change nothing.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: dev ## Bring the code into form.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: dev ## Check types, strictly.
	$(BIN)/mypy

generate: dev ## Write the schemas and the API description again from the code.
	@set -e; for each in $(GENERATORS); do echo "$$each"; $(BIN)/python -m "$$each"; done

check-generated: dev ## Fail when a generated file differs from what the code says.
	@set -e; for each in $(GENERATORS); do echo "$$each"; $(BIN)/python -m "$$each" --check; done

rules: dev ## Lint and test the shipped rules.
	$(BIN)/jianguan rules lint
	$(BIN)/jianguan rules test

secrets: ## Make the secret files that docker-compose.yml reads; leaves those that are there.
	@tools/make_secrets.sh

clean: ## Remove .venv and caches. Never touches data/ or secrets/.
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
