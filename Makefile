# The commands of the README: make run, make test; and make bench (docs/performance.md).
# Each makes a virtual environment, where there is none.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
ARGS ?=

.PHONY: run test bench check docs format clean

run: .venv-run/installed
	.venv-run/bin/python example_app.py $(ARGS)

test: .venv-test/installed check
	.venv-test/bin/python -m pytest -n 5 --dist loadgroup $(ARGS)

bench: .venv-test/bench-installed
	.venv-test/bin/python -m benchmarks $(ARGS)

check: .venv-test/installed
	.venv-test/bin/ruff check .
	.venv-test/bin/ruff format --check .
	.venv-test/bin/mypy
	.venv-test/bin/lint-imports

docs: .venv-test/installed
	.venv-test/bin/python -m tests.reference
	.venv-test/bin/python -m sphinx -W --keep-going -b html docs docs/_build/html

format: .venv-test/installed
	.venv-test/bin/ruff check --fix .
	.venv-test/bin/ruff format .

.venv-run/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-run
	.venv-run/bin/python -m pip install --quiet --disable-pip-version-check -e '.[example]'
	touch $@

.venv-test/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-test
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

.venv-test/bench-installed: .venv-test/installed
	.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	touch $@

clean:
	rm -rf .venv-run .venv-test .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist docs/_build
