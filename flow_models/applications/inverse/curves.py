"""Phase velocities of the user's own, and figures of what they say: the dispersion problem of
application 7."""

from __future__ import annotations

import numpy as np

from flow_models import plots
from flow_models.applications.application import Figure
from flow_models.applications.inverse.observed import noise_level, read_columns
from flow_models.core.errors import UserError
from flow_models.simulators.dispersion import SIGMA_RANGE

SAME_PERIOD = 0.006  # s: periods of a file may be rounded to hundredths
FASTEST = 20.0  # km/s: phase velocities above it are in other units
BELOW = 1.25  # of the depth of the half-space: where its velocity is drawn to


def read(uri: str, sigma: float, simulator) -> np.ndarray:
    """Phase velocities by rising period, and log sigma, [1, T + 1]; `sigma` is for files that do
    not have it.

    Raises:
      UserError: periods are not those of the simulator, or numbers that are no speeds in km/s.
    """
    table = read_columns(uri, ("period_s", "phase_velocity_km_s"), ("sigma",))
    periods, order = np.array(simulator.periods), np.argsort(table["period_s"])
    takes = (
        f"the network takes the {len(periods)} periods"
        f" {', '.join(f'{period:g}' for period in periods)} s"
    )
    if len(order) != len(periods):
        raise UserError(f"{len(order)} periods; {takes}")
    off = np.abs(table["period_s"][order] - periods)
    if off.max() > SAME_PERIOD:
        raise UserError(
            f"column period_s: {table['period_s'][order][off.argmax()]:g} where"
            f" {periods[off.argmax()]:g} is expected; {takes}"
        )
    velocity = table["phase_velocity_km_s"][order]
    if not (velocity.min() > 0 and velocity.max() < FASTEST):
        wrong = velocity[np.abs(velocity - FASTEST / 2).argmax()]
        raise UserError(
            f"column phase_velocity_km_s: {wrong:g} is no speed in km/s, above 0 and below"
            f" {FASTEST:g}"
        )
    return np.append(velocity, np.log(noise_level(table, sigma, SIGMA_RANGE, {"m/s": 1e-3})))[None]


def show(simulator, views) -> list[Figure]:
    """(name, figure, caption) of the posteriors of `views`: S velocity against depth, and phase
    velocities predicted over observed."""
    edges = np.append(
        simulator.edges, BELOW * simulator.edges[-1]
    )  # the half-space is drawn to there
    figures = []
    for view in views:
        sigma = np.exp(view.y[-1])
        profile = plots.profile_bands(
            edges,
            view.samples,
            view.truth,
            view.reference,
            "depth (km)",
            "S velocity (km/s)",
            upright=True,
        )
        bound = view.predicted[
            np.isfinite(view.predicted).all(1)
        ]  # samples whose waves are bound to the surface
        data = plots.predicted_data(
            np.array(simulator.periods),
            view.y[:-1],
            bound,
            sigma,
            None,
            "period (s)",
            "phase velocity (km/s)",
        )
        figures += [
            (
                f"velocity_{view.name}",
                profile,
                (
                    f"S velocity of the layers and the half-space, {view.caption}, noise"
                    f" {sigma:.3f} km/s."
                ),
            ),
            (
                f"curve_{view.name}",
                data,
                f"Phase velocities of posterior samples over the data, {view.caption}.",
            ),
        ]
    return figures
