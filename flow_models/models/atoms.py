"""Columns of numbers with one value that has a probability of its own."""

import dataclasses
import math
from typing import ClassVar

import numpy as np

from flow_models.bijectors import cdf
from flow_models.core.errors import UserError, warn
from flow_models.models.kinds import NOISE, Kind, most_frequent, numbers

NOWHERE = -5.0  # a number of the network that a one-sided atom gives no density


@dataclasses.dataclass(frozen=True)
class Atom(Kind):
    """A number with one value of a probability of its own, such as rain that is 0 on most days; log
    p has this probability at the atom and a density elsewhere.

    Attributes:
      atom: the value.
      share: of it in the training data.
      scale: of the other values' distance from it.
      side: 1 where all others are above it, -1 below, 0 on both sides.
      middle, spread: of the distance in scales, or of its logarithm on one side.
    """

    name: ClassVar[str] = "atom"
    noisy: ClassVar[bool] = True
    atom: float = 0.0
    share: float = 0.5
    scale: float = 1.0
    side: int = 1
    middle: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, values, atom: float | None = None):
        """Of the atom, or, where none is told, of the most frequent value of the numbers [N]."""
        known = numbers(values)
        known = known[np.isfinite(known)]
        atom = float(most_frequent(known)[0] if atom is None else atom)
        is_atom = known == atom
        rest = known[~is_atom] - atom
        if len(rest) < 2 or not is_atom.any() or rest.std() == 0:
            raise UserError(f"it needs the atom {atom:g} and other values that vary")
        side = int(rest.min() > 0) - int(rest.max() < 0)
        scale = float(np.median(np.abs(rest)))
        w = np.log(np.abs(rest) / scale) if side else rest / scale
        return cls(atom, float(is_atom.mean()), scale, side, float(w.mean()), float(w.std()) or 1.0)

    def bounded(self, lower, upper, values=None):
        """Itself; warns of a bound that samples may cross, any but the atom where all others are on
        one side of it."""
        kept = {1: upper is None and (lower is None or lower <= self.atom)}
        kept |= {-1: lower is None and (upper is None or upper >= self.atom)}
        if not kept.get(self.side, lower is None and upper is None):
            warn(f"samples may cross the bounds of a number with an atom, here {self.atom:g}")
        return self

    def prepare(self, values):
        """The distance in scales; 0 is the atom, which `placed` puts into its gap. Where values are
        on one side, those on the other have no density."""
        distance = (numbers(values) - self.atom) / self.scale
        distance = -distance if self.side < 0 else distance
        return np.where(distance < 0, NOWHERE, distance) if self.side else distance

    def placed(self, rows, noise):
        edge = self.cdf.edge
        at_atom = edge - 1 + NOISE * noise
        if isinstance(rows, np.ndarray):
            return np.where(rows == 0, at_atom, rows + edge * np.sign(rows))
        import tensorflow as tf

        return tf.where(rows == 0, at_atom, rows + edge * tf.sign(rows))

    def decode(self, rows):
        edge, rows = self.cdf.edge, rows.astype(np.float64)
        distance = np.where(rows >= edge, rows - edge, rows + edge) * (-1 if self.side < 0 else 1)
        is_atom = (rows >= edge - 1) & (rows < edge)
        return np.where(is_atom, self.atom, self.atom + self.scale * distance)

    def log_det(self, rows):
        edge = self.cdf.edge
        is_atom = (rows >= edge - 1) & (rows < edge)
        return -math.log(self.scale) * _float_of(~is_atom, rows)

    @property
    def cdf(self):
        return cdf.AtomCDF(self.share, self.side == 0, self.middle, self.spread)

    def __str__(self):
        return f"continuous with an atom: {100 * self.share:.0f}% are {self.atom:g}"


def _float_of(mask, like):
    if isinstance(like, np.ndarray):
        return mask.astype(like.dtype)
    import tensorflow as tf

    return tf.cast(mask, like.dtype)
