PYTHON ?= python3
BIN := .venv/bin

.PHONY: install demo test reliability lint bench docs pretrain pretrain-fonts clean

install: .venv/installed

# The constraints are the versions this checkout was tested with.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("DataDream needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/datadream demo

# Two at a time: half of the tests' time is waiting for processes.
test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Every fault test in full, about half an hour; writes docs/reliability.md.
reliability: install
	$(BIN)/python -m tests.faults

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# docs/tui.md from the table of keys, docs/tour.md and the screenshots from the home of `make demo`.
docs: install
	$(BIN)/python -m tests.tui.make_docs

bench: install
	$(BIN)/python -m benchmarks

# Remakes datadream/models/weights/mini. Needs Debian's font packages: make pretrain-fonts, as root.
pretrain: install
	$(BIN)/python -m pip install --quiet -c constraints.txt fonttools
	$(BIN)/python -m pretrain

pretrain-fonts:
	apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q $$($(PYTHON) -c 'import pretrain.fonts as f; print(*f.PACKAGES)')

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
