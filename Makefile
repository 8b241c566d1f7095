# make demo   a virtual environment in .venv, install, train on the generated faces, print the metrics, write the figures
# make test   the same with everything for development, run all tests (as root on Debian it installs Chromium for those of the page)
# make bench  how fast training, pipeline and inference are, as ratios; writes benchmarks/results.json (half an hour on two cores)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo

.PHONY: demo test bench install dev readme clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

install: $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e .

dev: $(BIN)/python
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'

demo: install
	@case '$(DEMO)' in *..*) false;; runs/[!./]*) ;; *) false;; esac || { echo 'DEMO is replaced: a folder below runs/, not $(DEMO)' >&2; exit 2; }
	rm -rf '$(DEMO)'
	$(BIN)/maca_train --data synth --n-faces 6000 --augment none --preset paper --arch resnet18 --size 64 --last-stride 1 --bs 32 --epochs 5 \
	    --lr .02 --schedule cosine --pixel-baseline --out '$(DEMO)'

test: dev
	.ci/test $(BIN)

bench: dev
	$(BIN)/python benchmarks/bench.py

readme: dev
	.ci/readme $(BIN)

clean:  # what can be made again; runs/ holds trained models
	rm -rf $(VENV) build dist *.egg-info
