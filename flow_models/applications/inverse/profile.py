"""Gravity profiles of the user's own, and figures of what they say: application 6."""

from __future__ import annotations

import math

import numpy as np

from flow_models import plots
from flow_models.applications.application import Figure
from flow_models.applications.inverse.observed import doubt_unit, read_columns
from flow_models.simulators.gravity import MGAL_PER_KM, Gravity


def read(config) -> tuple[Gravity, np.ndarray | None]:
    """The simulator for the stations of the data, and the data [1, M] where there are some.

    Raises:
      UserError: a file or a geometry that makes no profile.
    """
    options = {"contrast": config.contrast, "decay": config.decay}
    if not config.inverse.observed:
        return Gravity(tolerance=config.tolerance, **options), None
    names = ("station_km", "gravity_mgal")
    table = read_columns(config.inverse.observed, names, ("tolerance_mgal",))
    given = table.get("tolerance_mgal")
    tolerance = config.tolerance if given is None else tuple(given)
    stations = tuple(table["station_km"])
    simulator = Gravity(stations=stations, tolerance=tolerance, **options)
    _doubt_units(simulator, table["gravity_mgal"])
    return simulator, table["gravity_mgal"][None]


def _doubt_units(simulator: Gravity, gravity: np.ndarray) -> None:
    """Warns where most stations lie outside the valley, and where gravity is below the tolerance or
    above that of sediment as deep as the valley is wide."""
    stations, peak = np.asarray(simulator.stations), float(np.abs(gravity).max())
    said = f"column station_km: stations between {stations.min():,g} and {stations.max():,g}"
    unit = f"km from the left edge of the valley, 0 to {simulator.width:g}"
    outside = np.sort(stations[(stations < 0) | (stations > simulator.width)])
    typical = outside[len(outside) // 2] if 2 * len(outside) > len(stations) else 0.0
    doubt_unit(said, typical, (0, simulator.width), unit, {"metres": 1e-3})
    most = 2 * math.pi * MGAL_PER_KM * abs(simulator.contrast) * simulator.width
    usual, other = (float(simulator.sigma.min()), most), {"microgal": 1e-3, "m/s^2": 1e5}
    said = f"column gravity_mgal: gravity of at most {peak:,.4g} mGal"
    doubt_unit(said, peak, usual, f"mGal, {usual[0]:.3g} to {most:,.3g}", other)


def show(simulator: Gravity, views) -> list[Figure]:
    """Valley profiles of the posteriors of `views`, and gravity simulated again."""
    figures, order = [], np.argsort(simulator.stations)
    stations = np.asarray(simulator.stations)[order]
    for view in views:
        valley = plots.profile_bands(
            simulator.centres,
            view.samples,
            view.truth,
            view.reference,
            "distance (km)",
            "depth (km)",
            falling=True,
        )
        gravity = plots.predicted_data(
            stations,
            view.y[order],
            view.predicted[:, order],
            simulator.sigma[order],
            None,
            "distance (km)",
            "gravity (mGal)",
        )
        said = f"Gravity of posterior samples over the data, {view.caption}."
        figures += [
            (f"valley_{view.name}", valley, f"Depth of the valley, {view.caption}."),
            (f"gravity_{view.name}", gravity, said),
        ]
    return figures
