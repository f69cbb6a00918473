# Sluice. `make` alone lists the targets; `make demo` is the way in.
# Every step leaves a stamp, so a step that is done costs nothing when it is asked for again.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
PYTHON_BIN := $(VENV)/bin/python
IN_AIRFLOW := $(PYTHON_BIN) -m tools.airflow_env

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

## --- environment ------------------------------------------------------------------------------------------------

.PHONY: setup
setup: host $(VENV)/.installed jars/.checked .cache/.appcds ## Make .venv, fetch the two jars, prepare the JVM's start
	@echo "setup: ready. Try: make demo"

.PHONY: host
host:
	@tools/host.sh java >/dev/null
	@PYTHON="$(PYTHON)" tools/host.sh python >/dev/null

$(VENV)/.installed: requirements.txt requirements-dev.txt pyproject.toml | host
	@echo "setup: Python packages into $(VENV) (a few minutes the first time)"
	"$$(PYTHON="$(PYTHON)" tools/host.sh python)" -m venv $(VENV)
	$(PYTHON_BIN) -m pip install --require-hashes -r requirements.txt -r requirements-dev.txt
	$(PYTHON_BIN) -m pip install --quiet --no-deps --no-build-isolation -e . --config-settings editable_mode=compat
	@touch $@

jars/.checked: jars.sha256 tools/fetch_jars.py $(VENV)/.installed
	@echo "setup: the two Delta jars"
	$(PYTHON_BIN) -m tools.fetch_jars
	@touch $@

# The archive's name carries the Java, Spark and jar versions: one that no longer fits is not used, only rebuilt here.
.cache/.appcds: jars/.checked tools/appcds.py
	@echo "setup: an archive of the classes that every Spark job loads (half a minute, once; makes each job start faster)"
	$(PYTHON_BIN) -m tools.appcds
	@touch $@

.PHONY: requirements
requirements: $(VENV)/.installed ## Compile requirements*.in into the hash-pinned requirements*.txt
	$(VENV)/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make requirements' requirements.in -o requirements.txt
	$(VENV)/bin/uv pip compile --quiet --generate-hashes --python-version 3.11 --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command 'make requirements' requirements-dev.in -o requirements-dev.txt

.PHONY: env
env: $(VENV)/.installed ## Write .env with random secrets for docker-compose.yaml (kept when it is there)
	$(PYTHON_BIN) -m tools.compose_env

## --- use --------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: setup ## Load 336,776 real flights into bronze, silver and gold, and check each number; again: nothing new
	@$(PYTHON_BIN) -m tools.demo

.PHONY: ui
ui: setup ## Airflow's web interface on http://127.0.0.1:8080 (user admin; the password is printed)
	$(IN_AIRFLOW) airflow standalone

## --- quality ----------------------------------------------------------------------------------------------------

.PHONY: test
test: lint ## Lint, types, then every test, in two processes
	$(VENV)/bin/pytest -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: faults
faults: setup ## Kill real runs before and after every commit they make (40 minutes)
	$(VENV)/bin/pytest -m slow tests/e2e/fault

.PHONY: properties
properties: setup ## All tables against another engine: hundreds of orders, slicings, replaced files and crashes (hours)
	$(VENV)/bin/pytest -m slow tests/spark/test_chain_properties.py tests/spark/test_window_properties.py \
	  tests/spark/test_windows.py tests/spark/test_stream_join.py tests/spark/test_stateful.py tests/spark/test_merged_readers.py
	SLUICE_CACHE_SEEDS=1-100 $(VENV)/bin/pytest tests/spark/test_cached_anything.py tests/spark/test_cached_property.py

.PHONY: corpus
corpus: setup ## Damage valid files byte by byte, many thousands, against models in plain Python (half an hour)
	SLUICE_CORPUS_FILES=400 SLUICE_CORPUS_ROUNDS=10 $(VENV)/bin/pytest tests/corpus

.PHONY: lint
lint: setup ## ruff and mypy, changing nothing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

.PHONY: format
format: $(VENV)/.installed ## Let ruff fix and format the code
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

.PHONY: bench
bench: setup ## Run the benchmarks and rewrite their table
	$(PYTHON_BIN) -m benchmarks.ingest
	$(PYTHON_BIN) -m benchmarks.transform

.PHONY: bench-streaming
bench-streaming: setup ## Measure the pipelines of examples/events; rewrites results/
	$(PYTHON_BIN) -m benchmarks.streaming $(ARGS)

.PHONY: notebook
notebook: setup ## Run notebooks/streaming_demo.ipynb from top to bottom and keep what it shows
	$(PYTHON_BIN) -m tools.notebook notebooks/streaming_demo.ipynb
	$(VENV)/bin/pytest -m slow tests/e2e/test_notebook.py

.PHONY: bench-strict
bench-strict: setup ## What strictness costs on clean and on dirty files; rewrites benchmarks/strict.md
	$(PYTHON_BIN) -m benchmarks.strict $(ARGS)

.PHONY: bench-copy-into
bench-copy-into: setup ## COPY INTO with 100,000 known files; rewrites benchmarks/copy_into.md
	$(PYTHON_BIN) -m benchmarks.copy_into $(ARGS)

.PHONY: bench-cache
bench-cache: setup ## Join with a table of a million rows, cached and uncached; rewrites benchmarks/cache.md and its chart
	$(PYTHON_BIN) -m benchmarks.cache $(ARGS)

.PHONY: clean
clean: ## Remove the environment, the caches and the jars; your data/ and airflow/ stay
	rm -rf $(VENV) .cache jars .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info spark-warehouse
