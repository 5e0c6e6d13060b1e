# Skyrelay: one verb for each thing to do. `make help` lists them.

PYTHON := .venv/bin/python
VAR ?= var

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo up test test-unit test-sky test-contract test-integration \
        test-fault test-science soak soak-backlog bench-orchestration bench-kill bench-split \
        bench-science bench-api bench-lightcurve sim-scale measure-resources lint format docs lock images kube-play clean
# Recipes share the environment in .venv and two cores: not at the same time.
.NOTPARALLEL:

help:  ## this list
	@echo "Skyrelay takes an astronomical image through inspection, photometry, transient search"
	@echo "and template subtraction. On Debian 12 everything missing is installed at first use."
	@echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## *(.*)/  \1\t\2/' | expand -t 20

setup:  ## Debian packages and the Python environment (done by the others as needed)
	@scripts/setup run

setup-dev:
	@scripts/setup dev

demo: setup  ## the main job on a synthetic sky, or IMAGE= CATALOG= TEMPLATE= CONFIG="k=v …"
	@$(PYTHON) -m demo \
	    $(if $(IMAGE),--image "$(IMAGE)") \
	    $(if $(CATALOG),--catalog "$(CATALOG)") \
	    $(if $(TEMPLATE),--template "$(TEMPLATE)") \
	    $(if $(CONFIG),--config "$(CONFIG)")

up: setup  ## the whole stack until Ctrl-C; REPLICAS="inspect=2 photometry=1", VAR=folder
	@exec $(PYTHON) -m skyrelay.stack --folder "$(VAR)" --replicas "$(REPLICAS)"

test: setup-dev  ## lint and every tier of tests (25 minutes on 2 cores, more on slow ones)
	@scripts/test lint unit sky contract integration fault science

test-unit: setup-dev  ## one tier: functions and classes by themselves
	@scripts/test unit

test-sky: setup-dev  ## one tier: the sky services, against a server that speaks as they do
	@scripts/test sky

test-contract: setup-dev  ## one tier: the HTTP interface and the wire messages
	@scripts/test contract

test-integration: setup-dev  ## one tier: real broker, real processes
	@scripts/test integration

test-fault: setup-dev  ## one tier: things killed at the worst moment
	@scripts/test fault

test-science: setup-dev  ## one tier: real images with known truth
	@scripts/test science

soak: setup-dev  ## the long forms of the fault tests: hours; SOAK_REPETITIONS=20 SOAK_CHAINS=300
	@$(PYTHON) -m pytest tests/fault -m soak -s

bench-orchestration: setup-dev  ## no-op chains against Celery's (5 minutes); ALONE= AT_ONCE= JSON=1
	@$(PYTHON) -m benchmarks.orchestration \
	    $(if $(ALONE),--alone $(ALONE)) $(if $(AT_ONCE),--at-once $(AT_ONCE)) $(if $(JSON),--json)

soak-backlog: setup-dev  ## drain 100,000 no-op stages, or TASKS=2000, and watch the gateway
	@$(PYTHON) -m benchmarks.orchestration.backlog $(if $(TASKS),--tasks $(TASKS))

bench-kill: setup-dev  ## from the request to cancel to the last process dead (5 minutes); KILLS= DATABASE=postgresql
	@$(PYTHON) -m benchmarks.kill $(if $(KILLS),--kills $(KILLS)) \
	    $(if $(DATABASE),--database $(DATABASE))

bench-split: setup-dev  ## one large image, subtracted whole and in parts (10 minutes)
	@$(PYTHON) -m benchmarks.split

sim-scale: setup-dev  ## a night of images, scaled by need and not (25 minutes); IMAGES=200 SPEED=30 PAPER=1
	@$(PYTHON) -m benchmarks.scale $(if $(IMAGES),--images $(IMAGES)) \
	    $(if $(SPEED),--speed $(SPEED)) $(if $(PAPER),--paper)

measure-resources: setup-dev  ## memory and work of each container, for the manifests (25 minutes); SIZES="1024" TASKS=0
	@$(PYTHON) -m benchmarks.resources $(if $(SIZES),--sizes "$(SIZES)") $(if $(TASKS),--tasks $(TASKS))
	@$(PYTHON) -m deploy.kubernetes.resources

bench-science: setup-dev  ## accuracy over synthetic fields (a minute or two each); FIELDS= FIRST= JSON=1
	@$(PYTHON) -m benchmarks.science $(if $(FIELDS),--fields $(FIELDS)) \
	    $(if $(FIRST),--first $(FIRST)) $(if $(JSON),--json)

bench-api: setup-dev  ## requests/s with 100,000 tasks (a minute or two); needs wrk; TASKS= JSON=1
	@$(PYTHON) -m benchmarks.api $(if $(TASKS),--tasks $(TASKS)) $(if $(JSON),--json)
bench-lightcurve: setup-dev  ## light curves out of 10^7 measurements (5 minutes); ROWS= DATABASE=sqlite
	@$(PYTHON) -m benchmarks.lightcurve \
	    $(if $(ROWS),--rows $(ROWS)) $(if $(DATABASE),--database $(DATABASE)) $(if $(JSON),--json)

lint: setup-dev  ## ruff and mypy --strict
	@scripts/test lint

format: setup-dev  ## let ruff lay out the code
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

docs: setup-dev  ## make the pages of parameters, settings and resources, the dashboards, and manifests of them
	@$(PYTHON) -m skyrelay.parameters > docs/parameters.md
	@$(PYTHON) -m skyrelay.settings_page > docs/operations/settings.md
	@$(PYTHON) -m deploy.observation.dashboards
	@$(PYTHON) -m deploy.kubernetes.resources

lock: setup-dev  ## make the lock files from requirements/*.in (UPGRADE=1: newest versions)
	@scripts/lock $(if $(UPGRADE),--upgrade)

images:  ## build the container images with docker or podman
	@scripts/images

kube-play: setup-dev  ## the small cluster's manifests on podman, with the demo's image (3 minutes, as root)
	@scripts/kube-play

clean:  ## remove the environment and all caches; tasks and users in $(VAR)/ stay
	@echo "==> Removing .venv and caches; $(VAR)/ stays."
	@rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
