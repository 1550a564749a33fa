# `make demo` and `make test` are all that a fresh machine needs; `make help` lists the rest.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.14 python3.11 python3 python; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO_READY := $(VENV)/.demo-ready
CODE := $(wildcard src tests bench examples tools)
OTHERS := $(filter-out test,$(MAKECMDGOALS))

.PHONY: help demo test packages check format drills bench docs lock clean
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

$(VENV)/pyvenv.cfg:
	@test -n "$(PYTHON)" || { echo "Watchword needs Python 3.11 or newer: install it, or call make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)

# Compiled here, by all cores: pip uses one, and nobody compiles an editable install where Python may not write bytecode.
COMPILE = $(BIN)/python -m compileall -q -j 0 $(VENV)/lib src || true # a package may hold files for another Python

$(DEMO_READY): $(VENV)/pyvenv.cfg requirements/demo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r requirements/demo.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(COMPILE)
	@touch $@

$(READY): $(VENV)/pyvenv.cfg requirements/dev.txt | $(if $(filter demo,$(MAKECMDGOALS)),$(DEMO_READY))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes --no-deps -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(COMPILE)
	@touch $@ $(DEMO_READY)

demo: $(DEMO_READY) ## Tell the whole story on a throw-away database (KEEP=1 leaves it running)
	@$(BIN)/watchword demo $(if $(KEEP),--keep)

packages:
	@sh tools/system_packages.sh

# Side by side, by a make of its own that was told so; not where this one may make the same for another target at the same time.
test: $(if $(OTHERS),$(READY) packages) ## Run every test; installs what they need where it may
	$(if $(OTHERS),,@$(MAKE) --no-print-directory -j 2 $(READY) packages)
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder

check: $(READY) ## Format, lint, types, import contracts, unit tests: under a minute
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 tests/unit tests/architecture

format: $(READY) ## Format and sort what can be
	$(BIN)/ruff check --fix-only --quiet $(CODE)
	$(BIN)/ruff format --quiet $(CODE)

drills: $(READY) ## Break everything that can break, for as long as it takes; docs/reliability.md says what was found
	WATCHWORD_DRILLS=1 $(BIN)/python -m pytest -n 0 tests/drills --durations=0

bench: $(READY) ## Measure against the peers that install here, and write docs/performance.md
	$(BIN)/python -m bench

docs: $(READY) ## Build the documentation into site/, its reference from the code
	$(BIN)/python tools/reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

lock: $(READY) ## Pin every dependency again, with hashes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	for name in dev server demo bench; do $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-emit-find-links requirements/$$name.in -o requirements/$$name.txt; done

clean: ## Remove everything that was made
	rm -rf $(VENV) site dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache node_modules bench/peers/.venv
