"""Application 7, an ill-posed inverse problem with noise: velocities of layers from noisy
seismograms.

    python train_flowmodels7.py                              # 20 velocities from four traces, any noise level, Markov chains beside
    python train_flowmodels7.py --observed traces.csv --sigma 0.01    # columns ray_s_per_km, time_s, amplitude[, sigma]
    python train_flowmodels7.py --form joint                 # (velocities, noise) to (traces, z)
    python train_flowmodels7.py --hard true                  # layers of fixed thickness: curved posteriors, no targets
    python train_flowmodels7.py --problem dispersion         # 11 S velocities from phase velocities of Rayleigh waves
    python train_flowmodels7.py --problem dispersion --observed data/dispersion.csv    # period_s, phase_velocity_km_s[, sigma]
    python train_flowmodels7.py --preset smoke               # to see it run

The noise level is known and given to the network, which then serves all of them. Expect what
application 6 expects, in each third of the noise range, and standard deviations that correlate with
the reference's by more than 0.98. doc/inverse_problems.md has the measured values of both problems.
"""

from __future__ import annotations

import dataclasses
import math

from flow_models.applications.inverse.posterior_config import PosteriorConfig, check
from flow_models.core.errors import UserError
from flow_models.runs.config import run


@dataclasses.dataclass(frozen=True)
class Config(PosteriorConfig):
    """Settings of application 7."""

    problem: str = "seismograms"
    """seismograms (reflections) or dispersion (phase velocities of surface waves)"""
    sigma: float = 0.0
    """standard deviation of the noise of the observed data, where they have no column sigma; of
    phase velocities in km/s"""
    hard: bool = False
    """seismograms: layers of fixed thickness in place of equal two-way time"""
    simulations: int = 0
    """pairs drawn ahead for training; 0: 200,000 seismograms, or 40,000 dispersion curves, which
    take a hundred times as long"""
    references: int = 0
    """observations for which the reference sampler is run; 0: 10, or 4 of dispersion curves"""
    components: int = 40
    """principal components of the data that the flow sees; of phase velocities there are but 20"""
    newton_steps: int = 2
    """of Gauss-Newton, to the point around which the flow sees the posterior"""


PRESETS = {
    "smoke": {
        "steps": 100,
        "batch_size": 256,
        "simulations": 2000,
        "validation_draws": 500,
        "test_draws": 60,
        "depth": 2,
        "architecture": "realnvp",
        "hidden": (16,),
        "posterior_samples": 200,
        "reference": False,
        "references": 1,
        "compare": False,
    },
    "default": {
        "steps": 3000,
        "learning_rate": 1e-3,
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

SIZES = {
    "seismograms": {"simulations": 200_000, "references": 10},
    "dispersion": {"simulations": 40_000, "references": 4},
}
TITLES = {
    "seismograms": "Velocities from seismograms",
    "dispersion": "S velocities from surface-wave dispersion",
}
THICKNESS = 0.035  # km of the layers of the hard problem


def sized(config: Config) -> Config:
    """With the numbers of simulations and references that the problem has where none are given."""
    if config.problem not in SIZES:
        raise UserError(f"no problem {config.problem!r}; there are {', '.join(SIZES)}")
    if config.hard and config.problem != "seismograms":
        raise UserError("hard is a variant of --problem seismograms")
    return dataclasses.replace(
        config,
        **{name: n for name, n in SIZES[config.problem].items() if not getattr(config, name)},
    )


def load_problem(config: Config):
    """The simulator, the module of its users' side (`read` and `show`), and their data [1, M] where
    there are some."""
    if not 0 <= config.sigma < math.inf:
        raise UserError(
            f"sigma is {config.sigma:g}; it must be above 0, or 0 where the file has it"
        )
    from flow_models.core.startup import load_tensorflow

    load_tensorflow()
    if config.problem == "dispersion":
        from flow_models.applications.inverse import curves as side
        from flow_models.simulators.dispersion import Dispersion, loaded_package

        loaded_package()  # a missing one is told of before there is a folder
        simulator = Dispersion()
    else:
        from flow_models.applications.inverse import traces as side
        from flow_models.simulators.seismic import Seismograms

        simulator = Seismograms(layer_thickness=THICKNESS if config.hard else 0.0)
    return (
        simulator,
        side,
        side.read(config.observed, config.sigma, simulator) if config.observed else None,
    )


def frame(config: Config, simulator):
    from flow_models.bijectors.frames import LaplaceFrame

    most = simulator.data_size - 1
    if config.problem == "seismograms" and config.components > most:
        raise UserError(f"components is {config.components}; the traces have {most} samples in all")
    return LaplaceFrame(
        simulator, components=min(config.components, most), steps=config.newton_steps
    )


def main(config: Config) -> None:
    config = sized(config)
    check(config)
    simulator, side, observed = load_problem(config)
    from flow_models.applications.inverse.posterior_run import run_study

    run_study(
        config,
        "flowmodels7",
        simulator,
        frame(config, simulator),
        observed,
        side.show,
        TITLES[config.problem],
        joint={"noise_inputs": True, "sigma_y": 0.03},
    )


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
