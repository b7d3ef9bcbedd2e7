# make setup | run [DATA=... SCHEMA=... OUT=... CONFIG=... PRESET=...] | test | lint | docs | notebooks | bench | board LOG=... | recovery | serving | chaos | clean
# Each target first does the set-up that is missing, and does nothing twice.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup run test pytest lint docs notebooks bench board recovery serving chaos clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("recmtl needs Python 3.11 or newer: make setup PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pinned packages into $(VENV) (about three minutes the first time)"
	$(PIP) setuptools
	$(PIP) --no-build-isolation --editable '.[dev,docs]'
	@touch $(STAMP)

run: $(STAMP)
	@$(BIN)/python pipelines/main.py \
		$(if $(DATA),--data '$(DATA)') $(if $(SCHEMA),--schema '$(SCHEMA)') \
		$(if $(OUT),--out '$(OUT)') $(if $(CONFIG),--config '$(CONFIG)') $(if $(PRESET),--preset '$(PRESET)')

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Lint needs one core, so that tests begin on the other.
test: $(STAMP)
	@$(MAKE) --no-print-directory -j 2 lint pytest

pytest: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

# The documentation site, in build/docs; a warning is an error.
docs: $(STAMP)
	$(BIN)/sphinx-build -q -W --keep-going -c docs . build/docs
	@echo "build/docs/index.html"

# Run the notebooks of examples/ and keep what they show: after a change of what they print.
notebooks: $(STAMP)
	$(BIN)/python docs/recmtl_docs/notebooks.py examples/*.ipynb

# Rows trained and scored a second beside torch-rechub and DeepCTR-Torch, which it installs into
# build/, and where a step goes. Needs a quiet machine for a quarter of an hour.
# ARGS: prepare, training, trees, beside, scoring, breakdown, page, --quick.
bench: $(STAMP)
	$(PIP) --no-build-isolation --editable '.[dev,onnx]'
	$(BIN)/python -m benchmarks.speed $(ARGS)

# Every arm on a log, with the training of torch-rechub and DeepCTR-Torch, which it installs into
# build/; hours on a real log. LOG: kuairand_pure, census_income, brfss_heart2020, incident_updates,
# physionet2012, simulated, page. ARGS: --run FOLDER of a finished run, --seeds, --peers.
board: $(STAMP)
	OMP_NUM_THREADS=1 nice -n 10 $(BIN)/python -m benchmarks.board $(LOG) $(ARGS)

# Searches on problems with a known answer: about half an hour on two quiet cores. ARGS: page, and
# names of plants.
recovery: $(STAMP)
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -m benchmarks.recovery $(ARGS)

# Latency beside torch-rechub, which it installs into build/, and memory over ten minutes. Needs a
# quiet machine. ARGS: latency, heard, soak, calibration, chaos, page, --quick.
serving: $(STAMP)
	$(PIP) --no-build-isolation --editable '.[dev,onnx]'
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.serving $(or $(ARGS),latency heard soak)

# Kills, altered bundles and bad inputs by the thousand: one to two hours. Spark needs Java 17.
chaos: $(STAMP)
	$(PIP) --no-build-isolation --editable '.[dev,onnx,spark]'
	OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -m pytest tests/chaos --chaos $(ARGS)

clean:
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find recmtl pipelines tests -name __pycache__ -type d -prune -exec rm -rf {} +
