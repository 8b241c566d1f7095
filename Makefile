# make demo   make a virtual environment in .venv, install the package, train on generated faces, write scores and figures
# make test   install everything for development and run the tests but the long ones (as root on Debian it also installs Chromium)
# make slow   run the tests and the cells of notebooks that `make test` leaves out, because they take long (an hour on two cores)
# make lint   check for unused names and complex functions (ruff), long lines, long cells and the order of imports
# make sync   clean the notebooks and export the package from them; needed after every change of a notebook
# make hooks  set git up to clean notebooks on commit and to merge them cell by cell
# make docs   build the documentation site in site/ from the notebooks and docs/; open site/index.html
# make readme write README.md from nbs/index.ipynb
# make lock   write the installed versions to requirements-lock.txt; do this after the tests have passed with them
# make bench  measure how fast training, data loading and inference are; writes benchmarks/results.json (half an hour on two cores)
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= runs/demo
PIP    := $(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_OPTIONS)

.PHONY: help demo test slow lint sync hooks docs bench install dev readme lock clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

$(BIN)/python:
	$(PYTHON) -m venv --upgrade-deps $(VENV)

install: $(BIN)/python
	$(PIP) -e '.[predict,export]'

dev: $(BIN)/python
	$(PIP) -e '.[dev]'

demo: install
	@case '$(DEMO)' in *..*) false;; runs/[!./]*) ;; *) false;; esac || { echo 'DEMO is replaced: a folder below runs/, not $(DEMO)' >&2; exit 2; }
	rm -rf '$(DEMO)'
	$(BIN)/maca_train --data synth --n-faces 6000 --augment none --method maca --arch resnet18 --size 64 --last-stride 1 \
	    --bs 32 --epochs 5 --lr .02 --schedule cosine --pixel-baseline --out '$(DEMO)'

test: dev
	$(BIN)/python tests/run.py

slow: dev
	$(BIN)/python -m pytest -m slow
	cd nbs && for n in $$(grep -l '#| slow' *.ipynb); do echo $$n; $(abspath $(BIN))/nbdev-test --flags slow $$n || exit 1; done

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
