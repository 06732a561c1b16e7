"""Application 7, an ill-posed inverse problem with noise: velocities of layers from noisy seismograms.

    python train_flowmodels7.py                              # 20 velocities from four traces, any noise level, Markov chains beside
    python train_flowmodels7.py --observed traces.csv --sigma 0.01    # columns ray_s_per_km, time_s, amplitude[, sigma]
    python train_flowmodels7.py --form joint                 # (velocities, noise) to (traces, z)
    python train_flowmodels7.py --hard true                  # layers of fixed thickness: curved posteriors, no targets
    python train_flowmodels7.py --problem dispersion         # 11 S velocities from phase velocities of Rayleigh waves
    python train_flowmodels7.py --problem dispersion --observed data/dispersion.csv    # period_s, phase_velocity_km_s[, sigma]
    python train_flowmodels7.py --preset smoke               # to see it run

The noise level is known and given to the network, which then serves all of them. Expect what application 6 expects, in
each third of the noise range, and standard deviations that correlate with the reference's by more than 0.98.
doc/inverse_problems.md has the measured values of both problems.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from flow_models.config import run
from flow_models.errors import UserError
from flow_models.inverse.posterior_config import PosteriorConfig, check


@dataclasses.dataclass(frozen=True)
class Config(PosteriorConfig):
    """Settings of application 7."""

    problem: str = "seismograms"
    """seismograms (reflections) or dispersion (phase velocities of surface waves)"""
    sigma: float = 0.0
    """standard deviation of the noise of the observed data, where they have no column sigma; of phase velocities in km/s"""
    hard: bool = False
    """seismograms: layers of fixed thickness in place of equal two-way time"""
    simulations: int = 0
    """pairs drawn ahead for training; 0: 200,000 seismograms, or 40,000 dispersion curves, which take a hundred times as long"""
    references: int = 0
    """observations for which the reference sampler is run; 0: 10, or 4 of dispersion curves"""
    components: int = 40
    """principal components of the data that the flow sees; of phase velocities there are but 20"""
    newton_steps: int = 2
    """of Gauss-Newton, to the point around which the flow sees the posterior"""


PRESETS = {
    "smoke": {"steps": 100, "batch_size": 256, "simulations": 2000, "validation_draws": 500, "test_draws": 60, "depth": 2, "architecture": "realnvp",
              "hidden": (16,), "posterior_samples": 200, "reference": False, "references": 1, "compare": False},
    "default": {"steps": 3000, "learning_rate": 1e-3, "architecture": "realnvp", "depth": 4, "hidden": (32,)},
    "full": {"steps": 20_000, "learning_rate": 1e-3, "batch_size": 1024, "simulations": 1_000_000, "depth": 4, "hidden": (64,),
             "references": 20},
}  # fmt: skip

SIZES = {"seismograms": {"simulations": 200_000, "references": 10}, "dispersion": {"simulations": 40_000, "references": 4}}
THICKNESS = 0.035  # km of the layers of the hard problem
NEAR = 1e-4  # s and s/km within which the file's times and rays are those of the configuration
SAME_PERIOD = 0.006  # s: periods of a file may be rounded to hundredths
FASTEST = 20.0  # km/s: phase velocities above it are in other units
BELOW = 1.25  # of the depth of the half-space: where its velocity is drawn to


def sized(config: Config) -> Config:
    """With the numbers of simulations and references that the problem has where none are given."""
    if config.problem not in SIZES:
        raise UserError(f"no problem {config.problem!r}; there are {', '.join(SIZES)}")
    if config.hard and config.problem != "seismograms":
        raise UserError("hard is a variant of --problem seismograms")
    return dataclasses.replace(config, **{name: n for name, n in SIZES[config.problem].items() if not getattr(config, name)})


def load_problem(config: Config):
    """The simulator, and the user's data [1, M] where there are some."""
    if not 0 <= config.sigma < math.inf:
        raise UserError(f"sigma is {config.sigma:g}; it must be above 0, or 0 where the file has it")
    from flow_models.startup import load_tensorflow

    load_tensorflow()
    if config.problem == "dispersion":
        from flow_models.simulators.dispersion import Dispersion, loaded_package

        loaded_package()  # a missing one is told of before there is a folder
        simulator, read = Dispersion(), read_curve
    else:
        from flow_models.simulators.seismic import Seismograms

        simulator, read = Seismograms(layer_thickness=THICKNESS if config.hard else 0.0), read_traces
    return simulator, read(config, simulator) if config.observed else None


