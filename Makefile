PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: help demo demo-relay test dev vm roots bench soak lock clean

help:
	@echo "make demo   a stream server and an agent that loops a demo drive (HOST=0.0.0.0: for other machines; PORT=8081)"
	@echo "make demo-relay   two agents, two buses and a group that makes them one (HOST=, PORT= as above)"
	@echo "make test   all test lanes that can run here"
	@echo "make dev    .venv with all tools, without running anything"
	@echo "make vm     the guest of the vm lane (needs root and apt; VM=qemu for the second way)"
	@echo "make roots  the bare Debian 12 and 13 that the README is tried in (needs root and mmdebstrap)"
	@echo "make bench  the benchmarks, each beside what one would use instead, into docs/performance.md (BENCH='decode resume': only these)"
	@echo "make soak   the tests that kill, cut, fill and wait, at their full length: about two hours"
	@echo "make lock   renew requirements/ (needs uv)"
	@echo "make clean  remove the virtual environment and the demo's data"

demo: $(VENV)/.run
	@$(BIN)/python scripts/demo.py

demo-relay: $(VENV)/.dev
	@$(BIN)/python scripts/demo_relay.py

test: $(VENV)/.dev
	@$(BIN)/python scripts/lanes.py

dev: $(VENV)/.dev

vm: $(VENV)/.dev
	@tests/vm/build $(VM)

roots:
	@tests/roots/build bookworm & tests/roots/build trixie && wait $$!

bench: $(VENV)/.dev
	@$(BIN)/python scripts/bench.py $(BENCH)

soak: $(VENV)/.dev
	@$(BIN)/python scripts/soak.py

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) or sys.maxsize < 2**32)' || \
	  { echo "Python 3.11 or newer, of 64 bits, is needed: name it with 'make PYTHON=/path/to/python3.12 ...'"; exit 1; }
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
	uv pip compile pyproject.toml --extra server --universal --python-version 3.11 --resolution lowest-direct \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --quiet -o requirements/lowest.txt

clean:
	rm -rf $(VENV) demo-data demo-relay-data
