# `make` alone lists what there is. Everything happens below this directory: .venv and .cache.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv venv-dev tools demo up test lint format golden dashboards docs render bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv:
	@$(PYTHON) tools/bootstrap.py

venv-dev:
	@$(PYTHON) tools/bootstrap.py --dev

tools: venv ## find Prometheus, Alertmanager and curl, or fetch the distribution's packages into .cache/tools
	@$(BIN)/python -m pvewatch.stack.tools

demo: tools ## the whole stack against a simulated Proxmox VE; ARGS=--check proves every hop and stops
	@$(BIN)/pvewatch demo $(ARGS)

up: tools ## the whole stack on this machine with your pvewatch.yaml
	@$(BIN)/pvewatch up $(ARGS)

test: venv-dev tools ## all tests and checks, one line per part; ARGS='ruff exporter' runs some, ARGS=--list names them
	@$(BIN)/python tools/run_parts.py $(ARGS)

lint: venv-dev tools ## only the checks that run no test
	@$(BIN)/python tools/run_parts.py --lint

format: venv-dev ## put the Python code in its one format
	@$(BIN)/ruff format .

golden: venv-dev ## write the golden /metrics pages again from the recorded answers; review the difference
	@$(BIN)/python -m pytest -q tests/exporter -k golden --update-golden

dashboards: venv-dev ## write grafana/dashboards/*.json again from grafana/source
	@PYTHONPATH=. $(BIN)/python -m grafana.source

docs: venv-dev ## write the generated references again
	@$(BIN)/python tools/docs.py

render: venv ## write prometheus.yml, alertmanager.yml and Grafana's provisioning of your pvewatch.yaml to .cache/rendered
	@$(BIN)/pvewatch render --out .cache/rendered $(ARGS)

bench: venv ## measure the exporter beside prometheus-pve-exporter and write docs/performance.md; ARGS=--quick tries it
	@$(BIN)/python -m bench.run $(ARGS)

clean: ## remove .venv, .cache and what tools leave behind; data/ and secrets/ stay
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
