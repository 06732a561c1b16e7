"""Application 7, an ill-posed inverse problem with noise: velocities of layers from noisy
seismograms.

    x velocities (P)                   <->   z (P), given y traces    conditional (default)
    x velocities (P) | eps noise (K)   <->   y traces (K) | z (P)     joint

    python train_flowmodels7.py                   # 20 velocities, four traces; Markov chains too
    python train_flowmodels7.py --observed traces.csv --sigma 0.01
    python train_flowmodels7.py --form joint      # (velocities, noise) to (traces, z)
    python train_flowmodels7.py --hard true       # fixed thickness: curved posteriors, no targets
    python train_flowmodels7.py --problem dispersion    # 11 S velocities from Rayleigh waves
    python train_flowmodels7.py --problem dispersion --observed data/dispersion.csv
    python train_flowmodels7.py --preset smoke    # to see it run

The noise level is known and given to the network, which then serves all of them. Expect what
application 6 expects, in each third of the noise range, and standard deviations that correlate with
the reference's by more than 0.98. doc/inverse_problems.md has the measured values of both problems.
0 simulations and 0 references, the defaults, stand for 200,000 and 10, of dispersion curves for
40,000 and 4.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications import settings
from flow_models.applications.settings import ExtraLosses, Inverse, PosteriorNetwork


@fm.settings
class Config:
    """Settings of application 7."""

    problem: str = "seismograms"
    """seismograms (reflections) or dispersion (phase velocities of surface waves)"""
    sigma: float = 0.0
    """sd of the noise of observed data without a column sigma; of phase velocities in km/s"""
    hard: bool = False
    """seismograms: layers of fixed thickness in place of equal two-way time"""
    components: int = 40
    """principal components of the data that the flow sees; of phase velocities there are but 20"""
    newton_steps: int = 2
    """of Gauss-Newton, to the point around which the flow sees the posterior"""
    inverse: Inverse = Inverse(simulations=0, references=0)
    network: PosteriorNetwork = PosteriorNetwork("realnvp", depth=4, hidden=(32,))
    losses: ExtraLosses = ExtraLosses()
    fit: fm.FitSettings = fm.FitSettings(learning_rate=1e-3)
    run: fm.RunSettings = fm.RunSettings()

    def __post_init__(self):
        object.__setattr__(self, "inverse", settings.sized(self))
        settings.check_inverse(self)


PRESETS = {
    "smoke": {
        "steps": 100,
        "learning_rate": 4e-3,
        "batch_size": 256,
        "simulations": 2000,
        "validation_draws": 500,
        "test_draws": 60,
        "depth": 2,
        "hidden": (16,),
        "posterior_samples": 200,
        "reference": False,
        "references": 1,
        "compare": False,
    },
    "default": {"steps": 3000},
    "full": {
        "steps": 20_000,
        "batch_size": 1024,
        "simulations": 1_000_000,
        "architecture": "spline_coupling",
        "hidden": (64,),
        "references": 20,
    },
}


def partitions(config: Config, problem) -> dict[str, fm.Partition]:
    p, m = problem.simulator.size, problem.simulator.data_size
    forms = {"conditional": fm.Partition({"x": p}, {"z": p}, given={"y": m})}
    if problem.parts:
        k = problem.components_for(most=m).flat_size
        forms["joint"] = fm.Partition(
            {"x": p, "eps": k}, {"y": k, "z": p}, given={"log_sigma": 1}, sigma_y=0.03
        )
    return forms


def load_data(config: Config):
    """The simulator, the frame, pairs, and the user's data."""
    from flow_models.applications.inverse import evaluation, waves
    from flow_models.bijectors.frames import LaplaceFrame

    simulator, side = waves.simulator_of(config)
    observed = waves.observed(config, simulator, side)
    components = waves.components_of(config, simulator)
    frame = LaplaceFrame(simulator, components, config.newton_steps)
    return evaluation.load(config, config.problem, simulator, frame, observed, side)


def build_model(config: Config, problem, partition: fm.Partition) -> fm.Model:
    from flow_models.applications.inverse import models

    form = models.joint if config.inverse.form == "joint" else models.conditional
    return form(config, problem, partition)


def training(config: Config, problem, model) -> fm.Training:
    """Pairs drawn ahead; then a density of the data, to know strange ones."""
    from flow_models.applications.inverse import models

    return models.on_pairs(config, problem, model)


def evaluate(run) -> fm.Results:
    """Calibration, and posteriors beside the reference, Laplace and the other form."""
    from flow_models.applications.inverse import evaluation

    return evaluation.evaluate(run)


APPLICATION = fm.Application(
    Config, PRESETS, partitions, load_data, build_model, evaluate, training
)

if __name__ == "__main__":
    fm.run(APPLICATION)
