# Every command a developer needs. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE := $(wildcard faustc/_native/*.pyx faustc/_native/*.pxd faustc/_native/*.[h] faustc/_native/crc32c.c)

.PHONY: help demo demo-kafka test test-long simulate chaos wire-faults hostile soak test-wire-3.9 features settings asan asan-hostile lint format types bench build clean check-python check-kafka
help:           ## list the commands
	@grep -E '^[a-z.0-9-]+:.*##' Makefile | sed -E 's/:[^#]*##/\t/' | expand -t 18

check-python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is missing: install it, or name it: make PYTHON=python3.12 ..." >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv is missing: install it (Debian: apt-get install python3-venv)" >&2; exit 2; }
	@command -v $${CC:-cc} >/dev/null || \
	  { echo "A C compiler is missing: install it (Debian: apt-get install gcc python3-dev, macOS: xcode-select --install)" >&2; exit 2; }

$(VENV)/.ready: pyproject.toml | check-python
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install -q --group dev
	touch $@

$(VENV)/.built: $(VENV)/.ready setup.py $(NATIVE)
	$(BIN)/python -m pip install -q --no-build-isolation -e .
	touch $@

build: $(VENV)/.built  ## make the virtual environment and compile the extensions

check-kafka: build
	@$(BIN)/python -m tests.kafka_cluster check

demo: build     ## count the words of the standard library on the embedded broker
	$(BIN)/python -m examples.demo

demo-kafka: build check-kafka  ## the same on a real Kafka
	$(BIN)/python -m examples.demo --kafka

test: build     ## run the whole suite, on a real Kafka where Java and Maven are there
	$(BIN)/python -m pytest -q

chaos: build check-kafka  ## kill workers and brokers: make chaos PLAN=kills SEEDS=1-10 GUARANTEE=at_least_once STORE=memory
	$(BIN)/python -m tests.chaos --plan $(or $(PLAN),kills) --seeds $(or $(SEEDS),1-10) \
	    --guarantee $(or $(GUARANTEE),at_least_once) --store $(or $(STORE),memory)

test-long: build  ## the tests that make test leaves out: the checker's own, faults of our own machine
	$(BIN)/python -m pytest -q -m long

test-wire-3.9: build  ## run the tests of the client on Kafka 3.9
	FAUSTC_TEST_KAFKA_VERSION=3.9.1 $(BIN)/python -m pytest -q tests/kafka -k "not word_count"

simulate: build  ## simulate whole workers under faults: make simulate SEEDS=10000, or one: SEED=123
	$(BIN)/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) \
	    $(if $(GUARANTEE),--guarantee $(GUARANTEE)) $(ARGS)

features: build ## take each of Faust's features away: its test must fail; then write docs/features.md
	$(BIN)/python -m tests.compat.features check
	$(BIN)/python -m tests.compat.features docs

settings: build ## write the tables of docs/settings.md
	$(BIN)/python -m faustc.setting_docs docs/settings.md

COMPAT = .cache/compat-venv
compat: build   ## run Faust's own tests on faustc: make compat UPSTREAM=/path/to/a/checkout/of/faust
	@test -d "$(UPSTREAM)" || { echo "say where Faust is checked out: make compat UPSTREAM=/path"; exit 2; }
	test -x $(COMPAT)/bin/pytest || { $(BIN)/python -m venv $(COMPAT) && $(COMPAT)/bin/pip install -q \
	    -r tests/compat/requirements.txt && echo $(CURDIR) > \
	    "$$($(COMPAT)/bin/python -c 'import site; print(site.getsitepackages()[0])')/faustc.pth"; }
	$(BIN)/python -m tests.compat.upstream "$(UPSTREAM)" --python $(CURDIR)/$(COMPAT)/bin/python

wire-faults: build check-kafka  ## 17 kinds of wire fault before a producer and consumers: make wire-faults SEEDS=5
	$(BIN)/python -m tests.wire_faults --seeds $(or $(SEEDS),5)

MUTANTS ?= 100000
hostile: build  ## mutants of batches and answers against the reference: make hostile MUTANTS=100000
	$(BIN)/python -m tests.unit.native.hostile --mutants $(MUTANTS)

MINUTES ?= 30
soak: build check-kafka  ## a worker whose connections are cut every second: make soak MINUTES=30
	$(BIN)/python -m tests.wire_faults.soak --minutes $(MINUTES)

asan: $(VENV)/.ready  ## run the native tests under AddressSanitizer and UBSan
	env -u MUTANTS bash tests/asan.sh

asan-hostile: $(VENV)/.ready  ## the mutants of make hostile under the same
	MUTANTS=$(MUTANTS) bash tests/asan.sh

lint: build     ## ruff, cython-lint, the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint faustc/_native
	$(BIN)/python -m pytest -q tests/test_layers.py

format: build   ## format the Python code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: build    ## strict mypy, and the .pyi files against the extensions
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest --mypy-config-file pyproject.toml --ignore-missing-stub faustc._native

bench: build    ## measure faustc beside its peers on a real Kafka (about ten minutes)
	$(BIN)/python -m benchmarks

clean:          ## remove what was built
	rm -rf build $(VENV)/.built faustc.egg-info faustc/_native/*.so
	find faustc/_native -name '*.c' ! -name crc32c.c -delete
