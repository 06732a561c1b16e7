"""One training in a process of its own: reads pairs and observations, writes what came of them."""

import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from inverse.applications import ALL

SPEED = 10_000  # samples of one observation, to take their time


def made(library: str):
    """The class of a library, which is imported before its time is taken."""
    if library == "ours":
        _one_thread()
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        import flow_models.applications.inverse.models
        import flow_models.applications.own_problem  # noqa: F401
        from inverse.ours import made as ours

        return ours
    import torch

    torch.set_num_threads(1)
    if library == "sbi":
        import sbi.inference  # noqa: F401

        from inverse.sbi_peer import Sbi

        return Sbi
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import bayesflow  # noqa: F401

    from inverse.bayesflow_peer import BayesFlow

    return BayesFlow


def _one_thread():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main(library: str, form: str, name: str, pairs: str, out: str) -> None:
    given, problem = np.load(pairs), ALL[name]
    kind = made(library)
    wall, cpu = time.perf_counter(), time.process_time()
    fitted = kind(form, given["x"], given["y"], problem, seed=0)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    samples = np.stack([fitted.sample(y, int(given["n"])) for y in given["observed"]])
    raw = np.stack([fitted.network(y, int(given["n"])) for y in given["observed"]])
    fitted.sample(given["observed"][0], SPEED)  # compiles
    started = time.process_time()
    fitted.sample(given["observed"][0], SPEED)
    rate = SPEED / (time.process_time() - started)
    nll = -float(np.mean(fitted.log_prob(given["x_test"], given["y_test"])))
    found = {
        "nll": nll,
        "wall_seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "samples_per_second": rate,
        "outside": problem.outside(raw),
        "outside_worst": max(problem.outside(each) for each in raw),
        "outside_returned": problem.outside(samples),
    }
    np.savez(out, samples=samples, found=json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
