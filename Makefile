# Everything from a fresh clone: `make run`, `make test`. Needs Python >= 3.11, git and make.
VENV ?= .venv
PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 8000
BIN := $(VENV)/bin
export HOST PORT

.PHONY: run class test check format messages lock clean

run: $(VENV)/.run  ## the app on http://127.0.0.1:8000, for this machine only
	@$(BIN)/dois-treinos serve

class: HOST = 0.0.0.0
class: run  ## the same, open to the room's network

test: $(VENV)/.dev  ## the whole suite, browser and PostgreSQL included
	@.ci/system-packages
	$(BIN)/python -m pytest -q -n 2

check: $(VENV)/.dev  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/djlint --profile=jinja --lint --quiet templates
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

messages: $(VENV)/.dev  ## bring the English catalogue up to date with the texts
	$(BIN)/pybabel -q extract -F app/locale/babel.cfg -k N_ --no-location --sort-output --no-wrap -o $(VENV)/messages.pot .
	$(BIN)/pybabel -q update -i $(VENV)/messages.pot -d app/locale -l en --no-wrap --no-fuzzy-matching --ignore-obsolete

lock:  ## pin what is installed today; the CPU build's mark is cut off, so that any build fits
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q torch==2.13.0
	.venv-lock/bin/python -m pip install -q -e '.[dev]'
	.venv-lock/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > constraints.txt
	rm -rf .venv-lock

clean:
	rm -rf $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt
	@echo "Setting up: a virtual environment and the pinned packages (a few minutes, once)."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@echo "Setting up: the models' step is compiled for this processor (half a minute, once)."
	@$(BIN)/python -c "from model.engine import prepare; prepare()"
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "Setting up: the tools for checks and tests."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
