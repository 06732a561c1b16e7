"""Data: point sets with exact densities, tables, and images, the user's own or from packages; and
densities without data.

They are imported when they are first used: `flow_models.data.points.get("moons")`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flow_models.data import images as images
    from flow_models.data import points as points
    from flow_models.data import tables as tables
    from flow_models.data import targets as targets
else:

    def __getattr__(name: str):
        if name in ("images", "points", "tables", "targets"):
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
