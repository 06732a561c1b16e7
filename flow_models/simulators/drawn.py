"""A problem known by its draws alone: pairs of parameters and data that the user has."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.core import bounds
from flow_models.core.arrays import as_arrays, dependent_columns
from flow_models.core.errors import UserError
from flow_models.simulators.simulator import Simulator

LARGEST = 1e18  # of y: its square is finite in float32
FAR = 1e3  # standard deviations from 0, beyond which float32 rounds a parameter
STEPS = 100  # of float32 that a standard deviation must span


@dataclasses.dataclass(frozen=True)
class Drawn(Simulator):
    """Names and scales of pairs (x, y), made by `of`. It cannot simulate.

    Attributes:
      names, observed: names of the columns of x and of y.
      mean, scale: of the columns of x; theta = (x - mean) / scale. Where a column has a bound near
        by, the bound stands in place of the mean.
      lower, upper: bounds of x, None where there is none; empty for no bounds at all.
    """

    names: tuple[str, ...]
    observed: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    lower: tuple[float | None, ...] = ()
    upper: tuple[float | None, ...] = ()

    @classmethod
    def of(cls, x, y, names=None, observed=None, lower=None, upper=None) -> Drawn:
        """The problem of draws x [N, P] from the prior and their data y [N, M].

        Raises:
          UserError: unequal lengths, values that are not finite, names that do not fit, or a
            column that is constant in float32; bounds that do not fit, or x outside of them.
        """
        pairs = as_arrays({"x": x, "y": y}, np.float64)
        for name, array in pairs.items():
            constant = np.flatnonzero(array.std(0) == 0)
            if len(constant):
                raise UserError(f"column {constant[0]} of {name} is constant: leave it out")
        x, y = pairs["x"], pairs["y"]
        names = [f"x{i + 1}" for i in range(x.shape[1])] if names is None else names
        observed = [f"y{i + 1}" for i in range(y.shape[1])] if observed is None else observed
        if len(names) != x.shape[1] or len(observed) != y.shape[1]:
            raise UserError(
                f"{len(names)} and {len(observed)} names for {x.shape[1]} columns of x and"
                f" {y.shape[1]} of y"
            )
        for given in (names, observed):
            if isinstance(given, str) or len({str(name) for name in given}) < len(given):
                raise UserError(
                    f"names are a list with one of its own for each column, got {given!r}"
                )
        found = dependent_columns(x)
        if found:
            which = " and ".join(repr(str(names[i])) for i in found)
            raise UserError(f"columns {which} of x depend on each other linearly: leave one out")
        _check_digits(y, observed)
        names, mean, scale = tuple(map(str, names)), x.mean(0), x.std(0)
        if lower is not None or upper is not None:
            lower, upper = bounds.of_columns(lower, upper, names)
            bounds.check(x, names, lower, upper)
            columns = zip(mean, scale, lower, upper, strict=True)
            mean = np.array([bounds.origin(*each) for each in columns])
        return cls(names, tuple(map(str, observed)), mean, scale, lower or (), upper or ())

    @property
    def parameter_names(self):
        return self.names

    @property
    def data_names(self):
        return self.observed

    @property
    def simulates(self):
        return False

    @property
    def needs_float64(self):
        far = any(abs(m) > FAR * s for m, s in zip(self.mean, self.scale, strict=True))
        return far or bool(self.lower)

    @property
    def whitened_bounds(self) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
        """Bounds of theta, lower and upper; empty for none."""
        return self._in_theta(self.lower), self._in_theta(self.upper)

    def _in_theta(self, side: tuple[float | None, ...]) -> tuple[float | None, ...]:
        scales = zip(self.mean, self.scale)
        return tuple(None if b is None else (b - m) / s for b, (m, s) in zip(side, scales))

    def physical(self, theta):
        x = theta * tf.constant(self.scale, theta.dtype) + tf.constant(self.mean, theta.dtype)
        if not self.lower:
            return x
        columns = zip(tf.unstack(x, axis=-1), self.lower, self.upper, strict=True)
        inside = [bounds.inside(column.numpy(), low, high) for column, low, high in columns]
        return tf.stack(inside, -1)

    def whitened(self, x) -> np.ndarray:
        """theta [N, P] of x, computed in float64."""
        return self._placed((np.asarray(x, np.float64) - self.mean) / self.scale)

    def allows(self, theta: np.ndarray) -> np.ndarray:
        """Which theta [..., P] are strictly inside the bounds, in the user's units, [...]."""
        x = theta.astype(np.float64) * self.scale + self.mean
        inside = np.isfinite(x.sum(-1))
        for place, sides in enumerate(zip(self.lower, self.upper)):
            inside &= ~bounds.is_outside(x[..., place], *sides)
        return inside

    def _placed(self, theta: np.ndarray) -> np.ndarray:
        """theta that stays between its bounds in float32."""
        if not self.lower:
            return theta
        columns = zip(theta.T, *self.whitened_bounds, strict=True)
        inside = [bounds.inside(x, low, high, np.float32) for x, low, high in columns]
        return np.stack(inside, 1)

    def whiten(self, x):
        theta = (x - tf.constant(self.mean, x.dtype)) / tf.constant(self.scale, x.dtype)
        if self.lower:
            columns = zip(x.numpy().T, self.lower, self.upper, strict=True)
            outside = np.stack([bounds.is_outside(*each) for each in columns], 1)
            theta = tf.where(outside, np.nan, self._placed(theta.numpy()))
        return theta, tf.fill(tf.shape(x)[:1], tf.constant(-np.log(self.scale).sum(), x.dtype))


def _check_digits(y, observed) -> None:
    """Raises UserError for data that become constant or overflow in float32, which the network
    uses."""
    largest = np.abs(y).max(0)
    for name, most, deviation in zip(observed, largest, y.std(0)):
        if most > LARGEST:
            raise UserError(
                f"column {name} of y reaches {most:g}, too large for 32-bit numbers: rescale it"
            )
        if deviation < STEPS * np.spacing(np.float32(most)):
            raise UserError(
                f"column {name} of y varies by {deviation:.3g} around {most:.9g}, too little for"
                " 32-bit numbers: subtract an offset first"
            )