def read_traces(config: Config, simulator) -> np.ndarray:
    """Amplitudes in the order of the simulator, and log sigma, [1, M]."""
    from flow_models.inverse.observed import read_columns

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
    return np.append(table["amplitude"][order], np.log(noise_level(config, table)))[None]


def read_curve(config: Config, simulator) -> np.ndarray:
    """Phase velocities by rising period, and log sigma, [1, T + 1]."""
    from flow_models.inverse.observed import read_columns

    table = read_columns(config.observed, ("period_s", "phase_velocity_km_s"), ("sigma",))
    periods, order = np.array(simulator.periods), np.argsort(table["period_s"])
    takes = f"the network takes the {len(periods)} periods {', '.join(f'{period:g}' for period in periods)} s"
    if len(order) != len(periods):
        raise UserError(f"{len(order)} periods; {takes}")
    off = np.abs(table["period_s"][order] - periods)
    if off.max() > SAME_PERIOD:
        raise UserError(f"column period_s: {table['period_s'][order][off.argmax()]:g} where {periods[off.argmax()]:g} is expected; {takes}")
    velocity = table["phase_velocity_km_s"][order]
    if not (velocity.min() > 0 and velocity.max() < FASTEST):
        wrong = velocity[np.abs(velocity - FASTEST / 2).argmax()]
        raise UserError(f"column phase_velocity_km_s: {wrong:g} is no speed in km/s, above 0 and below {FASTEST:g}")
    return np.append(velocity, np.log(noise_level(config, table)))[None]


def noise_level(config: Config, table) -> float:
    """Sigma from the file, else from the settings."""
    sigma = table.get("sigma", np.full(1, config.sigma))
    if np.ptp(sigma) > 0 or not sigma[0] > 0:
        raise UserError("give the noise as one number above 0: --sigma, or a column sigma with one value")
    return sigma[0]


def frame(config: Config, simulator):
    from flow_models.inverse.frames import LaplaceFrame

    most = simulator.data_size - 1
    if config.problem == "seismograms" and config.components > most:
        raise UserError(f"components is {config.components}; the traces have {most} samples in all")
    return LaplaceFrame(simulator, components=min(config.components, most), steps=config.newton_steps)


def show_traces(simulator, views) -> list[tuple[str, object, str]]:
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


def show_curves(simulator, views) -> list[tuple[str, object, str]]:
    """(name, figure, caption) of the posteriors of `views`: S velocity against depth, and phase velocities predicted over
    observed."""
    from flow_models import plots

    edges = np.append(simulator.edges, BELOW * simulator.edges[-1])  # the half-space is drawn to there
    figures = []
    for view in views:
        sigma = np.exp(view.y[-1])
        profile = plots.profile_bands(edges, view.samples, view.truth, view.reference, "depth (km)", "S velocity (km/s)", upright=True)
        bound = view.predicted[np.isfinite(view.predicted).all(1)]  # samples whose waves are bound to the surface
        data = plots.predicted_data(np.array(simulator.periods), view.y[:-1], bound, sigma, None, "period (s)", "phase velocity (km/s)")
        figures += [(f"velocity_{view.name}", profile, f"S velocity of the layers and the half-space, {view.caption}, noise {sigma:.3f} km/s."),
                    (f"curve_{view.name}", data, f"Phase velocities of posterior samples over the data, {view.caption}.")]  # fmt: skip
    return figures


def main(config: Config) -> None:
    config = sized(config)
    check(config)
    simulator, observed = load_problem(config)
    from flow_models.inverse.posterior_run import run_study

    title, show = {"seismograms": ("Velocities from seismograms", show_traces),
                   "dispersion": ("S velocities from surface-wave dispersion", show_curves)}[config.problem]  # fmt: skip
    run_study(config, "flowmodels7", simulator, frame(config, simulator), observed, show, title,
              joint={"noise_inputs": True, "sigma_y": 0.03})  # fmt: skip


if __name__ == "__main__":
    run(main, Config, PRESETS, __doc__)
