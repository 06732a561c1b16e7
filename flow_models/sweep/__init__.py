"""Sweeps: one application trained with many settings, and one table that compares them.

    python -m flow_models sweep 1 learning_rate=1e-3,3e-3 --seeds 3      on this machine
    make batch-submit APP=1 SWEEP="learning_rate=1e-3,3e-3 seed=0,1,2"   as an array job

A trial is a run with one setting. It has its own folder, and its own MLflow run nested below the
run of the sweep. Both kinds of sweep number their settings alike and write trials.csv and
trials.png; the run of the sweep holds both in MLflow too. This package never loads TensorFlow.
"""

METRIC = "nll_val"  # compares the trials by default; every application reports it
METRIC_VARIABLE = "FLOW_MODELS_METRIC"  # names another metric to the children of an array job
