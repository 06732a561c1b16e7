"""Gravity profiles of the user's own, and figures of what they say: application 6."""

from __future__ import annotations

import numpy as np

from flow_models import plots
from flow_models.applications.application import Figure
from flow_models.applications.inverse.observed import read_columns
from flow_models.simulators.gravity import Gravity


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
    return simulator, table["gravity_mgal"][None]


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
