"""A sweep: one application trained with many settings, a folder and a nested MLflow run each, and a
table of them all.

    python -m flow_models sweep 1 learning_rate=1e-3,3e-3 --seeds 3 --args="--data moons"     on this machine
    make batch-submit APP=1 SWEEP="learning_rate=1e-3,3e-3 seed=0,1,2"                         as an array job

Both number the settings alike, name the folders alike (`grid`), and end in trials.csv and
trials.png (`results`), which the run above the trials has in MLflow too. Nothing here needs
TensorFlow.
"""

METRIC = "nll_val"  # by which settings are compared; every application has it
METRIC_VARIABLE = "FLOW_MODELS_METRIC"  # another one, told to the children of an array job
