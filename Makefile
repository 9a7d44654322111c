# make demo and make test set themselves up; nothing else has to be installed by hand
# beyond the system packages listed in envs/apt.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
CORES ?= 2
# tests that open windows need a display; without one they get a virtual one where Xvfb is installed
XVFB := $(shell [ -n "$$DISPLAY" ] || ! command -v xvfb-run >/dev/null || echo xvfb-run -a -s '"-screen 0 1600x1000x24 +extension GLX"')
export OMP_NUM_THREADS ?= 1

.PHONY: help venv demo test test-slow nightly check audit docs pictures clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo       synthetic slides through the whole chain to an HTML page
demo: venv
	$(BIN)/pathai demo --out $(DEMO) --cores $(CORES) --phrase

## make test       the default tests (under 8 minutes on 2 cores)
test: venv
	$(XVFB) $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not slow"

## make test-slow  faults, kills, browser, real servers
test-slow: venv
	$(XVFB) $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and gui"
	$(XVFB) $(BIN)/python -m pytest -m "slow and not gui"

## make nightly    full figures: every test, every benchmark (200 kills, 24 full disks, 2,000 damaged stores, ...)
nightly: venv
	$(XVFB) $(BIN)/python -m pytest
	$(BIN)/pip install -q -e '.[benchmarks]'
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

## make check      lint, types, layers, workflow
check: venv
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflows
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python -m pytest -q -n 0 tests/workflow/test_lint.py

## make audit      bill of materials into build/sbom.json; known holes, where a database is at hand
audit: venv
	mkdir -p build
	$(BIN)/python envs/sbom.py -o build/sbom.json
	$(BIN)/python envs/audit.py || [ $$? = 3 ]

## make docs       the documentation site into site/
docs: venv
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

## make pictures   the pictures of README and docs, from a demo run
pictures: demo
	$(BIN)/python docs/pictures/synthetic.py
	$(BIN)/python docs/pictures/cells.py
	$(BIN)/python docs/pictures/cell_classes.py
	$(BIN)/python docs/pictures/cohort.py $(DEMO)
	$(BIN)/python docs/pictures/share.py $(DEMO)
	$(XVFB) $(BIN)/python docs/pictures/review.py $(DEMO)

venv:
	@$(PYTHON) envs/make_venv.py $(VENV)

clean:
	rm -rf $(VENV) site build dist
