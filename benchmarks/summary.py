"""What a summary network does for data with many columns: seismograms of application 7, known by
pairs alone.

    python benchmarks/summary.py                  # some minutes
    python benchmarks/summary.py --steps 500      # to see it run

The same pairs and the same couplings see all 193 columns of the data, or the few that a jointly
trained network makes of them. There is no physical frame, as in `fit_posterior`. The application's
own form, which knows the forward model and its Jacobian, stands below. Over 1,000 fresh pairs: -log
p(theta | y) above the mean Laplace entropy, and coverage.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flow_models.core.startup import load_tensorflow

load_tensorflow()

import numpy as np  # noqa: E402

import flow_models as fm  # noqa: E402
from flow_models.applications.application import trainer_of  # noqa: E402
from flow_models.applications.inverse.problem import Clock, InverseProblem, draw  # noqa: E402
from flow_models.bijectors.frames import LaplaceFrame  # noqa: E402
from flow_models.diagnostics import calibration  # noqa: E402
from flow_models.models.posteriors import log_prob_whitened, whitened_samples  # noqa: E402
from flow_models.references.laplace import gauss_newton  # noqa: E402
from flow_models.runs.config import replace  # noqa: E402
from flow_models.simulators.seismic import Seismograms  # noqa: E402
from train_flowmodels7 import APPLICATION, Config  # noqa: E402

SEED, PAIRS, FRESH, SAMPLES = 11, 100_000, 1000, 300
SUMMARIES = {
    "couplings see all columns": {},
    "64 columns that a learned linear layer makes of them": {"summary": 64, "summary_hidden": ()},
    "64 columns of a network, one hidden layer of 256": {"summary": 64, "summary_hidden": (256,)},
    "32 columns of a network, two hidden layers of 256": {
        "summary": 32,
        "summary_hidden": (256, 256),
    },
}
FLOW = {"architecture": "realnvp", "depth": 8, "hidden": (128, 128)}


def judged(name, model, theta, y, entropy, density, sampled, seconds) -> None:
    """Prints one row of the table."""
    loss = -float(np.mean(density(theta, y)))
    covered = calibration.coverage(theta, sampled(y, SAMPLES, 1)).mean
    print(
        f"| {name} | {sum(v.shape.num_elements() for v in model.trainable_variables):,} |"
        f" {seconds:.0f} | {loss - entropy:.3f} | {covered[0]:.3f}, {covered[1]:.3f} |",
        flush=True,
    )


def main(steps: int) -> None:
    simulator, clock = Seismograms(), Clock()
    train, validation, fresh = (
        draw(simulator, n, SEED, part) for part, n in enumerate((PAIRS, 5000, FRESH))
    )
    entropy = float(gauss_newton(simulator, fresh.y).entropy.mean())
    print(
        "| network | weights | training, s | nats above the mean Laplace entropy | coverage 50%,"
        " 90% |\n|---|---|---|---|---|",
        flush=True,
    )
    for name, options in SUMMARIES.items():
        settings = fm.FitSettings(steps=steps, batch_size=512, learning_rate=2e-3)
        model = clock.time(
            name,
            lambda o=options, settings=settings: fm.fit_posterior(
                train.theta,
                train.y,
                validation=0.05,
                settings=settings,
                layers_per_loop_body=1,
                activation="silu",
                **FLOW,
                **o,
            ),
        )
        judged(
            name,
            model,
            fresh.theta,
            fresh.y,
            entropy,
            model.log_prob,
            model.posterior,
            clock.seconds[name],
        )
    config, name = replace(Config(), steps=steps // 2), "Gauss-Newton frame"
    parts = {"train": train, "validation": validation}
    problem = InverseProblem("seismograms", simulator, LaplaceFrame(simulator, 40), parts=parts)
    model, training = APPLICATION.prepared(config, problem)
    clock.time(name, lambda: trainer_of(model, training, config).run())
    judged(
        name,
        model,
        fresh.theta,
        fresh.y,
        entropy,
        lambda theta, y: log_prob_whitened(model, theta, y),
        lambda y, n, seed: whitened_samples(model, y, n, seed),
        clock.seconds[name],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6000)
    main(parser.parse_args().steps)
