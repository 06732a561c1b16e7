# make help lists the targets. Flags of a script go into ARGS: make train APP=1 ARGS="--data moons".
SHELL := /bin/bash
PYTHON ?= python3.11
APP ?= 1
ARGS ?=
SET ?= silhouettes
OUT ?= data/$(SET)
RUN ?= runs/flowmodels$(APP)/latest
STACK ?= flow-models
DEVICE ?=
NODES ?= 1

# The active environment, else the newest .venv, .venv2, ..., else one that is made.
find_env = if [ -n "$$VIRTUAL_ENV" ]; then echo "$$VIRTUAL_ENV"; else \
	for e in $$(ls -dt .venv .venv[0-9]* 2>/dev/null); do if [ -f $$e/.complete ]; then echo "$$PWD/$$e"; break; fi; done; fi
use_env = set -e; ENV=$$($(find_env)); if [ -z "$$ENV" ]; then $(MAKE) --no-print-directory create-env; ENV=$$($(find_env)); fi; \
	[ -x "$$ENV/bin/python" ] || { echo "error: no python in $$ENV (VIRTUAL_ENV?); unset it or make create-env" >&2; exit 2; }; \
	export PATH="$$ENV/bin:$$PATH"

# What is compiled stays in the memory of a process, so three pairs of fresh ones share the files.
run_tests = $(if $(strip $(ARGS)),exec python -m pytest -n 2 --dist loadfile $$marks $(ARGS),status=0; for part in a-c d-l m-z; \
	do python -m pytest -n 2 --dist loadfile $$marks tests/test_[$$part]*.py || status=$$?; done; exit $$status)

.DEFAULT_GOAL := help
.PHONY: help create-env train sweep lint format test test-slow mlflow mlflow-upload doctor bench-mapping bench-small-tables bench-tables bench-missing bench-flows bench-inverse data-images bench-data bench-images bench-gpu bench-anomalies bench-commands figure docs tutorials check-site check-dashboard bench-workers \
	batch-deploy batch-build batch-submit batch-parts batch-status batch-logs batch-cancel batch-delete

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

sweep:  ## train with many settings: APP=1 SWEEP="learning_rate=1e-3,3e-3" [SEEDS=3 TRIALS= METRIC= JOBS= OUT= RESUME=1] ARGS="..."
	@$(use_env); set -f; exec python -m flow_models sweep "$(APP)" $${SWEEP-} --args="$${ARGS-}" $(if $(SEEDS),--seeds $(SEEDS)) \
	$(if $(TRIALS),--trials $(TRIALS)) $(if $(METRIC),--metric "$(METRIC)") $(if $(JOBS),--jobs $(JOBS)) \
	$(if $(filter-out file,$(origin OUT)),--output-dir "$(OUT)") $(if $(RESUME),--resume)

lint:  ## check style, layout (ruff) and types (mypy)
	@$(use_env); ruff check .; ruff format --check --quiet . || { echo "error: make format lays these out" >&2; exit 1; }; exec mypy

format:  ## lay out the code, and fix what ruff can fix
	@$(use_env); ruff check --fix --exit-zero --quiet .; exec ruff format .

test:  ## pass the tests, two files at a time (ARGS="-n 0 tests/test_model.py" for one)
	@$(use_env); $(run_tests)

test-slow:  ## pass the tests that are marked slow, which `make test` leaves out
	@$(use_env); marks="-m slow"; $(run_tests)

mlflow:  ## open the dashboard on what was logged, http://127.0.0.1:5000
	@$(use_env); case "$$MLFLOW_TRACKING_URI" in http*) echo "the server shows it: $$MLFLOW_TRACKING_URI"; exit 0;; esac; \
	exec mlflow ui --backend-store-uri "$${MLFLOW_TRACKING_URI:-sqlite:///mlflow.db}" --host 127.0.0.1 $(ARGS)

mlflow-upload:  ## send a finished run to MLflow: RUN=runs/flowmodels1/latest
	@$(use_env); exec python -m flow_models.runs.tracking "$(RUN)" $(ARGS)

data-images:  ## write an embedded image set as PNG files: SET=silhouettes OUT=data/silhouettes
	@$(use_env); exec python -m flow_models.data.images.export "$(SET)" "$(OUT)"

