PYTHON ?= python3
# No usage reports from a build.
export SAM_CLI_TELEMETRY = 0

.DEFAULT_GOAL := help
.PHONY: help run mcp walkthrough storm test check lint types arrows template coverage screenshots bench interop docs reference strictness fuzz build reproducible deploy smoke remove format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^##@ / { print "\n" substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Run
# A Ctrl-C while the interpreter starts would print a traceback. `local.cli` handles the signal itself.
run: .venv/laptop.stamp ## Start everything on this machine, show the walkthrough, stay up
	@trap '' INT; exec .venv/bin/python -m local.cli local.run

mcp: .venv/dev.stamp ## Start everything, and the MCP server of docs/examples/mcp
	@trap '' INT; exec .venv/bin/python -m local.cli local.run --stack docs/examples/mcp/template.yaml

walkthrough: .venv/laptop.stamp ## Start everything, check every answer of the walkthrough, stop
	@trap '' INT; exec .venv/bin/python -m local.cli local.run --check

storm: .venv/laptop.stamp ## Rotate the signing key under load
	@trap '' INT; exec .venv/bin/python -m local.cli tests.benchmarks.rotation_load

##@ Test
# Modules are compiled once, also in an environment that writes no bytecode: each worker compiles 300.
test coverage: export PYTHONDONTWRITEBYTECODE =
test: .venv/dev.stamp ## Run the tests
	.venv/bin/python -m pytest -n auto

check: ## Run what CI runs
	@$(MAKE) --no-print-directory -j2 --output-sync=target lint types arrows template docs
	@$(MAKE) --no-print-directory coverage

lint: .venv/dev.stamp ## Part of check: ruff
	.venv/bin/ruff check
	.venv/bin/ruff format --check

types: .venv/dev.stamp ## Part of check: mypy
	.venv/bin/mypy

arrows: .venv/dev.stamp ## Part of check: which package may import which
	.venv/bin/lint-imports --no-cache

