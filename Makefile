# Every target uses .venv and adds what it lacks, from the locks (scripts/make_venv.sh).
.DEFAULT_GOAL := help
SHELL := /bin/bash
BIN := .venv/bin
DEMO := demo
EVENTS ?= 60000

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: venv horovod packages-train packages-docs
venv: ## Make .venv with all locked packages; `make demo` and `make docs` install only what they need
	@scripts/make_venv.sh dev

horovod: ## Add Horovod for more than one worker: its wheel is built once and kept in the user's cache (needs g++ and make)
	@scripts/make_venv.sh horovod

packages-train packages-docs:
	@scripts/make_venv.sh $(@:packages-%=%)

.PHONY: demo
demo: packages-train ## Generate toy ntuples and run the main job on the local site
	$(BIN)/nntrainer generate $(DEMO)/ntuples --events $(EVENTS) --overwrite
	$(BIN)/deploy submit configs/tth.yaml --site local --runs $(DEMO)/runs --set data.directory=$(DEMO)/datasets
	$(BIN)/deploy wait tth --runs $(DEMO)/runs
	$(BIN)/deploy gather tth --runs $(DEMO)/runs
	$(BIN)/deploy status tth --runs $(DEMO)/runs

# Which tests are in which tier, and when to run it: docs/testing.md.
.PHONY: test-fast test coverage
test-fast: venv ## Run the tests that train nothing for longer than seconds
	$(PYTEST) -m "not slow" $(TESTS)

test: venv horovod readers ## Run all tests but those of the batch systems
	$(PYTEST) $(TESTS)

coverage: venv horovod readers ## Run the same and print by package which lines and branches they reach
	rm -rf build/coverage
	$(BIN)/coverage run -m pytest $(SPREAD) $(TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage json -q -o build/coverage/report.json
	$(BIN)/python scripts/coverage_table.py build/coverage/report.json

PYTEST = $(BIN)/python -m pytest $(SPREAD)
# A file is run by one process, the slow ones first. Each takes two gigabytes of memory.
SPREAD = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder
PROCESSES ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
TESTS = --ignore=tests/condor --ignore=tests/k8s --ignore=tests/deploy/test_container.py

.PHONY: readers
readers:
	@scripts/jsroot.sh >/dev/null || echo "The tests that read ROOT files with JSROOT will be skipped" >&2
	@scripts/chromium.sh >/dev/null || echo "The tests that open pages in Chromium will be skipped" >&2

.PHONY: fuzz
fuzz: venv ## Fuzz the parser of ROOT records: MINUTES=20, FILES=... (small ROOT files)
	$(BIN)/python tests/fuzz/inplace.py --minutes $(MINUTES) $(FILES)
MINUTES ?= 20
FILES ?= $(addprefix ../shared/data/root/uproot-,HZZ-objects.root HZZ.root Zmumu.root issue434.root sample-*.root)

.PHONY: test-containers test-condor test-k8s
test-containers: venv ## Build the cpu image and test it with Docker and Apptainer (root on Debian, as the next two)
	@scripts/batch_tests.sh containers

test-condor: venv ## Test against a real HTCondor pool, which is set up for it
	@scripts/batch_tests.sh condor

test-k8s: venv ## Test against a real Kubernetes, which is set up for it
	@scripts/batch_tests.sh k8s

.PHONY: condor-pool
condor-pool: ## A throw-away HTCondor pool on this machine (ACTION=start|stop|status|...; needs root)
	@condor/pool/pool.sh $(ACTION)
ACTION ?= start

.PHONY: lint
lint: venv ## Format, lint, types, docstrings, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pydoclint nntrainer deploy
	$(BIN)/lint-imports

.PHONY: format
format: venv ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: image
image: ## Build the container image for Docker and Apptainer: VARIANT=cpu|gpu, FORM=docker|sif|both, ENGINE=docker|podman
	@scripts/image.sh build

.PHONY: push
push: ## Push the image of this VARIANT to REGISTRY
	@scripts/image.sh push

.PHONY: gpus
gpus: venv ## Write docs/gpus.md from the table of GPUs
	$(BIN)/python -c "import sys; from nntrainer.config import gpus; sys.stdout.write(gpus.page())" >docs/gpus.md

.PHONY: catalogue
catalogue: venv ## Write docs/catalogue.md from the networks and feature makers
	$(BIN)/python -c "import sys; from nntrainer.config import catalogue; sys.stdout.write(catalogue.page())" >docs/catalogue.md

.PHONY: schema
schema: venv ## Write the JSON Schemas of configurations and site files, for editors
	$(BIN)/nntrainer schema >configs/schema.json
	$(BIN)/deploy schema >configs/sites/schema.json

.PHONY: docs docs-serve
docs: packages-docs ## Build the website into build/site (or SITE=...); every warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir $(abspath $(SITE))
SITE ?= build/site

docs-serve: packages-docs ## Show the website at localhost:8000 while its pages are written
	$(BIN)/mkdocs serve

.PHONY: wheel
wheel: packages-docs ## Build the wheel into dist
	$(BIN)/python -m pip wheel -q --no-deps --no-build-isolation -w dist .

.PHONY: bench bench-quick bench-memory
bench: venv horovod .venv-bench/.installed ## Measure the hot paths beside their floors and rivals (ROWS=..., see bench/run.py)
	$(BIN)/python bench/run.py $(ROWS)

bench-quick: venv horovod .venv-bench/.installed ## The same on fewer events; writes nothing
	$(BIN)/python bench/run.py --quick $(ROWS)

bench-memory: venv ## Measure the peak memory of convert and inject
	$(BIN)/python bench/memory.py

.venv-bench/.installed: requirements/bench.txt
	scripts/uv.sh venv -q --seed --clear --python $(BIN)/python .venv-bench
	scripts/uv.sh pip install -q --python .venv-bench/bin/python -r $<
	touch $@

.PHONY: k8s-cluster
k8s-cluster: ## A throw-away real Kubernetes on this machine (ACTION=start, stop or status)
	@k8s/cluster/cluster.sh $(ACTION)

.PHONY: lock
lock: ## Resolve the locks again: dev first, whose versions all others take
	$(COMPILE) pyproject.toml --extra train --extra dev $(LOCK) -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra train $(PART) -o requirements/train.txt
	$(COMPILE) pyproject.toml --extra docs $(PART) -o requirements/docs.txt
	$(COMPILE) pyproject.toml --extra train --extra tune --extra explain $(PART) -o requirements/cpu.txt
	$(COMPILE) pyproject.toml --extra gpu --extra tune --extra explain $(PART) -o requirements/gpu.txt
	printf 'pip\nsetuptools\n' | $(COMPILE) - $(PART) -o requirements/seed.txt
	$(COMPILE) --group bench $(LOCK:--generate-hashes=) --no-annotate | $(NO_CUDA) >requirements/bench.txt
COMPILE := scripts/uv.sh pip compile
LOCK := --quiet --python-version 3.11 --generate-hashes --no-header --no-emit-index-url --no-emit-find-links
PART := $(LOCK) --no-annotate -c requirements/dev.txt
# Which CUDA wheels torch wants depends on its build; pip adds them.
NO_CUDA := sed -E '/^(nvidia-|cuda-|triton)/d; s/\+cpu$$//'

.PHONY: clean
clean: ## Remove the demo's files and caches (never .venv or runs)
	rm -rf $(DEMO) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
