"""Application 7, an ill-posed inverse problem with noise: velocities of layers from noisy seismograms.

    python train_flowmodels7.py                              # 20 velocities from four traces, any noise level, Markov chains beside
    python train_flowmodels7.py --observed traces.csv --sigma 0.01    # columns ray_s_per_km, time_s, amplitude[, sigma]
    python train_flowmodels7.py --form joint                 # (velocities, noise) to (traces, z)
    python train_flowmodels7.py --hard true                  # layers of fixed thickness: curved posteriors, no targets
    python train_flowmodels7.py --preset smoke               # to see it run

The noise level is known and given to the network, which then serves all of them. Expect what application 6 expects, in
each third of the noise range, and standard deviations that correlate with the reference's by more than 0.98.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models.config import run
from flow_models.errors import UserError
from flow_models.posterior_config import PosteriorConfig, check


@dataclasses.dataclass(frozen=True)
class Config(PosteriorConfig):
    """Settings of application 7."""

    sigma: float = 0.0
    """standard deviation of the noise of the observed traces, where they have no column sigma"""
    hard: bool = False
    """layers of fixed thickness in place of equal two-way time"""
    components: int = 40
    """principal components of the traces that the flow sees"""
    newton_steps: int = 2
    """of Gauss-Newton, to the point around which the flow sees the posterior"""


PRESETS = {
    "smoke": {"steps": 100, "batch_size": 256, "simulations": 2000, "validation_draws": 500, "test_draws": 60, "depth": 2, "architecture": "realnvp",
              "hidden": (16,), "posterior_samples": 200, "reference": False, "compare": False},
    "default": {"steps": 3000, "learning_rate": 1e-3, "simulations": 200_000, "architecture": "realnvp", "depth": 4, "hidden": (32,)},
    "full": {"steps": 20_000, "learning_rate": 1e-3, "batch_size": 1024, "simulations": 1_000_000, "depth": 4, "hidden": (64,),
             "references": 20},
}  # fmt: skip

THICKNESS = 0.035  # km of the layers of the hard problem
NEAR = 1e-4  # s and s/km within which the file's times and rays are those of the configuration


def load_problem(config: Config):
    """The simulator, and the user's data [1, M] where there are some."""
    if config.sigma < 0:
        raise UserError(f"sigma is {config.sigma:g}; it must be above 0, or 0 where the file has it")
    from flow_models.simulators.seismic import Seismograms

    simulator = Seismograms(layer_thickness=THICKNESS if config.hard else 0.0)
    return simulator, read_traces(config, simulator) if config.observed else None


def read_traces(config: Config, simulator) -> np.ndarray:
    """Amplitudes in the order of the simulator, and log sigma, [1, M]."""
    from flow_models.observed import read_columns

    table = read_columns(config.observed, ("ray_s_per_km", "time_s", "amplitude"), ("sigma",))
    rays, times = simulator.ray_parameters, np.arange(simulator.samples) * simulator.interval
    if len(table["time_s"]) != len(rays) * len(times):
        raise UserError(f"{len(table['time_s'])} rows of traces, expected {len(rays)} rays of {len(times)} samples")
    order = np.lexsort((table["time_s"], table["ray_s_per_km"]))
    for name, expected in (("ray_s_per_km", np.repeat(rays, len(times))), ("time_s", np.tile(times, len(rays)))):
        off = np.abs(table[name][order] - expected)
        if off.max() > NEAR:
            raise UserError(f"column {name}: {table[name][order][off.argmax()]:g} where the network was made for "
                            f"{expected[off.argmax()]:g}; it takes rays {', '.join(f'{p:.4f}' for p in rays)} s/km and "
                            f"times 0 to {times[-1]:g} s every {simulator.interval:g} s")  # fmt: skip
    sigma = table.get("sigma", np.full(1, config.sigma))
    if np.ptp(sigma) > 0 or not sigma[0] > 0:
        raise UserError("give the noise as one number above 0: --sigma, or a column sigma with one value")
    return np.append(table["amplitude"][order], np.log(sigma[0]))[None]


def frame(config: Config, simulator):
    from flow_models.frames import LaplaceFrame

    if config.components >= simulator.data_size:
        raise UserError(f"components is {config.components}; the traces have {simulator.data_size - 1} samples in all")
    return LaplaceFrame(simulator, components=config.components, steps=config.newton_steps)


def show(simulator, views) -> list[tuple[str, object, str]]:
    """(name, figure, caption) of the posteriors of `views`: velocity against time or depth, and traces predicted over
    observed."""
    from flow_models import plots

    hard = simulator.layer_thickness > 0
    edges = np.arange(simulator.layers + 1) * (simulator.layer_thickness if hard else simulator.layer_time)
    below = "depth (km)" if hard else "two-way time (s)"
    times = np.arange(simulator.samples) * simulator.interval
    names = [f"ray {p:.3f} s/km" for p in simulator.ray_parameters]
    figures = []
    for view in views:
        noise = f"noise {np.exp(view.y[-1]):.3f}"
        profile = plots.profile_bands(edges, view.samples, view.truth, view.reference, below, "velocity (km/s)",
                                      upright=True)  # fmt: skip
        shape = (len(names), len(times))
        data = plots.predicted_data(times, view.y[:-1].reshape(shape), view.predicted.reshape(-1, *shape), np.exp(view.y[-1]),
                                    names, "time (s)", "amplitude")  # fmt: skip
        figures += [(f"velocity_{view.name}", profile, f"Velocity of the layers, {view.caption}, {noise}."),
                    (f"traces_{view.name}", data, f"Traces of posterior samples over the data, {view.caption}, {noise}.")]  # fmt: skip
    return figures


def main(config: Config) -> None:
    check(config)
    simulator, observed = load_problem(config)
    from flow_models.posterior_run import run_study

    run_study(config, "flowmodels7", simulator, frame(config, simulator), observed, show, "Velocities from seismograms",
              joint={"noise_inputs": True, "sigma_y": 0.03})  # fmt: skip


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
