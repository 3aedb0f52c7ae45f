# A fresh machine needs Python 3.11 (or newer) and make; everything else is installed here.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# Where the environment forbids bytecode, every process of the tests would compile 500 files again.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-slow test-slurm test-browser test-device check format clean

help:
	@echo "make demo       install, then train and test on built-in demo data"
	@echo "make test       install, then run the tests (offline, on the CPU)"
	@echo "make test-slow  the tests that take minutes as well"
	@echo "make test-slurm sweeps on a SLURM cluster of this host alone, as root (slurm-wlm, munge)"
	@echo "make test-browser  the page of reports in a headless Chromium"
	@echo "make test-device  runs on a second device made in Python, against the CPU"
	@echo "make check      install, then lint and check types"
	@echo "make format     format the code"
	@echo "make clean      remove the environment and caches"

# Reinstalled only when what is installed changes.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/marsbench run task=frost_cls source=demo model=efficientnet_lite0 trainer.max_epochs=10 --format table

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal

test-slow: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'not gpu and not network and not slurm and not browser and not device'

# The cluster is ended however the tests go.
test-slurm: $(STAMP)
	tests/slurm/cluster.sh with $(BIN)/python -m pytest -m slurm tests/slurm

test-browser: $(STAMP)
	$(BIN)/python -m pytest -m browser

# A process registers the device once, and cannot take it back.
test-device: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist worksteal -m device tests/device

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
