"""The two problems of application 7: seismograms, and dispersion curves of surface waves."""

from __future__ import annotations

import math

import numpy as np

from flow_models.applications.inverse import curves, traces
from flow_models.core.errors import UserError
from flow_models.simulators.dispersion import Dispersion, loaded_package
from flow_models.simulators.seismic import Seismograms

THICKNESS = 0.035  # km of the layers of the hard problem


def simulator_of(config):
    """The simulator, and the module of its users' side: `read` and `show`."""
    if config.problem == "dispersion":
        loaded_package()  # a missing one is told of before there is a folder
        return Dispersion(), curves
    return Seismograms(layer_thickness=THICKNESS if config.hard else 0.0), traces


def observed(config, simulator, side) -> np.ndarray | None:
    """The user's data [1, M], where there are some."""
    if not 0 <= config.sigma < math.inf:
        raise UserError(
            f"sigma is {config.sigma:g}; it must be above 0, or 0 where the file has it"
        )
    uri = config.inverse.observed
    return side.read(uri, config.sigma, simulator) if uri else None


def components_of(config, simulator) -> int:
    """Principal components of the data that the flow sees.

    Raises:
      UserError: more than the traces have samples.
    """
    most = simulator.decorrelated_size
    if config.problem == "seismograms" and config.components > most:
        raise UserError(f"components is {config.components}; the traces have {most} samples in all")
    return min(config.components, most)
