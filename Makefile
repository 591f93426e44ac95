# One target per habit; the same ones run in continuous integration.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# Where this is set, each process of each tree would compile the package at its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test check faults simulate fuzz bench docs clean

setup: $(READY)

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; set PYTHON=..."; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) 2>/dev/null \
		|| { rm -rf $(VENV); echo "installing python3-venv"; \
		     apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $(READY)

demo: setup            ## load real data, query it, kill the storage process meanwhile
	@$(BIN)/python examples/demo.py

test: setup            ## the tests, under five minutes
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: setup           ## lint, format, types, layers
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

faults: setup          ## the fault suite at full size; SEED=n repeats a run
	@$(BIN)/python -m pytest -q -m slow --timeout=3600

simulate: setup        ## whole trees on a virtual clock: make simulate SEED=1 ROUNDS=1000
	@PYTHONPATH=tests $(BIN)/python tests/simulation/simulate.py --seed $(or $(SEED),1) --rounds $(or $(ROUNDS),1000)

fuzz: setup            ## AQL on bytes, guided by coverage: make fuzz RUNS=200000
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group fuzz
	@PYTHONPATH=tests $(BIN)/python tests/fuzz/aql_bytes.py -runs=$(or $(RUNS),50000) -max_len=4096

bench: setup           ## measure; prints ratios against the machine's own limits
	@PYTHONPATH=tests $(BIN)/python tests/benchmarks/run.py

docs: setup            ## make the site (build/site), strictly; run every code sample
	@$(BIN)/python tests/docs_pages.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict
	@$(BIN)/python -m pytest -q tests/acceptance/test_docs.py tests/acceptance/test_docs_site.py

clean:
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
