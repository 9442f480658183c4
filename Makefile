# `make demo`, `make table`, `make test`, `make rounding` and `make doc` need only Python 3.11 with
# venv; all can be run again at no cost.
# With a virtual environment active they install into that one, else into .venv.
ifdef VIRTUAL_ENV
ENV := $(VIRTUAL_ENV)
else
ENV := .venv
endif
PYTHON := $(ENV)/bin/python
BASE_PYTHON := $(shell command -v python3.11 || command -v python3 || command -v python)
# One stamp a clone and environment: another clone may share an active environment.
STAMP := $(ENV)/.skbackdoor-$(firstword $(shell echo $(CURDIR) | cksum))
JOBS ?= 2

# OpenBLAS kernels of other processors: what holds with one of them only is not true.
KERNELS := Haswell Zen Nehalem Prescott $(shell grep -qs avx512f /proc/cpuinfo && echo SkylakeX)

.PHONY: demo table test rounding doc clean

demo: $(STAMP)-demo
	OMP_NUM_THREADS=1 $(PYTHON) examples/audit_demo.py

table: $(STAMP)-demo
	$(PYTHON) examples/demo.py

test: $(STAMP)-test
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) $(ARGS)

rounding: $(STAMP)-test
	for kernel in $(KERNELS); do echo "BLAS kernels of $$kernel"; \
	  OPENBLAS_CORETYPE=$$kernel OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n $(JOBS) -q -m rounding tests \
	  || exit 1; done

doc: $(STAMP)-doc
	rm -rf doc/_build/html
	OMP_NUM_THREADS=1 $(PYTHON) -m sphinx -W --keep-going -d doc/_build/doctrees doc doc/_build/html
	$(PYTHON) -m pytest tests/test_site.py

$(ENV)/bin/python:
	@test -n "$(BASE_PYTHON)" || { echo "No python3 found: apt-get install python3 python3-venv"; exit 1; }
	@$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; found $$($(BASE_PYTHON) --version)"; exit 1; }
	$(BASE_PYTHON) -m venv $(ENV) \
	  || { rm -rf $(ENV); echo "venv is missing: apt-get install python3-venv"; exit 1; }

$(STAMP)-%: setup.cfg pyproject.toml | $(ENV)/bin/python
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

clean:
	rm -rf .venv build dist skbackdoor.egg-info .pytest_cache
	rm -rf doc/_build doc/api doc/auto_examples doc/sg_execution_times.rst
