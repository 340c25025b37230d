# make train: a trained, tested Fashion-MNIST classifier.   make test: the whole suite.
# Everything is installed into .venv beside this file; both work again on it in seconds.

PYTHON ?= python3
TORCH_INDEX ?=
VENV := .venv
BENCH := .venv-bench
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help train test lint check bench bench-quick bench-matmul bench-epochs bench-random reproduce accuracy parity notebook clean

help:
	@echo "make train         install into .venv, fetch the data, train vanilla, show the test accuracy"
	@echo "make test          install torch into .venv too, and run the test suite"
	@echo "make lint          ruff and mypy"
	@echo "make check         lint, then test"
	@echo "make bench         measure npmlp beside PyTorch, JAX and scikit-learn, and write docs/performance.md"
	@echo "make bench-quick   a few rows of it, in under three minutes"
	@echo "make bench-matmul  time the matrix product's versions, from three loops to blocks"
	@echo "make bench-epochs  time an epoch of every recipe beside PyTorch's, and all of residual"
	@echo "make bench-random  time random draws beside PyTorch's"
	@echo "make reproduce     measure every recipe over seeds beside PyTorch, and write docs/results.md"
	@echo "make accuracy      train it all afresh and fail where a recipe is short of its goal"
	@echo "make parity        hold every recipe beside PyTorch, to the bit and step by step"
	@echo "make notebook      execute examples/fashion_mnist.ipynb afresh, 120 epochs, some minutes"
	@echo "make clean         remove .venv and .venv-bench"
	@echo ""
	@echo "PYTHON=python3.12  the Python that .venv is made with (now: $(PYTHON))"
	@echo "TORCH_INDEX=URL    where torch comes from, such as PyTorch's own index of CPU wheels"

train: $(VENV)/.installed
	$(PY) -m npmlp.train --arch vanilla

# two processes, which hand each other tests while there are any left
test: $(VENV)/.installed-test
	$(PY) -m pytest -n 2 --dist worksteal

lint: $(VENV)/.installed-test
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

check: lint test

# The peers have a place of their own, .venv-bench. Hours; can be stopped, and goes on where it was.
bench: $(BENCH)/.installed
	$(BENCH)/bin/python benchmarks/bench.py
	$(BENCH)/bin/python benchmarks/performance_page.py

bench-quick: $(BENCH)/.installed
	$(BENCH)/bin/python benchmarks/bench.py --quick

bench-epochs: $(VENV)/.installed-test
	$(PY) benchmarks/bench_epochs.py
	$(PY) benchmarks/bench_epochs.py --whole

bench-matmul: $(VENV)/.installed-test
	$(PY) benchmarks/bench_matmul.py --keep
	$(PY) benchmarks/matmul_page.py

bench-random: $(VENV)/.installed-test
	$(PY) benchmarks/bench_random.py

# Both take hours, can be stopped, and go on where they were.
reproduce: $(VENV)/.installed-test
	$(PY) benchmarks/reproduce.py
	$(PY) benchmarks/results_page.py

# a folder of the sources as they are, so that what others trained never counts
FRESH = runs/accuracy-$(shell git rev-parse --short HEAD)-$(shell git diff HEAD | git hash-object --stdin | cut -c1-8)
accuracy: $(VENV)/.installed-test
	$(PY) benchmarks/reproduce.py --results $(FRESH)/results --runs $(FRESH) --check

parity: $(VENV)/.installed-test
	$(PY) benchmarks/parity.py
	$(PY) benchmarks/parity_page.py

notebook: $(VENV)/.installed
	$(PIP) --editable ".[notebook]"
	$(VENV)/bin/jupyter execute --inplace examples/fashion_mnist.ipynb

clean:
	rm -rf $(VENV) $(BENCH)

# A stamp is newer than setup.cfg once what setup.cfg asks for is installed. Debian's python3 makes
# a .venv without pip where python3-venv is missing; that one goes, so that the next make begins
# afresh.
$(VENV)/.installed: setup.cfg pyproject.toml
	@test -x $(PY) || $(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'npmlp needs Python 3.11 or newer: make train PYTHON=python3.12')"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV) || true
	@$(PY) -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); \
	  echo "$(VENV) has no working pip and was removed. On Debian and Ubuntu: apt install python3-venv; then make again." >&2; \
	  exit 1; }
	$(PIP) --editable .
	@touch $@

# torch before the rest, so that the rest finds it there. On Linux torch==2.13.0 of an ordinary
# index may be the GPU build, gigabytes larger than the CPU build; TORCH_INDEX names an index that
# has the CPU build.
$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(PIP) --editable ".[test,dev]"
	@touch $@

# Made with .venv's Python, so that both have the same one, and torch first for the same reason.
$(BENCH)/.installed: $(VENV)/.installed
	@test -x $(BENCH)/bin/python || $(PY) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==2.13.0
	$(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	@touch $@
