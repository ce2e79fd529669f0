# The two commands of the README are `make book` and `make test`.
#   make book                      the demonstration on phantoms
#   make book PROFILE=tiny         another set of parameters (profiles/NAME.yaml)
#   make book DATA=path/to/folder  the same book on a folder in the COVIDx layout
#   make book EXTERNAL=path/to/folder  with the test split of another such folder as a second test set
#   make book STUDENT=1            the edition without solutions, beside it
PYTHON ?= python3
PROFILE ?= demo
DATA ?=
EXTERNAL ?=
STUDENT ?=
BENCH ?= results/bench.json
STUDY ?=
PHOTOS ?=
TABLE ?=
FORK ?=
NOTEBOOK ?= 03_test_performance
PAGES ?= _build/html
# Recipes get these as variables of the shell, which reads nothing in them: a folder's name may hold quotes, $ and backticks.
unexport DATA EXTERNAL PROFILE BENCH STUDY TABLE PHOTOS NOTEBOOK PAGES FORK
export CXR_DATA := $(value DATA)
export CXR_EXTERNAL := $(value EXTERNAL)
export CXR_PROFILE := $(value PROFILE)
export CXR_BENCH := $(value BENCH)
export CXR_STUDY := $(value STUDY)
export CXR_TABLE := $(value TABLE)
export CXR_PHOTOS := $(value PHOTOS)
export CXR_NOTEBOOK := $(value NOTEBOOK)
export CXR_PAGES := $(value PAGES)
export CXR_FORK := $(value FORK)
BIN := .venv/bin
VALIDATORS := .venv.validators/bin
# The name of the stamp follows from the lock, so another lock makes another environment.
STAMP := .venv/.installed-$(shell cksum < requirements.lock | tr ' ' '-')

.PHONY: book test clean lock environment venv lint soak upstream bench coverage results shortcuts truth verify validate validators lab buttons class pdf archive links

book: environment
	@$(BIN)/cxr book --profile="$$CXR_PROFILE" $${CXR_DATA:+--data="$$CXR_DATA"} $${CXR_EXTERNAL:+--external="$$CXR_EXTERNAL"} $(if $(value STUDENT),--student)

# A notebook in JupyterLab, with the parameters of a profile: make lab NOTEBOOK=02_hyperparameter_sensitivity PROFILE=tiny
lab: environment
	@$(BIN)/python -m cxrlib.book.lab

# Buttons that open a page's notebook on Binder and Colab: make buttons FORK=https://github.com/OWNER/NAME, and off with FORK=
buttons: environment
	@$(BIN)/python -m cxrlib.book.launch

# Of a built book, by default the demonstration; another with PAGES=_build/NAME. The PDF needs Chromium.
pdf archive links: environment
	@$(BIN)/python -m cxrlib.book.publish $@ "$$CXR_PAGES"

# The bundle for a class, _build/cxrlib-class.zip, and the teacher's beside it: book without solutions, labs, slides, phantoms, records.
#   make class WHEELS=1      with everything for an installation without a network; some GB on Linux
class: environment
	@$(BIN)/cxr book --student
	@$(BIN)/python -m cxrlib.teach.kit $(if $(value WHEELS),--wheels)

test: environment
	@$(BIN)/python -m pytest -n logical --dist loadfile

