"""Seismograms of the user's own, and figures of what they say: application 7."""

from __future__ import annotations

import numpy as np

from flow_models import plots
from flow_models.applications.application import Figure
from flow_models.applications.inverse.observed import noise_level, read_columns
from flow_models.core.errors import UserError
from flow_models.simulators.seismic import SIGMA_RANGE

NEAR = 1e-4  # s and s/km within which the file's times and rays are those of the configuration


def read(uri: str, sigma: float, simulator) -> np.ndarray:
    """Amplitudes in the order of the simulator, and log sigma, [1, M]; `sigma` is for files that do
    not have it.

    Raises:
      UserError: rays, samples or interval are not those of the simulator.
    """
    table = read_columns(uri, ("ray_s_per_km", "time_s", "amplitude"), ("sigma",))
    rays, times = simulator.ray_parameters, np.arange(simulator.samples) * simulator.interval
    if len(table["time_s"]) != len(rays) * len(times):
        raise UserError(
            f"{len(table['time_s'])} rows of traces, expected {len(rays)} rays of {len(times)}"
            " samples"
        )
    order = np.lexsort((table["time_s"], table["ray_s_per_km"]))
    for name, expected in (
        ("ray_s_per_km", np.repeat(rays, len(times))),
        ("time_s", np.tile(times, len(rays))),
    ):
        off = np.abs(table[name][order] - expected)
        if off.max() > NEAR:
            raise UserError(
                f"column {name}: {table[name][order][off.argmax()]:g} where the network was made"
                f" for {expected[off.argmax()]:g}; it takes rays"
                f" {', '.join(f'{p:.4f}' for p in rays)} s/km and times 0 to {times[-1]:g} s every"
                f" {simulator.interval:g} s"
            )
    noise = noise_level(table, sigma, SIGMA_RANGE)
    return np.append(table["amplitude"][order], np.log(noise))[None]


def show(simulator, views) -> list[Figure]:
    """(name, figure, caption) of the posteriors of `views`: velocity against time or depth, and
    traces predicted over observed."""
    hard = simulator.layer_thickness > 0
    edges = np.arange(simulator.layers + 1) * (
        simulator.layer_thickness if hard else simulator.layer_time
    )
    below = "depth (km)" if hard else "two-way time (s)"
    times = np.arange(simulator.samples) * simulator.interval
    names = [f"ray {p:.3f} s/km" for p in simulator.ray_parameters]
    figures = []
    for view in views:
        noise = f"noise {np.exp(view.y[-1]):.3f}"
        profile = plots.profile_bands(
            edges, view.samples, view.truth, view.reference, below, "velocity (km/s)", upright=True
        )
        shape = (len(names), len(times))
        data = plots.predicted_data(
            times,
            view.y[:-1].reshape(shape),
            view.predicted.reshape(-1, *shape),
            np.exp(view.y[-1]),
            names,
            "time (s)",
            "amplitude",
        )
        figures += [
            (f"velocity_{view.name}", profile, f"Velocity of the layers, {view.caption}, {noise}."),
            (
                f"traces_{view.name}",
                data,
                f"Traces of posterior samples over the data, {view.caption}, {noise}.",
            ),
        ]
    return figures
