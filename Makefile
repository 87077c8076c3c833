# make demo    sets up and protects the sample photos        make test    sets up and runs every check
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

.PHONY: demo test slow campaign lint pictures site site-serve clean
.DELETE_ON_ERROR:

demo: $(VENV)/.core
	$(BIN)/cloakwork demo -o demo-output

# each worker computes with one thread; an idle one takes over what others have not begun
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# damaged photos and records, kills, hidden copies, by the thousand: what is finished is kept
campaign: $(VENV)/.dev
	cd tests && OMP_NUM_THREADS=1 ../$(BIN)/python -m campaign --out ../campaign-output

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

# those of the documents: ten minutes or more
pictures: $(VENV)/.dev
	$(BIN)/python benchmarks/pictures.py
	$(BIN)/python benchmarks/sheets.py

# the documents as a site, in site-output/; nothing in it comes from elsewhere
site: $(VENV)/.dev
	$(BIN)/mkdocs build

site-serve: $(VENV)/.dev
	$(BIN)/mkdocs serve

clean:
	rm -rf $(VENV) demo-output campaign-output site-output dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests training benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# installed again only when what to install has changed
$(VENV)/.core: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable .
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) --editable ".[dev]"
	touch $(VENV)/.core $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