lint: environment
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports
	@$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb teaching/labs/*.ipynb
	@$(BIN)/codespell
	@$(BIN)/codespell -D tools/british.txt --skip book/what_happens_if.md book/*.md notebooks/*.ipynb README.md CONTRIBUTING.md SECURITY.md results/README.md

environment: $(STAMP)

$(STAMP): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is too old: Python 3.11 or later is needed; name one with make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) tools/locked.py .venv.lock $(MAKE) --no-print-directory venv

# Under the lock, once more only if nobody made it meanwhile.
venv:
	@test -e $(STAMP) || { \
	  echo "Making .venv from requirements.lock (some minutes, several GB with CUDA libraries) …" && \
	  rm -rf .venv && \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock && \
	  $(BIN)/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation -e . && \
	  touch $(STAMP); }

# Kills workers, driver and scheduler of a sweep at random, 50 times, and compares what is left with a sequential sweep.
# The page on large sweeps draws the result.
#   make soak                half an hour on two idle cores
#   make soak FULL_DISK=yes  the same with a store whose disk is full part of the time; as root, for it mounts a small disk
soak: environment
	@PYTHONPATH=tests $(BIN)/python tests/chaos.py --kills 50 --runs 90 --out results/soak.json $(if $(value FULL_DISK),--full-disk)

# cxrlib against the standard recipe, in pairs; half an hour on two idle cores. The page on speed draws the result.
bench: environment
	@$(BIN)/python benchmarks/bench.py --out="$$CXR_BENCH"

# How often a 95 % interval holds the truth, simulated on the patients of results/quarter.parquet; some minutes on one core.
coverage: environment
	@$(BIN)/python benchmarks/coverage.py

# What is missing of the tables of records in results/ that the book draws; hours on two cores, goes on where it was stopped.
#   make results DATA=path/to/covidx-mini                      the three tables of the quarter study
#   make results DATA=path/to/covidx-mini STUDY=04_data_size   the runs of one notebook
#   make results DATA=path/to/covidx-mini TABLE=quarter-lite   one table
results: environment
	@test -n "$$CXR_DATA" || { echo "name the data folder: make results DATA=path/to/covidx-mini" >&2; exit 1; }
	@$(BIN)/cxr results --data="$$CXR_DATA" $${CXR_TABLE:+--table="$$CXR_TABLE"} $${CXR_STUDY:+--study="$$CXR_STUDY"}

# The tables behind the page "Disease or data source?", once more; some minutes on two cores, goes on where it was stopped.
#   make shortcuts                              the phantoms with known confounding
#   make shortcuts DATA=path/to/covidx-mini     also where Grad-CAM looks on real X-rays, and the sizes of their files
shortcuts: environment
	@$(BIN)/cxr shortcuts confounding
	@test -z "$$CXR_DATA" || { $(BIN)/cxr runs import results/quarter.parquet --store .cache/quarter && \
	  $(BIN)/cxr shortcuts grad-cam --data="$$CXR_DATA" --store .cache/quarter && $(BIN)/cxr shortcuts files --data="$$CXR_DATA"; }

# The tables behind the pages with truth on real X-rays, once more; same-source, covid-masks and hannover lie beside DATA.
#   make truth DATA=path/to/covidx-mini         some tens of minutes on one core, goes on where it was stopped
truth: environment
	@test -n "$$CXR_DATA" || { echo "name the data folder: make truth DATA=path/to/covidx-mini" >&2; exit 1; }
	@$(BIN)/cxr truth attention --data="$$CXR_DATA"
	@$(BIN)/cxr truth across --data="$$CXR_DATA"
	@$(BIN)/cxr truth failures --data="$$CXR_DATA"
	@$(BIN)/cxr truth embedding --data="$$CXR_DATA"
	@$(BIN)/cxr truth lungs --data="$$CXR_DATA"
	@$(BIN)/cxr truth regions --data="$$CXR_DATA"

# Every number and verdict that the book draws from committed records, computed again and compared, and a sample of the runs
# trained again; some minutes. Prints a row for each claim, writes codecheck.yml, and fails if a row does.
#   make verify                                 the records, the weights, the values, and runs on phantoms
#   make verify DATA=path/to/covidx-mini        also runs on real X-rays
#   make verify WRITE=yes                       state the values as they are computed now, after a change that is meant
verify: environment
	@$(BIN)/cxr verify $(if $(value WRITE),--write) $${CXR_DATA:+--data="$$CXR_DATA"}

# Executed notebooks as RO-Crates, phantoms in Croissant and the licences of all files, with the validators of these standards.
# These do not fit into the lock of the book and have an environment of their own.
validate: environment validators
	@$(BIN)/cxr evidence crates
	@$(VALIDATORS)/python tools/validate_crates.py _build/crates/*
	@$(BIN)/cxr data phantom .cache/validate/phantom -p train_positive=4 -p train_negative=4 -p test_per_class=2 -p size=64 -p overwrite=true
	@$(BIN)/cxr evidence croissant .cache/validate/phantom
	@$(VALIDATORS)/mlcroissant validate --jsonld .cache/validate/phantom/croissant.json
	@$(VALIDATORS)/reuse lint

validators: .venv.validators/.installed-$(shell cksum < tools/requirements-validators.txt | tr ' ' '-')

.venv.validators/.installed-%: tools/requirements-validators.txt
	rm -rf .venv.validators
	$(PYTHON) -m venv .venv.validators
	$(VALIDATORS)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

# The weights that ship with the package once more, into .cache/upstream; resumable, with time left.
#   make upstream                                         the fractal ones, about an hour on two cores
#   make upstream PHOTOS=path/to/tiny-imagenet-200.zip    those of photographs, a rung between and two controls, likewise; about three hours
upstream: environment
	@$(BIN)/cxr upstream $${CXR_PHOTOS:+--photos="$$CXR_PHOTOS"}

# Needs uv; writes the versions and checksums for every platform, and which platforms have wheels. Commit the result with pyproject.toml.
lock:
	mkdir -p .cache
	uv pip compile --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.lock
	grep -E '^[A-Za-z0-9._-]+==' requirements.lock | sed 's/ \\$$//' > .cache/constraints.txt
	uv pip compile -q --universal --python-version 3.11 --all-extras --no-header pyproject.toml -c .cache/constraints.txt --format pylock.toml -o .cache/pylock.toml
	$(BIN)/python tools/wheels.py .cache/pylock.toml requirements.lock book/wheels.csv

# Run records and phantoms stay; delete runs/ and data/ by hand to train again.
clean:
	rm -rf _build book/executed .cache/book book/_static/mathjax