template: .venv-sam/sam.stamp .venv-checkov/checkov.stamp ## Part of check: SAM, cfn-lint and checkov look at the templates
	.venv-sam/bin/sam validate --lint
	for example in docs/examples/*/template.yaml; do .venv-sam/bin/sam validate --lint --template $$example || exit 1; done
	.venv-sam/bin/python -m infra.template_checks

# Processes that tests start are measured too: 23 % of local/ runs only there.
coverage: .venv/dev.stamp .venv-cdk/cdk.stamp ## Part of check: run the tests, require 96 % branch coverage
	rm -f .coverage .coverage.*
	.venv/bin/coverage run -m pytest -n auto
	.venv/bin/coverage combine --quiet
	.venv/bin/coverage report

fuzz: .venv/dev.stamp ## Run the Hypothesis tests with many examples (EXAMPLES=100000 tokens against PyJWT and joserfc)
	.venv/bin/python -m pytest tests/unit -m hypothesis --hypothesis-profile=fuzz -n auto
	.venv/bin/python -m tests.strictness.fuzz --examples $(or $(EXAMPLES),100000)
	for seed in 2 3 4; do SCHEMATHESIS_SEED=$$seed .venv/bin/python -m pytest tests/contract/test_openapi.py -k services_answer || exit 1; done

strictness: .venv-bench/bench.stamp node-rivals ## Compare verifiers with invalid tokens, write docs/strictness.md
	.venv-bench/bin/python -W ignore -m tests.strictness.report

bench: .venv-bench/bench.stamp node-rivals ## Measure speed compared with others, write docs/benchmarks.md (FULL=1: a million tokens)
	.venv-bench/bin/python -m tests.benchmarks.run $(if $(FULL),--full)

interop: .venv/dev.stamp ## Run verifiers and clients of other projects against the laptop, write docs/interop.md
	.venv/bin/python -m tests.interop.run

##@ Build and deploy
# What the functions are built for. infra/Makefile and template.yaml have the same defaults.
ARCHITECTURE ?= arm64
RUNTIME ?= python3.13
build reproducible deploy: export ARCHITECTURE := $(ARCHITECTURE)
build reproducible deploy: export RUNTIME := $(RUNTIME)
SAM_BUILD = .venv-sam/bin/sam build --parameter-overrides Architecture=$(ARCHITECTURE) Runtime=$(RUNTIME)

build: .venv-sam/sam.stamp ## Build the Lambda artifacts (ARCHITECTURE=x86_64 RUNTIME=python3.12)
	@mkdir -p .gatehouse
	@echo "Building into .aws-sam/build …"
	@$(SAM_BUILD) >.gatehouse/build.log 2>&1 || { cat .gatehouse/build.log >&2; exit 1; }
	@grep -h "^[A-Z][A-Za-z]*: python" .gatehouse/build.log | cut -d ' ' -f 2- | sort -u
	@.venv-sam/bin/python -m infra.package .aws-sam/build --into .gatehouse/dist --runtime $(RUNTIME) --architecture $(ARCHITECTURE)

reproducible: build ## Build again and compare the bytes
	@$(SAM_BUILD) --build-dir .aws-sam/again >/dev/null 2>&1
	@.venv-sam/bin/python -m infra.package .aws-sam/build --against .aws-sam/again

STAGE ?= dev
deploy: build .venv/laptop.stamp ## Deploy to an AWS account and run the walkthrough there (STAGE=prod, GUIDE=no)
	@.venv-sam/bin/python -m infra.deploy --stage $(STAGE) --architecture $(ARCHITECTURE) --runtime $(RUNTIME) $(if $(filter no,$(GUIDE)),--no-guide)
	@$(MAKE) --no-print-directory smoke

STACK ?= $(if $(filter prod,$(STAGE)),gatehouse,gatehouse-$(STAGE))
smoke: .venv/laptop.stamp ## Run the walkthrough on a deployed stack (STACK=gatehouse-dev)
	@.venv/bin/python -m local.smoke --stack $(STACK)

remove: .venv/laptop.stamp ## Delete a deployed stack and what outlives it, clients and keys (STACK=gatehouse-dev)
	@.venv/bin/python -m infra.remove --stack $(STACK)

##@ Maintain
format: .venv/dev.stamp ## Format the code and fix what the linter can fix
	.venv/bin/ruff format
	.venv/bin/ruff check --fix

lock: .venv/dev.stamp ## Renew the lock files from requirements/*.in
	for part in laptop dev bench docs sam checkov cdk; do \
	  .venv/bin/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-header --no-annotate \
	    $$([ $$part = sam ] || echo --universal) $$([ $$part = dev ] && echo -c requirements/laptop.txt) \
	    --output-file requirements/$$part.txt requirements/$$part.in; \
	done
	for part in requirements/artifacts/*.in; do \
	  .venv/bin/uv pip compile --quiet --python-version 3.13 --python-platform aarch64-manylinux_2_28 --generate-hashes \
	    --no-header --no-annotate -c requirements/laptop.txt --output-file $${part%.in}.txt $$part; \
	done

reference: .venv/dev.stamp ## Write docs/reference from the code
	@.venv/bin/python -m infra.reference

docs: .venv-docs/docs.stamp ## Build the documentation's site in .gatehouse/site (LINKS=1: ask every outside link too)
	@.venv-docs/bin/sphinx-build -q -W --keep-going -b dirhtml docs .gatehouse/site
	@echo "Built .gatehouse/site. To read it: python3 -m http.server --bind 127.0.0.1 --directory .gatehouse/site"
	$(if $(LINKS),.venv-docs/bin/sphinx-build -q -W --keep-going -b linkcheck docs .gatehouse/links)

screenshots: .venv/dev.stamp ## Take the pictures of the console that the docs show
	@.venv/bin/python -m tests.support.screenshots

clean: ## Remove what was built and installed here
	rm -rf .venv .venv-bench .venv-docs .venv-sam .venv-checkov .venv-cdk tests/benchmarks/node/node_modules tests/local/node/node_modules .gatehouse .aws-sam .coverage* .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/laptop.stamp: requirements/laptop.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv requirements/laptop.txt
	@touch $@

.venv/dev.stamp: requirements/dev.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv requirements/dev.txt
	@touch $@ .venv/laptop.stamp

.venv-bench/bench.stamp: requirements/bench.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv-bench requirements/bench.txt
	@touch $@

# Node is optional. Without npm the Node rivals are left out with a message.
.PHONY: node-rivals
node-rivals:
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory $(NODE_RIVALS); \
	else echo "Without the Node rivals: npm is not installed here."; fi

NODE_RIVALS = tests/benchmarks/node/node_modules/.package-lock.json

$(NODE_RIVALS): tests/benchmarks/node/package-lock.json
	@npm --prefix tests/benchmarks/node ci --silent
	@touch $@

.venv-sam/sam.stamp: requirements/sam.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv-sam requirements/sam.txt
	@touch $@

.venv-docs/docs.stamp: requirements/docs.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv-docs requirements/docs.txt
	@touch $@

.venv-cdk/cdk.stamp: requirements/cdk.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv-cdk requirements/cdk.txt
	@touch $@

.venv-checkov/checkov.stamp: requirements/checkov.txt local/bootstrap.py | python
	@$(PYTHON) local/bootstrap.py .venv-checkov requirements/checkov.txt
	@touch $@

# In words that every Python understands, back to the second.
.PHONY: python
python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Gatehouse needs Python 3.11 or later: install it, or name it with 'make PYTHON=python3.12 …'." >&2; exit 1; }
