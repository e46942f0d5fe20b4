# Every target can be run again at any time; it does only what is missing.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory

PYTHON := .venv/bin/python
ENGINE := src/pyro_mcp/engine
AGENT := $(ENGINE)/pyro-agent
TOOL := $(ENGINE)/pyro-tool
SESSION := $(ENGINE)/pyro-session
READONLY_RAM := $(ENGINE)/readonly-ram.so
WAIT_FOR_SPACE := $(ENGINE)/wait-for-space.so
CONFINE := $(ENGINE)/pyro-confine
LIFETIME := $(ENGINE)/pyro-lifetime
DEVICES := $(ENGINE)/pyro-devices
UML_KERNEL := $(ENGINE)/pyro-kernel

# setup-host unpacks the registry for the tests here.
export PATH := $(PATH):$(CURDIR)/build/registry/usr/bin

SCENARIO = $(PYTHON) -m pyro_mcp.workspace_use_case_smokes --environment $(ENVIRONMENT) --scenario
ENVIRONMENT := debian:12
STARTED := $(shell date +%s)

.PHONY: help demo test check references bench test-kvm test-newer-python scan-tls dist-check uml-kernel clean setup setup-check setup-programs setup-test
.PHONY: smoke-use-cases smoke-cold-start-validation smoke-repro-fix-loop smoke-parallel-workspaces
.PHONY: smoke-untrusted-inspection smoke-review-eval smoke-daily-loop

help: ## show this list
	@echo "pyro: disposable microVM workspaces. Usage: make TARGET"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-28s %s\n", $$1, $$2 }' Makefile
	@echo "A target first installs what it needs and does not find: Debian packages by apt-get, Python packages into .venv."

demo: setup-programs ## run a real project's tests in a virtual machine, with timings
	@PYRO_DEMO_STARTED=$(STARTED) $(PYTHON) -m scripts.demo

test: setup-test ## run every test, including those on real virtual machines
	@$(PYTHON) -m scripts.run_tests

check: setup-check ## lint, strict types, C warnings as errors, layer and size rules; no virtual machine
	@scripts/check

references: setup-check ## write anew what is generated: docs/cli.md, claude-bottle.md, pyro.1, mcp-tools.md ...
	@for pair in cli_reference:cli.md man_page:pyro.1 mcp_reference:mcp-tools.md; do \
		$(PYTHON) "scripts/$${pair%:*}.py" >build/reference; mv build/reference "docs/$${pair#*:}"; \
	done
	@$(PYTHON) scripts/cli_reference.py claude-bottle >build/reference; mv build/reference docs/claude-bottle.md
	@$(PYTHON) scripts/cli_reference.py moot >build/reference; mv build/reference docs/moot.md
	@$(PYTHON) scripts/man_page.py claude-bottle >build/reference; mv build/reference docs/claude-bottle.1
	@$(PYTHON) -m scripts.public_contract
	@$(PYTHON) -m scripts.bottles_schema

bench: setup ## measure the speeds that SPEC.md promises, and write docs/speed.md: beside this host and Docker, as root
	@$(PYTHON) -m benchmarks.run
	@$(PYTHON) -m benchmarks.speed
	@$(PYTHON) -m benchmarks.bottles

test-kvm: setup-test ## run the engine's tests under KVM; without KVM, in an emulated machine that has it
	@scripts/test-kvm

test-newer-python: setup-test ## run the tests that need no virtual machine with the next Debian's Python
	@scripts/newer-python

scan-tls: setup-check ## scan the TLS side of the gateway's proxy with sslyze, which it installs in build/scan
	@[ -x build/scan/bin/sslyze ] || { echo "== sslyze: into build/scan"; \
		python3 -m venv --clear build/scan && build/scan/bin/pip install --quiet --disable-pip-version-check sslyze==6.3.1; }
	@$(PYTHON) -W ignore -m scripts.scan_tls build/scan/bin/sslyze

dist-check: setup ## build the wheel, install it alone in an empty environment, and use it there
	@scripts/dist-check

