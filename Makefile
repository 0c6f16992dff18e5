# Thin: every target creates .venv from requirements.lock if it is missing, then calls one tool.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
READY := .venv/.ready
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --require-hashes --only-binary :all:

.PHONY: course test quick lab bench gpu-check checkpoints lint clean

course: $(READY)  ## run every notebook, and all three methods on the mini data
	@$(BIN)/diffad course

test: $(READY)  ## all tests
	@$(BIN)/python -m pytest --numprocesses auto --dist loadgroup

quick: $(READY)  ## the quick tests, 90 s: no notebook, no kernel, no browser
	@$(BIN)/python -m pytest --numprocesses auto --dist loadgroup -m "not slow" -q

lab: $(READY)  ## JupyterLab on your own copy of the notebooks; OPTIONS="--no-browser" is passed on
	@$(BIN)/diffad lab $(OPTIONS)

bench: $(READY)  ## speed; OPTIONS="--full --draem DIR --diffusionad DIR" compares with the official code
	@$(BIN)/python -m benchmarks $(OPTIONS)

checkpoints: $(READY)  ## train the small detectors in notebooks/checkpoints again (up to two hours)
	@$(BIN)/python tools/checkpoints.py

gpu-check: $(READY)  ## what a GPU does with this project, in ten minutes; OPTIONS="--minutes 2" is passed on
	@$(BIN)/python -m benchmarks.gpu_check $(OPTIONS)

lint: $(READY)  ## ruff and the type checker
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

$(READY): requirements.lock pyproject.toml
	@echo "Setting up .venv from requirements.lock (once; a few minutes, torch is large)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than 3.11; run make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv
	@for name in pip torch; do \
		sed -n "/^$$name==/,/[^\\]\$$/p" requirements.lock > .venv/$$name.lock; done
	@$(INSTALL) --quiet --requirement .venv/pip.lock
	@# pip would prefer the index's torch to a build in a folder of PIP_FIND_LINKS, such as the CPU's.
	@$(INSTALL) --quiet --no-index --no-deps --requirement .venv/torch.lock 2>/dev/null || true
	@$(INSTALL) --no-deps --requirement requirements.lock
	@! $(BIN)/python -m pip check | grep -q "^torch " || \
		$(INSTALL) --no-deps --requirement requirements-cuda.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $(READY)

clean:  ## remove what can be made again, but not runs/ and data/
	rm -rf .venv build *.egg-info .pytest_cache .ruff_cache
