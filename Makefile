# Everything goes into .venv; what is up to date is not done again.
#
#   make run     serve https://localhost:8443 with the example app behind it
#   make test    run all tests; what they need is set up first
#   make lint    ruff, mypy, import-linter
#   make wheel   build/wheels: what is installed in production, with the data plane compiled
#   make test-wheel  the tests of the data plane, on the wheel
#   make bench   Vestibule, from its wheel, beside nginx, HAProxy and Caddy
#   make fuzz    differential fuzzing, FUZZ_SECONDS=60 for each target (make test has it in short)
#   make autobahn  all cases of the Autobahn WebSocket suite (make test has most; needs Python 2.7)
#   make clean   remove what the others made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
REPORT := build/tests.xml
# Tests wait for other programs more than they compute; the tests of a file stay together.
TEST_PROCESSES ?= 2

export PIP_DISABLE_PIP_VERSION_CHECK := 1

# The wheel is tested and measured in an environment of its own, where no sources hide it.
SOURCES := pyproject.toml hatch_build.py $(shell find proxy acme_client -name '*.py')
WHEEL := build/wheel-venv
COMPILED_TESTS := tests/proxy/http tests/proxy/downstream tests/proxy/upstream tests/proxy/tls \
    tests/proxy/test_exchange.py tests/proxy/test_forwarding.py tests/proxy/test_access_log.py \
    tests/proxy/test_client.py tests/proxy/test_sites.py \
    tests/proxy/test_turns.py tests/proxy/test_worker_certificates.py \
    tests/test_wheel.py tests/e2e/test_request_corpus.py tests/e2e/test_response_corpus.py \
    tests/e2e/test_limits.py tests/e2e/test_http2.py tests/e2e/test_http2_floods.py \
    tests/e2e/test_http2_websocket.py tests/e2e/test_websocket.py tests/e2e/test_grpc.py \
    tests/e2e/test_big_bodies.py tests/e2e/test_retries.py tests/e2e/test_lifecycle.py \
    tests/e2e/test_tls.py tests/e2e/test_curl.py

.PHONY: run test lint wheel test-wheel bench fuzz autobahn clean
.DELETE_ON_ERROR:

run: $(VENV)/run.stamp
	@$(BIN)/vestibule dev examples/main.py

test: $(VENV)/test.stamp
	@.ci/test-tools
	@$(BIN)/python -m tests.e2e.autobahn_suite
	@mkdir -p $(dir $(REPORT))
	@rm -f $(REPORT)
	$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --junitxml=$(REPORT) $(PYTEST)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: build/wheels.stamp
	@ls build/wheels/*.whl

build/wheels.stamp: $(SOURCES) $(VENV)/made.stamp
	@.ci/build-tools $(BIN)/python
	@echo "Compiling the data plane into a wheel: a minute or two"
	@rm -rf build/wheels
	@$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir build/wheels .
	@touch $@

$(WHEEL)/made.stamp: build/wheels.stamp
	@.ci/make-venv $(PYTHON) $(WHEEL)
	@$(WHEEL)/bin/python -m pip uninstall --quiet --yes vestibule
	@$(WHEEL)/bin/python -m pip install --quiet build/wheels/*.whl --group test
	@touch $@

test-wheel: $(WHEEL)/made.stamp
	@.ci/test-tools
	@rm -rf build/beside-wheel && mkdir build/beside-wheel
	@cp -r tests examples configs docs pyproject.toml README.md build/beside-wheel/
	cd build/beside-wheel && TESTED_WHEEL=1 ../wheel-venv/bin/python -m pytest \
	    -n $(TEST_PROCESSES) --dist loadfile $(COMPILED_TESTS)

bench: $(WHEEL)/made.stamp
	$(WHEEL)/bin/python -m benchmarks.run $(BENCH)

# Guided by coverage where Atheris has a wheel for this Python, by chance where it has none.
FUZZ_SECONDS ?= 60

fuzz: $(VENV)/test.stamp
	@$(BIN)/python -m pip install --quiet --group fuzz || \
	    echo "WARNING: Atheris cannot be installed here: inputs will be random edits of the seeds" >&2
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(FUZZ)

autobahn: $(VENV)/test.stamp
	@$(BIN)/python -m tests.e2e.autobahn_suite
	AUTOBAHN_ALL=1 $(BIN)/python -m pytest --basetemp=build/autobahn-run tests/e2e/test_autobahn.py

clean:
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The group of dependencies is the name of the stamp; vestibule itself is always with it.
$(VENV)/run.stamp: GROUPS := --group examples
$(VENV)/test.stamp: GROUPS := --group test
$(VENV)/lint.stamp: GROUPS := --group test --group lint

$(VENV)/%.stamp: pyproject.toml $(VENV)/made.stamp
	@echo "Installing what '$*' needs into $(VENV)"
	@$(BIN)/python -m pip install --quiet --editable . $(GROUPS)
	@touch $@

$(VENV)/made.stamp: .ci/make-venv
	@.ci/make-venv $(PYTHON) $(VENV)
	@touch $@