smoke-use-cases: setup ## run the five documented workflows on real guests (docs/use-cases)
	@$(SCENARIO) all

smoke-cold-start-validation: setup ## a fresh repository: validate it, start its service, keep the report
	@$(SCENARIO) cold-start-validation

smoke-repro-fix-loop: setup ## reproduce a failure over MCP, patch, diff, export, reset
	@$(SCENARIO) repro-fix-loop

smoke-parallel-workspaces: setup ## two isolated workspaces of one seed
	@$(SCENARIO) parallel-workspaces

smoke-untrusted-inspection: setup ## read unknown code without running it, and without a network
	@$(SCENARIO) untrusted-inspection

smoke-review-eval: setup ## a shell, a snapshot, a review, and back to the snapshot
	@$(SCENARIO) review-eval

smoke-daily-loop: setup ## prepare, create, fix, reset: the daily loop on a real guest
	@$(PYTHON) scripts/daily_loop.py --environment $(ENVIRONMENT)

uml-kernel: ## build the kernel that runs as a process of the host, from Debian's source, once for each host
	@scripts/setup-host build kernel
	@scripts/uml-kernel $(UML_KERNEL)

clean: ## remove what make created in this folder; the user's cache stays ('pyro env prune')
	rm -rf .venv build dist $(AGENT){,.new} $(TOOL){,.new} $(SESSION){,.new} $(READONLY_RAM){,.new} $(WAIT_FOR_SPACE){,.new} $(CONFINE){,.new} $(LIFETIME){,.new} $(DEVICES){,.new} $(UML_KERNEL){,.new,.origin} .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# Without this kernel machines run with KVM or emulated, so everything goes on when it cannot be built.
setup: setup-programs
	@scripts/uml-kernel $(UML_KERNEL) || echo "== going on without the kernel that runs as a process (see above)" >&2

setup-programs: setup-check
	@scripts/setup-host run kernel

setup-test: setup
	@scripts/setup-host test
	@scripts/setup-chat-hosts
	@scripts/setup-java || echo "== going on without Java, whose test is then skipped (see above)" >&2
	@scripts/setup-moot-client
	@$(PYTHON) -m tests.setup_environments

setup-check:
	@scripts/setup-host build
	@scripts/setup-python
	@$(MAKE) --silent $(AGENT) $(TOOL) $(SESSION) $(READONLY_RAM) $(WAIT_FOR_SPACE) $(CONFINE) $(LIFETIME) $(DEVICES)

$(AGENT): guest/agent.c guest/agent_machine.h guest/agent_protocol.h guest/frames.h guest/build
	@echo "== the guest agent: $@"
	@guest/build agent $@.new && mv $@.new $@

$(TOOL): guest/tool.c guest/tool_copy.h guest/tool_notes.h guest/tree_stream.h guest/frames.h guest/build
	@echo "== the guest tool: $@"
	@guest/build tool $@.new && mv $@.new $@

$(SESSION): guest/session.c guest/build
	@echo "== the guest's session program: $@"
	@guest/build session $@.new && mv $@.new $@

$(READONLY_RAM): cage/readonly_ram.c cage/build
	@echo "== the object that makes a template's memory read-only: $@"
	@cage/build readonly-ram $@.new && mv $@.new $@

$(WAIT_FOR_SPACE): cage/wait_for_space.c cage/build
	@echo "== the object that lets writes wait for space: $@"
	@cage/build wait-for-space $@.new && mv $@.new $@

$(LIFETIME): cage/lifetime.c cage/build
	@echo "== the program that ends a machine when its time is over: $@"
	@cage/build lifetime $@.new && mv $@.new $@

$(DEVICES): cage/devices.c cage/build
	@echo "== the devices of a machine whose kernel is a process: $@"
	@cage/build devices $@.new && mv $@.new $@

$(CONFINE): cage/confine.c cage/build
	@echo "== the program that confines QEMU: $@"
	@cage/build confine $@.new && mv $@.new $@
