# `make run` and `make test` do everything on a fresh Debian 12 with python3, git and make.
.DEFAULT_GOAL := help
.PHONY: help run packages test check format lint types layers docs-test coverage test-xen test-xen-smoke xen-shell real-xen-report races models argument openapi soak bench lock wheel deb deb-check audit fuzz mutants clean

DEBIAN ?= 13
VENV := .venv
PY := $(VENV)/bin/python
CORE := maxmemd/policy/*,maxmemd/units.py,maxmemd/errors.py,maxmemd/arbiter/actor.py
# One worker more than processors: many tests wait. A file is one worker's, for a daemon that its tests share.
SIDE_BY_SIDE := -n $(shell expr $$(nproc) + 1) --dist loadfile --no-loadscope-reorder
XEN_SMOKE := smoke contract differential limit_lives races
# Hundreds of processes start in a run: what one has compiled the others need not.
TESTS := env -u PYTHONDONTWRITEBYTECODE $(PY) -m
READY := $(VENV)/.ready-$(shell sha256sum requirements-dev.lock pyproject.toml 2>/dev/null | sha256sum | cut -c1-16)

help: ## Show what there is to make
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

$(READY):
	@python3 deploy/setup.py $(VENV)
	@rm -f $(VENV)/.ready-*
	@touch $@

run: $(READY) ## Start the daemon on the simulated host and show it at work (RUN_ONCE=1 ends after)
	@$(PY) deploy/scene.py

packages: $(READY) ## Install the Debian packages that tests need and that are not there (root)
	@$(PY) -m tests.support.packages
	@$(PY) -m tests.support.xen_headers

test: $(READY) ## All fast tests, with a short run of each long one (about five minutes on two quiet processors)
	$(TESTS) $(if $(filter true,$(CI)),tests.support.covered run,tests.support.again) -q $(SIDE_BY_SIDE)

check: $(READY) format lint types layers coverage docs-test ## What CI runs: format, lint, types, layers, tests, docs

format: $(READY) ## Is everything formatted (ruff format)
	$(VENV)/bin/ruff format --check .

lint: $(READY) ## Is the code clean (ruff)
	$(VENV)/bin/ruff check .

types: $(READY) ## Are the types right (mypy --strict)
	$(VENV)/bin/mypy

layers: $(READY) ## Do imports point down (import-linter)
	$(VENV)/bin/lint-imports --no-cache

coverage: $(READY) ## Branch coverage, 100% of the core, 95% elsewhere; measures what `make test` did not
	$(TESTS) tests.support.covered need -q $(SIDE_BY_SIDE)
	$(VENV)/bin/coverage report --fail-under=95 --omit='$(CORE),maxmemd/xen/xencall.py'
	$(VENV)/bin/coverage report --fail-under=100 --include='$(CORE)'

docs-test: $(READY) ## Does every code, route, key and verb appear in the docs
	$(PY) -m pytest -q tests/system/test_docs.py

races: $(READY) ## Explore the models of why there has to be one arbiter (ARGS="--model add --actors 2")
	@$(PY) -m models.races $(ARGS)

models: $(READY) ## Verify the models of the argument with spin as well (installs it when root)
	$(PY) -m tests.system.models.promela

argument: $(READY) ## Renew what docs/why-one-arbiter.md has from the explorer and the real Xen
	$(PY) -m tests.system.models.document

test-xen: $(READY) ## Build the dom0 image if need be, boot a real Xen under QEMU, run its suite (XEN=4.20: of Debian 13)
	$(PY) -m tests.support.again tests/dom0 -m xen -q -s -p no:randomly

test-xen-smoke: $(READY) ## A smoke of it: hypercalls, xenstore, xl beside maxmemctl, save and restore, races
	$(PY) -m tests.support.again $(XEN_SMOKE:%=tests/dom0/test_%.py) -m xen -q -s -p no:randomly

xen-shell: $(READY) ## Boot the real Xen and give a shell in its dom0
	$(PY) -m tests.dom0 shell

real-xen-report: $(READY) ## Renew docs/real-xen-report.json: the few real-Xen tests the argument cites
	REAL_XEN_REPORT=1 $(PY) -m pytest tests/dom0 -m xen -q -s \
		-k "six_nics or limit_lives or limit_is_lost or component_is_lost or updates_are_lost"

openapi: $(READY) ## Renew what the API says of itself, after a change of routes or bodies
	$(PY) -m maxmemd.api.openapi

soak: $(READY) ## The long tests at full count, the real Xen's too, and one table of what they showed
	SOAK=1 $(PY) -m pytest -q -s -m "soak or xen" --timeout=7200

bench: $(READY) ## The benchmarks, as ratios in one run
	$(PY) -m benchmarks

lock: $(READY) ## Pin the dependencies afresh
	$(PY) -m pip install -q uv
	for g in "pyproject.toml -o requirements.lock" "--group fuzz -o requirements-fuzz.lock" \
		"pyproject.toml --group dev -o requirements-dev.lock" \
		"--group mutants -c requirements-dev.lock -o requirements-mutants.lock" \
		"--group generator -c requirements-dev.lock -o requirements-generator.lock"; do \
		$(PY) -m uv pip compile $$g --upgrade --generate-hashes --no-emit-index-url \
		--python-version 3.11 --custom-compile-command "make lock" -q || exit 1; done

wheel: $(READY) ## Build the wheel into dist/
	$(PY) -m pip wheel -q . --no-deps --no-build-isolation -w dist

deb: $(READY) ## Build the Debian package into dist/ (installs with no network): for 13, or DEBIAN=12
	$(PY) deploy/debian/build.py --debian $(DEBIAN) dist

deb-check: $(READY) ## Build those for 13 and 12 twice: lintian, contents, SBOM, the same bytes (lintian when root)
	$(PY) -m pytest tests/system/package -m package -q

audit: $(READY) ## Known vulnerabilities of the libraries in the package (pip-audit; asks PyPI or OSV)
	$(PY) deploy/audit.py

fuzz: $(READY) ## Coverage-guided fuzzing of the request path (FUZZ_S=seconds; installs atheris)
	$(PY) -m pip install -q --require-hashes -r requirements-fuzz.lock
	$(PY) -m tests.system.fuzz $(FUZZ_S)

mutants: $(READY) ## Change what decides, and list each change that no test notices (MUTANTS_S=seconds; installs mutmut)
	$(PY) -m pip install -q --require-hashes -r requirements-mutants.lock
	$(TESTS) tests.support.mutants $(MUTANTS_S)

clean: ## Remove what was built (the Xen image's cache stays)
	rm -rf $(VENV) mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
