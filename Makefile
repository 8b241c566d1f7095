# make demo   a virtual environment in .venv, install, train on the generated faces, print the metrics, write the figures
# make test   install everything for development and run all tests (as root on Debian also Chromium, for the page)
# make lint   unused names, functions with too many branches (ruff); long lines, long cells, the order of imports
# make sync   clean the notebooks and export the package from them; needed after every change of a notebook
# make hooks  git cleans notebooks on commit and merges them cell by cell
# make docs   the documentation site in site/, from the notebooks and docs/; open site/index.html
# make readme README.md from nbs/index.ipynb
# make lock   requirements-lock.txt from the versions that are installed; after the tests have passed with them
# make bench  how fast training, pipeline and inference are; writes benchmarks/results.json (half an hour on two cores)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo
PIP    := $(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_OPTIONS)

.PHONY: help demo test lint sync hooks docs bench install dev readme lock clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

install: $(BIN)/python
	$(PIP) -e .

dev: $(BIN)/python
	$(PIP) -e '.[dev]'

demo: install
	@case '$(DEMO)' in *..*) false;; runs/[!./]*) ;; *) false;; esac || { echo 'DEMO is replaced: a folder below runs/, not $(DEMO)' >&2; exit 2; }
	rm -rf '$(DEMO)'
	$(BIN)/maca_train --data synth --n-faces 6000 --augment none --method maca --arch resnet18 --size 64 --last-stride 1 \
	    --bs 32 --epochs 5 --lr .02 --schedule cosine --pixel-baseline --out '$(DEMO)'

test: dev
	$(BIN)/python tests/run.py

lint: dev
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q tests/test_notebooks.py

sync: dev
	$(BIN)/nbdev-clean
	$(BIN)/nbdev-export

hooks: dev
	$(BIN)/nbdev-install-hooks

bench: dev
	$(BIN)/python benchmarks/bench.py

docs: dev
	$(BIN)/python docs/make_site.py

readme: dev
	nbs/readme.sh $(BIN)

lock: dev
	$(BIN)/python scripts/lock.py > requirements-lock.tmp && mv requirements-lock.tmp requirements-lock.txt

clean:  # what can be made again; runs/ holds trained models
	rm -rf $(VENV) build dist site *.egg-info
