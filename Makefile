# Two commands matter to a newcomer: make demo, make test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# waiting threads sleep instead of spinning: much faster where cores are shared, no slower elsewhere
export OMP_WAIT_POLICY ?= PASSIVE
# a test at a time to whoever is free: slow tests come last and differ much
WORKERS := -n auto --maxprocesses 8 --maxschedchunk 1
# what of pyproject.toml's extras is installed; complete: whatever a test can use
EXTRAS ?= dev
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
# of pip's many words those on what takes long; all of them are in .venv/install.log
SHORT := sed -unE 's/^ *Downloading (.*-[0-9].*[0-9]{2,}\.[0-9] MB\))$$/  fetching \1/p; s/^(Installing collected packages):.*/  unpacking (a minute or two)/p'

.PHONY: help install demo sweep-T test test-fast bench bench-data lint clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-zA-Z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(VENV)/.installed-$(EXTRAS): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fdsr needs Python 3.11 or newer; set PYTHON=python3.x" >&2; exit 1; }
	@echo "Installing into $(VENV): PyTorch is large, two to five minutes on a fresh machine"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off --no-compile --constraint constraints.txt \
	    --editable '.[$(EXTRAS)]' 2>&1 | tee $(VENV)/install.log | $(SHORT) || { tail -n 20 $(VENV)/install.log >&2; exit 1; }
	@# what pip does on one core; a few files of packages are for other Pythons
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

install: $(VENV)/.installed-$(EXTRAS) ## set up .venv with everything, tests included

demo: install ## train, evaluate and predict on the embedded ERA5 sample (five to nine minutes on two cores)
	@$(BIN)/python experiments/demo.py

sweep-T: install ## quality against the number of steps: the study for a GPU, or for two cores; resumes (hours)
	@study=$$($(BIN)/python -c 'import torch; print("sweep_T" if torch.cuda.is_available() else "sweep_T_cpu")') && \
	$(BIN)/fdsr sweep experiments/$$study.yaml && $(BIN)/fdsr report runs/$$study/fid_vs_steps.csv

test: install ## run every test, a process a core (about ten minutes on two cores)
	@echo "Running every test: about ten minutes on two cores ('make test-fast': what needs no training, two minutes)"
	@$(BIN)/python -m pytest $(WORKERS) $(PYTEST_OPTIONS)

test-fast: install ## run the tests that need no training (two minutes)
	@$(BIN)/python -m pytest $(WORKERS) -m "not slow"

bench: install ## speed beside other libraries, of the methods, ranks and memory (half an hour; ratios only, see the results)
	@$(MAKE) --no-print-directory install EXTRAS=dev,bench
	@$(BIN)/python tests/benchmarks/bench_networks.py --profile
	@$(BIN)/python tests/benchmarks/bench_methods.py
	@$(BIN)/python tests/benchmarks/bench_sampling.py
	@$(BIN)/python tests/benchmarks/bench_inference.py
	@$(BIN)/python tests/benchmarks/bench_scaling.py

bench-data: install ## measure how fast batches come from a store, by ours and other readers
	@$(BIN)/python tests/benchmarks/bench_data.py

lint: install ## ruff, mypy and the import rules
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

clean: ## remove the environment, caches and prepared stores; runs/ is kept
	rm -rf $(VENV) cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build *.egg-info
