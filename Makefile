# make train: a trained, tested Fashion-MNIST classifier.   make test: the whole suite.
# Everything is installed into .venv beside this file; both work again on it in seconds.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: train test lint bench-step clean
.DEFAULT_GOAL := help

help:
	@echo "make train       install into .venv, fetch the data, train vanilla, show the test accuracy"
	@echo "make test        install torch into .venv too, and run the test suite"
	@echo "make lint        ruff and mypy"
	@echo "make bench-step  time a training step beside PyTorch's"
	@echo "make clean       remove .venv"

train: $(VENV)/.installed
	$(PY) -m npmlp.train --arch vanilla

test: $(VENV)/.installed-test
	$(PY) -m pytest

lint: $(VENV)/.installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench-step: $(VENV)/.installed-test
	$(PY) benchmarks/bench_step.py

clean:
	rm -rf $(VENV)

# A stamp is newer than setup.cfg once what setup.cfg asks for is installed.
$(VENV)/.installed: setup.cfg pyproject.toml
	@test -x $(PY) || $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'npmlp needs Python 3.11 or newer: make train PYTHON=python3.12')"
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

# torch alone first: this version's CPU build is far smaller than what other requests bring
$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) torch==2.13.0
	$(PIP) --editable ".[test,dev]"
	@touch $@
