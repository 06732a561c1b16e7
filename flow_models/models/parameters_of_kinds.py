"""Parameters of several kinds: posteriors with probabilities of categories and whole numbers."""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models.models.columns import Columns
from flow_models.simulators.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class ParametersOfKinds(Columns):
    """Parameters x [..., P] that are numbers, whole numbers, categories and the like, see
    `Columns`: log p(x | y) counts a density for each number, a probability for each of the others.

    Training arrays are prepared numbers, as those of other parameters are whitened.

    Attributes:
      simulator: names of the prepared numbers and of the data.
    """

    simulator: Simulator | None = None

    def frame(self, values):
        """Values [..., P] as a DataFrame of rows."""
        import pandas as pd

        values = self.array(values)
        if hasattr(values, "columns"):
            return values[list(self.names)]
        rows = np.reshape(values, (-1, len(self.names)))
        return pd.DataFrame(rows, columns=list(self.names)).infer_objects()

    def prepare(self, values):
        return super().prepare(values) if hasattr(values, "columns") else values

    def check_bounds(self, values):
        if hasattr(values, "columns"):
            super().check_bounds(values)

    def encode(self, values, dtype, seed=0):
        lead = np.shape(self.array(values))[:-1]
        return super().encode(self.frame(values), dtype, seed)._replace(lead=lead)

    def decode(self, rows):
        """A DataFrame of rows [n, P]; of more axes an array, of objects where some are text."""
        found = super().decode(rows.reshape(-1, rows.shape[-1]))
        if rows.ndim == 2 or not hasattr(found, "columns"):
            return found if rows.ndim == 2 else found.reshape(rows.shape)
        return found.to_numpy().reshape(rows.shape)