bench-data:  ## images a second from disk and S3; writes doc/benchmarks_data.md
	@$(use_env); exec python benchmarks/bench_data.py $(ARGS)

bench-mapping:  ## application 1 on every set it knows; writes doc/results_flowmodels1.md
	@$(use_env); exec python benchmarks/mapping.py $(ARGS)

bench-small-tables:  ## application 1 beside its baselines on tables of few rows; writes a table of doc/tables.md
	@$(use_env); exec python benchmarks/small_tables.py $(ARGS)

bench-tables:  ## application 1 on heavy tails, outliers, offsets, scales, bounds; writes a table of doc/tables.md
	@$(use_env); exec python benchmarks/hard_tables.py $(ARGS)

bench-missing:  ## missing cells modelled, dropped, filled by the mean; writes a table of doc/tables.md
	@$(use_env); exec python benchmarks/missing.py $(ARGS)

bench-families:  ## every architecture, a minute on each of four sets: table and gallery of doc/families.md
	@$(use_env); exec python benchmarks/families.py $(ARGS)

bench-flows:  ## compare training and evaluation speed with zuko, normflows, nflows and flowjax
	@$(use_env); exec python benchmarks/bench_flows.py $(ARGS)

bench-inverse:  ## posteriors from pairs beside sbi and BayesFlow; doc/benchmarks_inverse.md: ARGS="--methods ours:default sbi:nsf"
	@$(use_env); exec python benchmarks/inverse_problems.py $(ARGS)

figure:  ## draw the figure of the seven applications, from runs that it trains: doc/figures
	@$(use_env); exec python benchmarks/figure.py $(ARGS)

docs:  ## build the site, build/site/index.html; warnings are errors (ARGS="-E" to start anew)
	@$(use_env); python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt; \
	exec sphinx-build -W --keep-going -q -c doc $(ARGS) . build/site

check-site:  ## look at each page of the built site in headless Chromium, 400 and 1,200 pixels wide: ARGS="--shots shots"
	@$(use_env); python -m pip install --quiet --disable-pip-version-check playwright==1.65.2; exec python benchmarks/site.py $(ARGS)

