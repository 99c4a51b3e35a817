# Two commands for newcomers: `make demo` and `make test`. All they install goes into .venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
AZURE  := .venv-azure
FUZZ   := .venv-fuzz
FOLDER ?= .
URL    ?=
ROUNDS ?=
OUTPUT ?=
RUNS   ?= 5000
SEED   ?= 0

.PHONY: demo test test-brokers test-azure test-faults lint format types compiled bench bench-cost simulate fuzz clean

demo: $(VENV)/.demo
	@$(BIN)/python examples/move_files.py demo "$(FOLDER)" $(if $(URL),--url "$(URL)")

test: $(VENV)/.test
	tools/run-tests $(BIN)/python

# The same live tests against the embedded broker, RabbitMQ 4 and Artemis (see tools/brokers/README.md).
test-brokers: $(VENV)/.test
	UAMQP_LIVE_PEERS=embedded,rabbitmq,artemis $(BIN)/python -m pytest tests/live -q --timeout 300 -p no:cacheprovider

# Connections cut at every stage and in every way, and real brokers killed with SIGKILL under load; a table at the end
# (docs/recovery.md). UAMQP_FAULT_KILLS says how often each broker is killed, UAMQP_FAULT_LOAD how many messages that takes.
test-faults: $(VENV)/.test
	$(BIN)/python -m pytest tests/faults -q -n 6 --dist worksteal --timeout 120 -p no:cacheprovider

# Microsoft's SDKs against the azure personality of the embedded broker (docs/azure.md), in an environment of their own.
# UAMQP_AZURE_TRANSPORTS=pyamqp or =uamqp runs them with one of their two AMQP stacks only.
test-azure: $(AZURE)/.test
	$(AZURE)/bin/python -m pytest tests/azure -q -n 4 --timeout 120 -p no:cacheprovider

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.test
	$(BIN)/mypy

# Fuzzing guided by coverage, of codec and engine, in an environment of its own: make fuzz RUNS=1000000
fuzz: $(FUZZ)/.test
	$(FUZZ)/bin/python -m tests.fuzz codec -runs=$(RUNS) -seed=$(SEED)
	$(FUZZ)/bin/python -m tests.fuzz engine -runs=$(RUNS) -seed=$(SEED)

# The compiled twin of engine and hot codec: built, compared with the source, and put through the whole test suite.
compiled: $(VENV)/.test
	tools/check-compiled $(BIN)/python

# uamqp beside its peers; see bench/README.md. All that it needs goes into a cache folder outside the tree.
bench: $(VENV)/.test
	tools/build-compiled $(BIN)/python $(VENV)/compiled
	rm -rf $(VENV)/compiled/site
	$(BIN)/python -m zipfile -e $(VENV)/compiled/*.whl $(VENV)/compiled/site
	$(BIN)/python -m bench --compiled-path $(VENV)/compiled/site $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(OUTPUT),--output $(OUTPUT))

# What must not grow: cost per message against links, unsettled deliveries and connections; memory.
bench-cost: $(VENV)/.test
	$(BIN)/python -m bench.cost $(if $(OUTPUT),--output $(OUTPUT))

# Client and broker on virtual time, over a network that fails; see docs/testing.md.
simulate: $(VENV)/.test
	$(BIN)/python -m uamqp.testing simulate --runs $(RUNS) --seed $(SEED) --processes "$$(nproc)"

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 …")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cli]'
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[cli]' --group test --group lint --group interop
	touch $@

$(AZURE)/.test: pyproject.toml
	$(PYTHON) -m venv $(AZURE)
	$(AZURE)/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(AZURE)/bin/python -m pip install --quiet --disable-pip-version-check -e . --group test --group azure
	touch $@

$(FUZZ)/.test: pyproject.toml
	$(PYTHON) -m venv $(FUZZ)
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(FUZZ)/bin/python -m pip install --quiet --disable-pip-version-check -e . --group test --group fuzz
	touch $@

clean:
	rm -rf $(VENV) $(AZURE) $(FUZZ) build dist .mypy_cache .ruff_cache .pytest_cache .coverage*
