# `make demo` and `make test` set themselves up: a virtual environment in .venv, and Debian's packages when root.
PYTHON ?= python3
FUZZ_SECONDS ?= 600
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PACKAGES_DEMO := postfix swaks
PACKAGES_TEST := gcc libc6-dev openssl postfix swaks redis-server spamassassin spamd clamav-daemon php-cli lua5.4 tmux opendkim slapd
PACKAGES_BENCH := $(PACKAGES_DEMO) php-cli lua5.4

.PHONY: demo test test-full test-compiled test-quick docs fuzz lint bench bench-language bench-relay serve clean

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

demo: $(READY)
	@tools/packages $(PACKAGES_DEMO)
	@$(BIN)/python bench/demo/demo.py

test: $(READY)
	@tools/packages $(PACKAGES_TEST)
	@command -v npm >/dev/null || tools/packages npm
	@tools/corpus
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -q -n auto
	@$(MAKE) --no-print-directory test-compiled
	@$(BIN)/python tests/support/catalogue.py

# Everything: `make test`, then what is marked `full` (kills under load, a full disk, a million queued entries).
test-full: test
	$(BIN)/python -m pytest -q -n auto -m full

# What runs scripts once more, on the compiled package: from a folder where `import hsl` finds it.
COMPILED := compiled.py language library runtime cli \
	$(patsubst %,gateway/test_%.py,outbound eod scripts stage_options queue_options runtime)
test-compiled: $(READY)
	@python=$$(tools/compiled-venv $(BIN)) && cd build/compiled && $$python -m pytest -q -n auto -p no:cacheprovider \
		-c ../../pyproject.toml $(COMPILED:%=../../tests/%)

test-quick: $(READY)
	$(BIN)/python -m pytest -q -x tests/language tests/library

# The manual of the library: a Markdown page for each chapter; the pages about the stages and the configuration.
docs: $(READY)
	@$(BIN)/python tools/stages
	@$(BIN)/python tools/configuration
	@$(BIN)/hsl builtins --pages build/docs

fuzz: $(READY)
	$(BIN)/python tests/fuzz/mutate_scripts.py --seconds $(FUZZ_SECONDS)

lint: $(READY)
	$(BIN)/ruff check .
	tools/typecheck $(BIN)

bench: bench-language
	$(BIN)/python bench/smtp/bench.py
	$(BIN)/python bench/scale/bench.py
	@$(MAKE) --no-print-directory bench-relay

# Beside Postfix and Haraka; ours compiled, as an installation has it.
bench-relay: $(READY)
	@tools/packages $(PACKAGES_DEMO) redis-server
	@command -v npm >/dev/null || tools/packages npm
	@python=$$(tools/compiled-venv $(BIN)) && $$python bench/relay/bench.py

bench-language: $(READY)
	@tools/packages $(PACKAGES_BENCH)
	$(BIN)/python bench/language/bench.py

serve: $(READY)
	$(BIN)/hsl serve -c scripts/outbound/smtpd.yaml

clean:
	rm -rf $(VENV) build
