# `make run` and `make test` set up everything they need; the second time they start at once.

PYTHON ?= python3
BIN := .venv/bin
WHEELHOUSE := .wheelhouse
LLAMA := $(shell sed -n 's/^llama[-_]cpp[-_]python==//p' constraints.txt)
# portable (no -march=native) and without the parts discnb does not use: about four minutes on two cores
LLAMA_FLAGS := -DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF -DLLAMA_OPENSSL=OFF
PRESET ?= mini

.PHONY: run test lint format bench book faults soak setup clean

run: .venv/ready  ## distil the real SmolLM2 weights, export and generate: runs/mini
	$(BIN)/discnb run --preset $(PRESET)

test: setup  ## all tests but those of the built book
	$(BIN)/python -m pytest

lint: setup  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/shellcheck --external-sources --exclude=SC1091 launch/*.sh

bench: setup  ## the signal engine, a training step and the cache against their peers: half an hour, into the README
	$(BIN)/python -m pip install --quiet --find-links $(WHEELHOUSE) -c constraints.txt -e '.[bench]'
	for part in startup step cache signals; do $(BIN)/python benchmarks/$$part.py || exit 1; done
	$(BIN)/python benchmarks/readme.py

faults: setup  ## kill, fill the disk, flip bytes, at every stage, and count what is lost: into RELIABILITY.md
	$(BIN)/python -m tests.faults --json benchmarks/results/faults.json
	$(BIN)/python benchmarks/readme.py

soak: setup  ## an hour of training, 100,000 cached samples, 10,000 explorer records: into RELIABILITY.md
	PYTHONPATH=book $(BIN)/python -m tests.soak --json benchmarks/results/soak.json
	$(BIN)/python benchmarks/readme.py

book: setup  ## the book, every chapter executed, every page walked in a browser: _build/html/book/index.html and disc-book.pdf
	$(BIN)/python book/build.py
	$(BIN)/python -m pytest book/test_pages.py

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: .venv/ready .venv/programs

.venv/ready: pyproject.toml constraints.txt $(WHEELHOUSE)/llama-$(LLAMA) | .venv/made
	@echo "== installing discnb and its dependencies into .venv"
	$(BIN)/python -m pip install --quiet --find-links $(WHEELHOUSE) -c constraints.txt -e '.[mini,eval,book,test,lint]'
	@touch $@

# PyPI has llama-cpp-python as source only. The sdist is kept too: a test holds our GGUF writer to the converter in it.
$(WHEELHOUSE)/llama-$(LLAMA): | .venv/made
	@echo "== building llama-cpp-python $(LLAMA), once: about four minutes on two cores"
	$(BIN)/python -m pip download --quiet --no-deps --no-binary :all: -d $(WHEELHOUSE) llama-cpp-python==$(LLAMA)
	CMAKE_ARGS="$(LLAMA_FLAGS)" $(BIN)/python -m pip wheel --quiet --no-deps --no-cache-dir -w $(WHEELHOUSE) \
		$(WHEELHOUSE)/llama_cpp_python-$(LLAMA).tar.gz
	@touch $@

# Node holds the explorer's JavaScript to Python, and Chromium shows it and prints the book.
.venv/programs: | .venv/made
	@missing=; command -v node >/dev/null || missing="nodejs"; \
	for name in chromium chromium-browser google-chrome none; do command -v $$name >/dev/null && break; done; \
	[ $$name != none ] || missing="$$missing chromium"; \
	[ -n "$$missing" ] || exit 0; \
	echo "== installing $$missing, for the tests and the book"; \
	as=; [ "$$(id -u)" = 0 ] || as="sudo -n"; \
	if command -v apt-get >/dev/null && $$as true 2>/dev/null; then \
		$$as apt-get update -qq && $$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $$missing >/dev/null; \
	else \
		echo "the tests need $$missing; install it (on Debian: apt-get install $$missing) and run make again" >&2; exit 1; \
	fi
	@touch $@

.venv/made:
	@echo "== making a virtual environment in .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "discnb needs Python 3.11 or newer: make PYTHON=...")'
	$(PYTHON) -m venv --clear .venv
	@touch $@

clean:  ## everything but runs/
	rm -rf .venv $(WHEELHOUSE) .pytest_cache .hypothesis .ruff_cache .mypy_cache
