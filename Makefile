# Everything is installed into $(VENV); runs/ and exports/ hold what the search finds.
#   make search   install, search over the sample that ships, export the best model, predict with it
#   make test     install, run every test, on up to four CPUs
#   make quick    the tests that need neither Ray nor more than a few seconds
#   make lab    `ray up` over several hosts made of namespaces: a search, a worker that loses power (needs root; 2 minutes)
#   make lab-faults   every other fault there (needs root; 15 minutes; not part of make test)
#   make tools  the tests that need more than Python: bash, git, and for the lab rsync, sshd, ip and root (3 minutes)
#   make stops  real commands that are stopped or killed in mid-run (starts Ray several times; not part of make test or CI)
#   make lint types contract   what .ci/run checks besides the tests
#   make wheel    what cluster.yaml sends to the nodes
PYTHON ?= python3
VENV   ?= .venv
TRIALS ?= 32
RUN    ?= sample
# Further options of the search, such as --max-epochs 10
OPTIONS ?=

BIN     := $(VENV)/bin
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
EXPORT  := exports/$(RUN)

.PHONY: search test quick tools stops lab lab-faults lint types contract check wheel clean help
.DELETE_ON_ERROR:

help:
	@sed -n '2,10s/^# *//p' Makefile

search: $(RUNTIME)
	@echo "== 1/3 search: $(TRIALS) trials over the sample that ships"
	$(BIN)/python -m tuner.search $(if $(wildcard runs/$(RUN)/run.json),--resume,--space table5) --trials $(TRIALS) --name $(RUN) $(OPTIONS)
	@echo "== 2/3 export: the best model"
	$(BIN)/python -m tuner.export runs/$(RUN) -o $(EXPORT)
	@echo "== 3/3 predict: crystals from examples/, with the exported model"
	$(BIN)/python -m model.predict $(EXPORT) examples/*.cif examples/*.vasp -o $(EXPORT)/examples.csv
	@cat $(EXPORT)/examples.csv
	@echo
	@echo "Exported model: $(EXPORT)"
	@echo "Its predictions for examples/: $(EXPORT)/examples.csv"
	@echo "Your own crystals: $(BIN)/python -m model.predict $(EXPORT) my.cif"

# Each process starts with a stretch of the tests of its own, in order, and then takes from the others.
PARALLEL := -n logical --maxprocesses 4 --dist worksteal

test: $(DEV)
	$(BIN)/python -m pytest $(PARALLEL)

quick: $(DEV)
	$(BIN)/python -m pytest -m "not slow and not ray and not gpu"

tools: $(DEV)
	$(BIN)/python -m pytest -m "(lab and not slow) or needs"

lab: $(DEV)
	$(BIN)/python -m pytest -m "lab and not slow" tests/cluster

lab-faults: $(DEV)
	$(BIN)/python -m pytest -m "lab and slow" tests/cluster

stops: $(DEV)
	$(BIN)/python -m pytest $(PARALLEL) -m stops tests/mistakes

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

contract: $(DEV)
	$(BIN)/lint-imports

check: lint types contract

wheel: $(RUNTIME)
	@rm -rf dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist .
	@cp constraints.txt dist/
	@ls dist

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: crystune needs Python >= 3.11, but '$(PYTHON)' is: $$(command -v $(PYTHON) >/dev/null && $(PYTHON) --version 2>&1 || echo 'not there')"; \
	  echo "       name another one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu install the package python3-venv"; \
	  rm -rf $(VENV); exit 1; }

# The stamps are newer than what they were installed from, so a second `make` installs nothing.
$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo "== installing into $(VENV) (once: 2 GB, or about 7 GB where pip picks torch with CUDA)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(DEV): pyproject.toml constraints.txt $(RUNTIME)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
