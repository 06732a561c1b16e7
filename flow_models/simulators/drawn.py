"""A problem that is known by its draws alone: pairs of parameters and data that the user has."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.errors import UserError
from flow_models.simulators.simulator import Simulator
from flow_models.sources import as_arrays


@dataclasses.dataclass(frozen=True)
class Drawn(Simulator):
    """Names and scales of pairs (x, y); it cannot simulate. Made by `of`.

    Attributes:
      names, observed: of the columns of x and of y.
      mean, scale: of the columns of x; theta = (x - mean) / scale.
    """

    names: tuple[str, ...]
    observed: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def of(cls, x, y, names=None, observed=None) -> Drawn:
        """From draws x [N, P] of the prior and data y [N, M] for them.

        Raises:
          UserError: unequal length, values that are not finite, or a column that does not vary.
        """
        pairs = as_arrays({"x": x, "y": y}, np.float64)
        for name, array in pairs.items():
            constant = np.flatnonzero(array.std(0) == 0)
            if len(constant):
                raise UserError(f"column {constant[0]} of {name} is constant: leave it out")
        x, y = pairs["x"], pairs["y"]
        names = names or [f"x{i + 1}" for i in range(x.shape[1])]
        observed = observed or [f"y{i + 1}" for i in range(y.shape[1])]
        if len(names) != x.shape[1] or len(observed) != y.shape[1]:
            raise UserError(f"{len(names)} and {len(observed)} names for {x.shape[1]} columns of x and {y.shape[1]} of y")
        return cls(tuple(names), tuple(observed), x.mean(0), x.std(0))

    @property
    def parameter_names(self):
        return self.names

    @property
    def data_names(self):
        return self.observed

    def physical(self, theta):
        return theta * tf.constant(self.scale, theta.dtype) + tf.constant(self.mean, theta.dtype)

    def whitened(self, x) -> np.ndarray:
        """theta [N, P] of x, computed in float64."""
        return (np.asarray(x, np.float64) - self.mean) / self.scale

    def whiten(self, x):
        theta = (x - tf.constant(self.mean, x.dtype)) / tf.constant(self.scale, x.dtype)
        return theta, tf.fill(tf.shape(x)[:1], tf.constant(-np.log(self.scale).sum(), x.dtype))
