# make help lists the targets. Flags of a script go into ARGS: make train APP=1 ARGS="--data moons".
SHELL := /bin/bash
PYTHON ?= python3.11
APP ?= 1
ARGS ?=
SET ?= silhouettes
OUT ?= data/$(SET)
RUN ?= runs/flowmodels$(APP)/latest

# The active environment, else the newest .venv, .venv2, ..., else one that is made.
find_env = if [ -n "$$VIRTUAL_ENV" ]; then echo "$$VIRTUAL_ENV"; else \
	for e in $$(ls -dt .venv .venv[0-9]* 2>/dev/null); do if [ -f $$e/.complete ]; then echo "$$PWD/$$e"; break; fi; done; fi
use_env = set -e; ENV=$$($(find_env)); if [ -z "$$ENV" ]; then $(MAKE) --no-print-directory create-env; ENV=$$($(find_env)); fi; \
	[ -x "$$ENV/bin/python" ] || { echo "error: no python in $$ENV (VIRTUAL_ENV?); unset it or make create-env" >&2; exit 2; }; \
	export PATH="$$ENV/bin:$$PATH"

.DEFAULT_GOAL := help
.PHONY: help create-env train test mlflow mlflow-upload bench-mapping bench-flows data-images bench-data bench-images

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /\1\t/' | expand -t 16

create-env:  ## make a virtual environment with all requirements: the next free one of .venv, .venv2, ...
	@set -e; command -v $(PYTHON) >/dev/null || { echo "error: no $(PYTHON); install Python 3.11 or set PYTHON=..." >&2; exit 2; }; \
	ENV=.venv; N=2; while [ -e $$ENV ]; do ENV=.venv$$N; N=$$((N+1)); done; \
	echo "making $$ENV (about 3 GB, a few minutes)"; \
	$(PYTHON) -m venv $$ENV; \
	$$ENV/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-demo.txt; \
	touch $$ENV/.complete; echo "made $$ENV; activate it with: source $$ENV/bin/activate"

train:  ## run application APP=1 with further flags in ARGS="..."
	@$(use_env); exec python train_flowmodels$(APP).py $(ARGS)

test:  ## pass the tests
	@$(use_env); exec python -m pytest $(ARGS)

mlflow:  ## open the dashboard on what was logged, http://127.0.0.1:5000
	@$(use_env); case "$$MLFLOW_TRACKING_URI" in http*) echo "the server shows it: $$MLFLOW_TRACKING_URI"; exit 0;; esac; \
	exec mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --host 127.0.0.1 $(ARGS)

mlflow-upload:  ## send a finished run to MLflow: RUN=runs/flowmodels1/latest
	@$(use_env); exec python -m flow_models.tracking "$(RUN)" $(ARGS)

data-images:  ## write an embedded image set as PNG files: SET=silhouettes OUT=data/silhouettes
	@$(use_env); exec python -m flow_models.data.image_export "$(SET)" "$(OUT)"

bench-data:  ## images a second from disk and S3; writes doc/benchmarks_data.md
	@$(use_env); exec python benchmarks/bench_data.py $(ARGS)

bench-mapping:  ## application 1 on every set it knows; writes doc/results_flowmodels1.md
	@$(use_env); exec python benchmarks/mapping.py $(ARGS)

bench-flows:  ## compare training and evaluation speed with zuko, normflows, nflows and flowjax
	@$(use_env); exec python benchmarks/bench_flows.py $(ARGS)

bench-images:  ## compare image flows with normflows: speed, memory, accuracy of inversion, bits per dimension
	@$(use_env); exec python benchmarks/bench_images.py $(ARGS)
