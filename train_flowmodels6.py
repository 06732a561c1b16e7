"""Application 6, an ill-posed inverse problem: depths of a sediment-filled valley from gravity
along a profile.

    python train_flowmodels6.py                              # 40 depths from 20 stations, with long Markov chains beside
    python train_flowmodels6.py --tolerance 0.25             # the harder problem
    python train_flowmodels6.py --observed profile.csv       # columns station_km, gravity_mgal[, tolerance_mgal]
    python train_flowmodels6.py --form joint                 # data among the outputs of the network
    python train_flowmodels6.py --preset smoke               # to see it run

"Noise ignored" means that noise is no input of the network; the data carry a fixed tolerance that
the network and the reference share. Expect coverage of 50 and 90% within 2 points, a C2ST against
the chains of at most 0.60 for each of ten observations, and a validation loss within 0.15 nats of
the mean Laplace entropy.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models.applications.inverse.posterior_config import PosteriorConfig, check
from flow_models.runs.config import run


@dataclasses.dataclass(frozen=True)
class Config(PosteriorConfig):
    """Settings of application 6."""

    tolerance: float = 0.5
    """standard deviation of the gravity data, mGal; a column tolerance_mgal of the observed file
    goes before it"""
    contrast: float = -400.0
    """density of the sediment less that of the rock at the surface, kg/m^3"""
    decay: float = 0.0
    """depth over which the contrast falls to 1/e, km; 0: it is constant"""
    newton_steps: int = 2
    """of Gauss-Newton, to the point around which the flow sees the posterior"""


PRESETS = {
    "smoke": {
        "steps": 100,
        "batch_size": 256,
        "simulations": 4000,
        "validation_draws": 500,
        "test_draws": 100,
        "depth": 2,
        "architecture": "realnvp",
        "hidden": (16,),
        "posterior_samples": 200,
        "reference": False,
        "compare": False,
    },
    "default": {
        "steps": 3000,
        "learning_rate": 1e-3,
        "simulations": 200_000,
        "architecture": "realnvp",
        "depth": 4,
        "hidden": (32,),
    },
    "full": {
        "steps": 20_000,
        "learning_rate": 1e-3,
        "batch_size": 1024,
        "simulations": 1_000_000,
        "depth": 4,
        "hidden": (64,),
        "references": 20,
    },
}


def load_problem(config: Config):
    """The simulator, and the user's data [1, M] where there are some."""
    from flow_models.core.startup import load_tensorflow

    load_tensorflow()
    from flow_models.simulators.gravity import Gravity

    options = {"contrast": config.contrast, "decay": config.decay}
    if not config.observed:
        return Gravity(tolerance=config.tolerance, **options), None
    from flow_models.applications.inverse.observed import read_columns

    table = read_columns(config.observed, ("station_km", "gravity_mgal"), ("tolerance_mgal",))
    tolerance = tuple(table["tolerance_mgal"]) if "tolerance_mgal" in table else config.tolerance
    return (
        Gravity(stations=tuple(table["station_km"]), tolerance=tolerance, **options),
        table["gravity_mgal"][None],
    )


def frame(config: Config, simulator):
    from flow_models.bijectors.frames import LaplaceFrame

    return LaplaceFrame(simulator, components=simulator.data_size, steps=config.newton_steps)


def show(simulator, views) -> list[tuple[str, object, str]]:
    """(name, figure, caption) of the posteriors of `views`: valley profiles, and gravity simulated
    again."""
    from flow_models import plots

    figures = []
    for view in views:
        profile = plots.profile_bands(
            simulator.centres,
            view.samples,
            view.truth,
            view.reference,
            "distance (km)",
            "depth (km)",
            falling=True,
        )
        order = np.argsort(simulator.stations)
        data = plots.predicted_data(
            np.asarray(simulator.stations)[order],
            view.y[order],
            view.predicted[:, order],
            simulator.sigma[order],
            None,
            "distance (km)",
            "gravity (mGal)",
        )
        figures += [
            (f"valley_{view.name}", profile, f"Depth of the valley, {view.caption}."),
            (
                f"gravity_{view.name}",
                data,
                f"Gravity of posterior samples over the data, {view.caption}.",
            ),
        ]
    return figures


def main(config: Config) -> None:
    check(config)
    simulator, observed = load_problem(config)
    from flow_models.applications.inverse.posterior_run import run_study

    run_study(
        config,
        "flowmodels6",
        simulator,
        frame(config, simulator),
        observed,
        show,
        "Depth of a valley from gravity",
        joint={"noise_inputs": False, "sigma_y": 1.0, "least_sd": 3.0},
    )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
