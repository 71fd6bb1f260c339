# `make` lists the targets. `make demo` and `make test` set up whatever they need; nothing is installed outside .venv,
# save missing system packages where you are root on Debian or Ubuntu.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo bench test test-long interop site lint types unit lock audit dist clean

BIN := .venv/bin
STAMP := .venv/smidgen.stamp
ARGS ?=

help: ## List the targets.
	@echo "make TARGET, with:"
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' Makefile | expand -t 13

setup: $(STAMP) ## Build .venv from the lock (about 2 minutes the first time; PYTHON=... names the interpreter).

$(STAMP): requirements.lock pyproject.toml $(wildcard install/*)
	@PYTHON="$(PYTHON)" ./install/environment.sh

demo: $(STAMP) ## The whole path on Lift: demonstrations, training, evaluation, leaderboard (ARGS="key=value ...").
	@$(BIN)/python -m smidgen.experiments.demo $(ARGS)

bench: $(STAMP) ## Speed and memory against what a user would run instead, into results/bench (BENCH=name for one).
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement install/bench.txt \
		|| echo "some peers could not be installed; their rows will say so"
	@$(BIN)/python -m studies.bench $(if $(BENCH),name=$(BENCH)) page=docs/benchmarks.md $(ARGS)

test: lint types unit ## Everything that CI runs: lint, types and all tests (under 10 minutes on 2 cores).

# Tests that have a long form (tests/long_form.py), then the attacks, which go on where they were stopped.
test-long: $(STAMP) ## What takes hours: whole cross products, 10,000 hostile inputs a reader, 104 kills (into results/).
	@SMIDGEN_LONG=results/reliability/test-long.json $(BIN)/pytest -n 2 --dist loadfile \
		$$(grep -rl "long_form(" tests --include="test_*.py")
	@$(BIN)/python -m tests.fuzz form=long record=results/reliability/fuzz.json
	@$(BIN)/python -m tests.faults form=long
	@$(MAKE) --no-print-directory interop

# Each library has an environment of its own, below build/interop; .venv is not touched.
interop: $(STAMP) ## Other projects' libraries on exports and environments, into results/interop (needs the network).
	@$(BIN)/python -m tests.interop $(ARGS)

site: $(STAMP) ## The documents, the reference and the leaderboard as a site, into outputs/site.
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@echo "to see it: $(BIN)/python -m http.server --directory outputs/site"

lint: $(STAMP) ## Ruff: rules and layout.
	@echo "== ruff"
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet || { echo "layout differs; run: $(BIN)/ruff format"; exit 1; }

# Mypy reads the package under its installed name, from a wheel: it cannot follow an editable install.
types: $(STAMP) ## Mypy, on the installed package and the studies.
	@echo "== mypy"
	@rm -rf build/installed build/lib build/bdist.*
	@$(BIN)/python -m pip install --quiet --no-index --no-deps --no-build-isolation --target build/installed .
	@MYPYPATH=build/installed:. $(BIN)/mypy -p smidgen -p studies | sed 's|^build/installed/smidgen/||'

# Tests start some hundred processes, each of which would compile the package anew if none may keep its bytecode.
unit: $(STAMP) ## The tests alone (ARGS="-k lift -n 0" goes to pytest).
	@echo "== pytest"
	@$(BIN)/python install/browser.py
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lock: $(STAMP) ## Write the lock files anew (UPGRADE=1 moves every pin to the newest version allowed).
	@$(BIN)/python -m pip install --quiet "uv>=0.5"
	@$(BIN)/python install/lock.py $(if $(UPGRADE),--upgrade)

audit: $(STAMP) ## What is installed against the locks, the licences, and (on the network) known vulnerabilities.
	@rm -rf build/audit
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --target build/audit pip-audit \
		|| echo "pip-audit could not be installed: known vulnerabilities will not be checked"
	@$(BIN)/python install/audit.py

dist: $(STAMP) ## Wheel and source archive into dist/; the same sources give the same bytes.
	@rm -rf dist && mkdir dist
	@$(BIN)/python -m pip wheel --quiet --no-index --no-deps --no-build-isolation --wheel-dir dist .
	@PYTHONPATH=install $(BIN)/python -c "import build_backend; build_backend.build_sdist('dist')" >/dev/null
	@sha256sum dist/*

clean: ## Remove .venv and what builds and tests leave (outputs/ stays).
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
