"""What a summary network does for data of many columns: seismograms of application 7, known by
pairs alone.

    python benchmarks/summary.py                  # some minutes
    python benchmarks/summary.py --steps 500      # to see it run

The same pairs and the same couplings, which see all 193 columns of the data, or the few that a
network trained along makes of them. No frame of the physics, as `fit_posterior` has none. The
application's own form, which knows the forward model and its Jacobian, stands below. Of 1,000 fresh
pairs: -log p(theta | y) above the mean Laplace entropy, and coverage.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flow_models.core.startup import load_tensorflow  # noqa: E402

load_tensorflow()

import numpy as np  # noqa: E402

import flow_models as fm  # noqa: E402
from flow_models.applications.inverse import posterior_study  # noqa: E402
from flow_models.applications.inverse.pairs import Clock, draw  # noqa: E402
from flow_models.applications.inverse.posterior_config import PosteriorConfig  # noqa: E402
from flow_models.bijectors.frames import LaplaceFrame  # noqa: E402
from flow_models.diagnostics import calibration  # noqa: E402
from flow_models.references.laplace import gauss_newton  # noqa: E402
from flow_models.simulators.seismic import Seismograms  # noqa: E402

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
FRAMED = {
    "architecture": "realnvp",
    "depth": 4,
    "hidden": (32,),
    "learning_rate": 1e-3,
}  # as application 7 has it


def judged(name, model, theta, y, entropy, density, sampled, seconds) -> None:
    """Prints a row of the table."""
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
            lambda o=options: fm.fit_posterior(
                train.theta,
                train.y,
                validation=0.05,
                settings=settings,
                unroll=1,
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
    config, name = PosteriorConfig(steps=steps // 2, **FRAMED), "Gauss-Newton frame"
    training = clock.time(
        "frame",
        lambda: posterior_study.conditional(LaplaceFrame(simulator, 40), config, train, validation),
    )
    clock.time(name, training.trainer.run)
    model = training.model
    judged(
        name,
        model,
        fresh.theta,
        fresh.y,
        entropy,
        model.log_prob_theta,
        model.posterior_theta,
        sum(clock.seconds[n] for n in ("frame", name)),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=6000)
    main(parser.parse_args().steps)
