# One virtual environment, made when it is missing or pyproject.toml changed; everything else runs in it.
VENV   := .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: run test check bench soak docs clean

run: $(STAMP)-run  ## start the server in data/, writing a configuration there if there is none
	@$(BIN)/python -m dgate.firstrun data
	@exec $(BIN)/dgate -wdata -v

test: $(STAMP)-test  ## run all tests
	@$(BIN)/python -m pytest $(ARGS)

check: $(STAMP)-check  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)-test  ## measure, side by side with what else is installed
	$(BIN)/python -m tests.benchmarks $(ARGS)

soak: $(STAMP)-test  ## kill a server under load again and again: ARGS="--minutes 30 --seed 7 --durability safe"
	@$(BIN)/python -m tests.soak $(ARGS)

docs: $(STAMP)-run  ## write the generated references anew
	$(BIN)/python -m dgate.docs

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("dgate needs Python 3.11 or newer, this is %d.%d" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { echo "making $(VENV) failed: on Debian, install python3-venv"; rm -rf $(VENV); exit 1; }

$(STAMP)-run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(STAMP)-test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[postgresql,test]'
	@touch $@

$(STAMP)-check: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[postgresql,test,check]'
	@touch $@