tutorials:  ## execute the notebooks of doc/tutorials anew, a minute each: ARGS="doc/tutorials/05_a_table.ipynb" for one
	@$(use_env); python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt; \
	TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH="$$PWD" exec jupyter execute --inplace $(or $(ARGS),doc/tutorials/*.ipynb)

bench-targets:  ## densities without data: error of log Z, modes and seconds; writes doc/results_targets.md
	@$(use_env); exec python benchmarks/densities.py $(ARGS)

bench-workers:  ## steps a second of 1 and 2 workers, and the curves of 1, 2 and 4; writes tables of doc/scaling.md
	@$(use_env); exec python benchmarks/workers.py $(ARGS)

bench-shards:  ## pictures and pairs a second out of shards, memory by their number; writes tables of doc/shards.md
	@$(use_env); exec python benchmarks/shards.py $(ARGS)

bench-images:  ## compare image flows with normflows: speed, memory, accuracy of inversion, bits per dimension
	@$(use_env); exec python benchmarks/bench_images.py $(ARGS)

bench-gpu:  ## applications 1, 2 and 6 on CPU and GPU, TF32, convolutions; ten minutes: ARGS="--device cpu" without a GPU
	@$(use_env); exec python benchmarks/gpu.py $(ARGS)

bench-anomalies:  ## one animal is known, the others are near anomalies: writes a table of doc/anomaly_scores.md
	@$(use_env); exec python benchmarks/near_anomalies.py $(ARGS)

bench-defects:  ## maps of where pictures are strange, on planted defects; writes a table of doc/anomaly_scores.md
	@$(use_env); exec python benchmarks/defects.py $(ARGS)

bench-commands:  ## rows and pictures a second and peak memory of score and sample; doc/commands.md has the table: ARGS="--rows 1000000"
	@$(use_env); exec python benchmarks/bench_commands.py $(ARGS)

check-dashboard:  ## look at MLflow's pages and a report in headless Chromium (the system's; skipped without): ARGS="--shots shots"
	@$(use_env); python -m pip install --quiet --disable-pip-version-check playwright==1.65.2; exec python benchmarks/dashboard.py $(ARGS)

check-explorer:  ## move every control of the explorer in headless Chromium: ARGS="--shots shots"
	@$(use_env); python -m pip install --quiet --disable-pip-version-check playwright==1.65.2; exec python benchmarks/explorer.py $(ARGS)

doctor:  ## what this machine has and can reach, and how to mend what it cannot
	@$(use_env); exec python -m flow_models doctor $(ARGS)

# doc/aws_batch.md explains these. DRY_RUN=1 prints what would be sent to AWS, and sends nothing. Values come through the
# environment of the recipe, where make puts what its command line sets, so that quotes in them stay as they are.
batch = exec python -m flow_models batch
on = --stack "$(STACK)" $(if $(filter-out 0,$(DRY_RUN)),--dry-run)
set = $(if $($(1)),--set "$(2)=$($(1))")

batch-deploy:  ## make or change the stack: [VPC= SUBNETS= NODE_SUBNETS= SPOT=false TRACKING_URI= TRACKING_SECRET= BUCKET= DATA_BUCKET= PARAMETERS="MaxVcpus=256"]
	@$(use_env); $(batch) deploy $(on) $(call set,VPC,VpcId) $(call set,SUBNETS,SubnetIds) \
	$(call set,NODE_SUBNETS,NodeSubnetIds) $(call set,SPOT,Spot) $(call set,TRACKING_URI,TrackingUri) \
	$(call set,TRACKING_SECRET,TrackingSecret) $(call set,BUCKET,BucketName) $(call set,DATA_BUCKET,DataBucketName) $(foreach p,$(PARAMETERS),--set "$(p)")

batch-build:  ## build the image of the jobs on AWS: DEVICE=gpu (or cpu)
	@$(use_env); $(batch) build $(on) --device "$(DEVICE)"

batch-submit:  ## send a run as a job: APP=2 ARGS="..." [DEVICE=gpu or cpu NODES=4 SWEEP="seed=0,1,2 depth=3,5" METRIC= NAME= OUTPUT=s3://... RESUME=1 TIMEOUT= SHARE=]
	@$(use_env); $(batch) submit $(on) --device "$(DEVICE)" --nodes "$(NODES)" --args="$${ARGS-}" --sweep="$${SWEEP-}" \
	--name="$${NAME-}" --output="$${OUTPUT-}" $(if $(GPUS),--gpus $(GPUS)) $(if $(VCPUS),--vcpus $(VCPUS)) \
	$(if $(MEMORY),--memory $(MEMORY)) $(if $(METRIC),--metric "$(METRIC)") $(if $(TIMEOUT),--timeout "$(TIMEOUT)") \
	$(if $(filter-out 0,$(RESUME)),--resume) $(if $(SHARE),--share "$(SHARE)") "$(APP)"

batch-parts:  ## send a command in parts, a job a part: PARTS=100 ARGS="prepare s3://b/photos s3://b/runs/shards --size 64" [DEVICE= NAME= VCPUS= MEMORY= TIMEOUT= SHARE=]
	@$(use_env); $(batch) parts $(on) --device "$(DEVICE)" --args="$${ARGS-}" --name="$${NAME-}" \
	$(if $(VCPUS),--vcpus $(VCPUS)) $(if $(MEMORY),--memory $(MEMORY)) $(if $(TIMEOUT),--timeout "$(TIMEOUT)") \
	$(if $(SHARE),--share "$(SHARE)") "$(PARTS)"

batch-status:  ## all jobs, or JOB=... alone [WAIT=1: until it has ended; its failure is a failure]
	@$(use_env); $(batch) status $(on) $(if $(WAIT),--wait) $(if $(JOB),"$$JOB")

batch-logs:  ## what JOB=... printed [FOLLOW=1]
	@$(use_env); $(batch) logs $(on) $(if $(FOLLOW),--follow) $(if $(JOB),"$$JOB")

batch-cancel:  ## end JOB=...
	@$(use_env); $(batch) cancel $(on) $(if $(JOB),"$$JOB")

batch-delete:  ## take the stack down; the bucket with the runs stays
	@$(use_env); $(batch) delete $(on)
