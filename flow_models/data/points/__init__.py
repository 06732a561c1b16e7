"""Point sets whose density is known exactly: `names()`, `describe(name)`, `get(name)`."""

from flow_models.data.catalogue import Catalogue
from flow_models.data.points import modes, noisy_curves, plane
from flow_models.data.points.point_set import PointSet

__all__ = ["PointSet", "describe", "get", "modes", "names"]

_CATALOGUE = Catalogue("point set", [*noisy_curves.SETS, *plane.SETS])
names, describe, get = _CATALOGUE.names, _CATALOGUE.describe, _CATALOGUE.get
