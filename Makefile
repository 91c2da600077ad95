# make demo: simulate, fit and show a hinging molecule.   make test: all that CI checks.
# Both make .venv and install what is missing; only Python 3.11 or newer, pip and make are needed.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
EVERYTHING := .[dev,docs]
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test lint format pytest docs serve bench wheel clean

help:
	@echo "make demo     simulate a hinging molecule, fit it, write a report (about 5 minutes)"
	@echo "make test     lint, types, tests and documentation: what CI runs"
	@echo "make lint     ruff and mypy only"
	@echo "make format   let ruff mend what it can"
	@echo "make docs     the documentation, into site/"
	@echo "make serve    the documentation, live at http://127.0.0.1:8000"
	@echo "make bench    list the benchmark programs; NAME=… ARGS=… runs one"
	@echo "make wheel    the distribution, into dist/"
	@echo "make clean    remove .venv, site/ and dist/"

demo: $(VENV)/.run
	$(BIN)/vitreous demo

test: lint pytest

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

pytest: $(VENV)/.dev
	$(BIN)/pytest

docs: $(VENV)/.dev
	$(BIN)/mkdocs build --strict

serve: $(VENV)/.dev
	$(BIN)/mkdocs serve

bench: $(VENV)/.dev
ifdef NAME
	$(BIN)/python benchmarks/$(NAME).py $(ARGS)
else
	@for file in benchmarks/*.py; do name=$$(basename $$file .py); \
		printf 'make bench NAME=%s\n    %s\n' "$$name" "$$(sed -n '1s/"""//gp' $$file)"; done
endif

wheel: $(VENV)/.dev
	$(BIN)/python -m hatchling build -d dist

clean:
	rm -rf $(VENV) site dist

# pip of the environment; where it has none (Debian without python3-venv), the one outside.
define install
	@echo "installing into $(VENV): $(1)"
	@if $(BIN)/python -m pip --version >/dev/null 2>&1; then $(BIN)/python -m pip install -q $(1); \
	else $(PYTHON) -m pip --python $(BIN)/python install -q $(1); fi
endef

# A stamp is newer than pyproject.toml while the installation is up to date.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(call install,-e '$(EVERYTHING)')
	@touch $(VENV)/.run $@

$(VENV)/.run: pyproject.toml | $(BIN)/python
	$(call install,-e .)
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { \
		echo "vitreous needs Python 3.11 or newer; if you have one: make PYTHON=/path/to/python"; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || $(PYTHON) -m venv --without-pip $(VENV)
