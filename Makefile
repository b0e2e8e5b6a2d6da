PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo test dev vm bench soak lock clean

help:
	@echo "make demo   a stream server and an agent that loops a demo drive"
	@echo "make test   all test lanes that can run here"
	@echo "make dev    .venv with all tools, without running anything"
	@echo "make vm     the guest of the vm lane (needs root and apt; VM=qemu for the second way)"
	@echo "make bench  the benchmarks, each beside what one would use instead, into docs/performance.md (BENCH='decode resume': only these)"
	@echo "make soak   the tests that kill, cut, fill and wait, at their full length: about two hours"
	@echo "make lock   renew requirements/ (needs uv)"
	@echo "make clean  remove the virtual environment and the demo's data"

demo: $(VENV)/.run
	@$(BIN)/python scripts/demo.py

test: $(VENV)/.dev
	@$(BIN)/python scripts/lanes.py

dev: $(VENV)/.dev

vm: $(VENV)/.dev
	@tests/vm/build $(VM)

bench: $(VENV)/.dev
	@$(BIN)/python scripts/bench.py $(BENCH)

soak: $(VENV)/.dev
	@$(BIN)/python scripts/soak.py

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed: name it with 'make PYTHON=/path/to/python3.12 ...'"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "Python's venv module is missing: run 'sudo apt install python3-venv', then this again"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.txt pyproject.toml | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/run.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

lock:
	uv pip compile pyproject.toml --extra server --group dev --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements/dev.txt
	echo 'hatchling' | uv pip compile pyproject.toml - --extra server --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -c requirements/dev.txt \
	  -o requirements/run.txt

clean:
	rm -rf $(VENV) demo-data
