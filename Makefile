PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CASES := 300
SEED := 0
ONNX_GPU := onnxruntime-gpu==$(shell sed -n 's/^onnxruntime==//p' requirements.lock)

export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test test-all fuzz check licences audit install install-test

repro: install  ## raw clips -> scores
	dvc repro
	@ecmf scores

test: install-test  ## the tests, less the slow ones
	python -m pytest

test-all: install-test  ## every test
	python -m pytest -m ""

fuzz: install-test  ## damaged and hostile inputs, CASES=300 of each kind from SEED=0 on; `make test` tries 8
	python -m pytest tests/fuzz --fuzz-cases $(CASES) --fuzz-seed $(SEED)

check: install-test  ## lint, format, imports, types
	ruff check .
	ruff format --check .
	lint-imports
	mypy

licences: install-test  ## what each locked package states, and the exceptions
	@python tests/support/licences.py

audit: install  ## known vulnerabilities of the locked packages, from pypi.org
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	$(VENV)/audit/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip --strict

install: $(VENV)/installed .dvc/plots.html

install-test: $(VENV)/installed-test

# onnxruntime and onnxruntime-gpu own the same folder: exactly one of them may stand.
$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@if nvidia-smi -L >/dev/null 2>&1; then \
		$(BIN)/pip uninstall --quiet --yes onnxruntime && \
		$(BIN)/pip install --quiet --force-reinstall --no-deps $(ONNX_GPU); \
	fi
	@touch $@

# Only this machine's configuration names the page: DVC stops where a page it names is not there.
.dvc/plots.html: $(VENV)/installed stages/ecmf/cli/plots_page.py
	$(BIN)/python -m ecmf.cli.plots_page $@
	$(BIN)/dvc config --local plots.html_template $(@F)

$(VENV)/installed-test: $(VENV)/installed requirements-test.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-test.lock
	@touch $@
