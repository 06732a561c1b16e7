"""Application 6, an ill-posed inverse problem, noise ignored: depths of a sediment-filled valley
from gravity along a profile.

    x depths (P)   <->   z (P), given y gravity       conditional (default)
    x depths (P)   <->   y gravity (K) | z (P - K)    joint

    python train_flowmodels6.py                     # 40 depths from 20 stations; Markov chains too
    python train_flowmodels6.py --tolerance 0.25    # the harder problem
    python train_flowmodels6.py --observed profile.csv  # station_km, gravity_mgal[, tolerance_mgal]
    python train_flowmodels6.py --form joint        # data among the outputs of the network
    python train_flowmodels6.py --preset smoke      # to see it run

"Noise ignored" means that noise is no input of the network; the data carry a fixed tolerance that
the network and the reference share. Expect coverage of 50 and 90% within 2 points, a C2ST against
the chains of at most 0.60 for each of ten observations, and a validation loss within 0.15 nats of
the mean Laplace entropy.
"""

from __future__ import annotations

import flow_models as fm
from flow_models.applications.settings import ExtraLosses, Inverse, PosteriorNetwork, check_inverse


@fm.settings
class Config:
    """Settings of application 6."""

    tolerance: float = 0.5
    """sd of the gravity data, mGal; a column tolerance_mgal of the observed file overrides it"""
    contrast: float = -400.0
    """density of the sediment less that of the rock at the surface, kg/m^3"""
    decay: float = 0.0
    """depth over which the contrast falls to 1/e, km; 0: it is constant"""
    newton_steps: int = 2
    """of Gauss-Newton, to the point around which the flow sees the posterior"""
    inverse: Inverse = Inverse()
    network: PosteriorNetwork = PosteriorNetwork("realnvp", depth=4, hidden=(32,))
    losses: ExtraLosses = ExtraLosses()
    fit: fm.FitSettings = fm.FitSettings(learning_rate=1e-3)
    run: fm.RunSettings = fm.RunSettings()

    def __post_init__(self):
        check_inverse(self)


PRESETS = {
    "smoke": {
        "steps": 100,
        "learning_rate": 4e-3,
        "batch_size": 256,
        "simulations": 4000,
        "validation_draws": 500,
        "test_draws": 100,
        "depth": 2,
        "hidden": (16,),
        "posterior_samples": 200,
        "reference": False,
        "compare": False,
    },
    "default": {"steps": 3000, "simulations": 200_000},
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
    # the joint form sees the components that rise well above the noise, if there are some
    components = problem.parts and problem.components_for(most=min(m, p), least_sd=3.0)
    if components:
        k, sigma = components.flat_size, 1 / components.scale
        forms["joint"] = fm.Partition({"x": p}, {"y": k, "z": p - k}, sigma_y=sigma)
    return forms


def load_data(config: Config):
    """The simulator for the stations of the data, the frame, and pairs."""
    from flow_models.applications.inverse import evaluation, profile
    from flow_models.bijectors.frames import LaplaceFrame

    simulator, observed = profile.read(config)
    frame = LaplaceFrame(simulator, simulator.data_size, config.newton_steps)
    return evaluation.load(config, "depth of a valley", simulator, frame, observed, profile)


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
