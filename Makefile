# Every target makes .venv and installs what it needs by itself; a second call installs nothing.

PYTHON ?= python3
# The CPU build is enough. With a GPU: make setup TORCH=torch
TORCH ?= torch==2.13.0
BIN := .venv/bin
STAMP := .venv/installed
SIDE_BY_SIDE := --numprocesses=auto --maxprocesses=4 --dist=worksteal

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP)  ## make .venv and install the suite with its test and check tools

$(STAMP): pyproject.toml constraints.txt Makefile
	@$(PYTHON) -m venv .venv || { echo "cannot make a virtual environment with $(PYTHON): it needs Python >= 3.11 with venv (Debian: apt install python3-venv)"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$(TORCH)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,check,page]"
	@touch $@

bench: $(STAMP)  ## train tanh, IRNN and LSTM on adding and copying, then write results/quick/report
	$(BIN)/python -m bench experiment=quick
	$(BIN)/python -m bench.report results/quick

experiments: $(STAMP)  ## train all claims and recipes, pack them, write docs/RESULTS.md; PLAN=1 says how long
	$(BIN)/python -m bench.reproduce $(if $(PLAN),--plan) $(NAMES)

test: $(STAMP)  ## run the tests
	$(BIN)/python -m pytest $(SIDE_BY_SIDE)

speed: $(STAMP)  ## time the engines side by side and draw the comparison into results/speed
	@mkdir -p results/speed
	$(BIN)/python -m pytest bench/speed --benchmark-enable --benchmark-only --benchmark-json=results/speed/speed.json -s
	$(BIN)/python -m bench.speed.figure results/speed/speed.json

report: $(STAMP)  ## redraw the report of RESULTS (default results/quick)
	$(BIN)/python -m bench.report $(or $(RESULTS),results/quick)

commits: $(STAMP)  ## import every commit that origin/main has not, or those of RANGE, so that bisecting works
	$(BIN)/python .ci/commits.py $(RANGE)

torture: $(STAMP)  ## kill a sweep at 200 random moments; the test suite does it 10 times
	KILLS=200 $(BIN)/python -m pytest tests/sweep/test_interruptions.py -k killed_sweep

docs: $(STAMP)  ## build the documentation into build/docs/index.html (its search takes: python3 -m http.server -d build/docs)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

notebook: $(STAMP)  ## run the tutorial's notebook again and keep what it shows
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[notebook]"
	$(BIN)/python docs/notebook.py docs/tutorials/student.ipynb

wheel: $(STAMP)  ## build sdist and wheel into dist/, and try the wheel in an environment and a folder of its own
	PYTHON="$(PYTHON)" TORCH="$(TORCH)" .ci/wheel

lint: $(STAMP)  ## format and lint (ruff)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)  ## types (mypy, strict)
	$(BIN)/mypy

check: lint types  ## lint, types, and the tests with their coverage: what CI runs
	$(BIN)/python -m slipcover --source bench,tasks --skip-covered -m pytest $(SIDE_BY_SIDE)

.PHONY: help setup docs notebook wheel bench experiments test speed report commits torture lint types check
