"""Codecs: what one block is to the user, and how it becomes numbers of the network and comes back.

A model has one codec a block. `Noise` is here; `Columns`, `Pixels`, `Labels` and the codecs of
inverse problems have files of their own.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable
from flow_models.models.arguments import generator
from flow_models.models.rows import by_name

Shape = tuple[int, ...]


class Encoded(NamedTuple):
    """Values of a user as rows of the network.

    Attributes:
      rows: [B, *padded_shape]; NaN where a value has no place in the network.
      lead: leading shape of the user's values, of B rows in all.
      log_det: log |det d rows / d values| [B], or 0.
    """

    rows: np.ndarray
    lead: Shape
    log_det: np.ndarray | float = 0.0


@dataclasses.dataclass(frozen=True)
class Codec(Serializable):
    """The interface; a codec of one's own defines `shape` and `encode`, for x `decode` and `draw`
    too.
    """

    @property
    def tiles(self) -> tuple[tuple[int, int], ...]:
        """(tiles, rows a tile) that passes of the network are compiled for: about 1,000 rows of a
        network fit into the cache."""
        return (1, 64), (1, 1024), (16, 1024)

    @property
    def shape(self) -> Shape:
        """Of an event as the user sees it.

        Raises:
          TypeError: the subclass does not define it.
        """
        raise TypeError(f"{type(self).__name__} must define the property shape")

    @property
    def padded_shape(self) -> Shape:
        """Of an event as the network sees it."""
        return self.shape

    @property
    def flat_size(self) -> int:
        """How many numbers of the network an event takes."""
        return math.prod(self.padded_shape)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of an event; none where they have no names."""
        return ()

    def array(self, values) -> np.ndarray:
        """The user's values [..., *shape] as an array, taken by name where they have names.

        Raises:
          UserError: a name is missing.
        """
        return by_name(values, self.columns) if self.columns else np.asarray(values)

    def encode(self, values, dtype, seed: int = 0) -> Encoded:
        """The user's values [..., *shape] as rows of numbers of `dtype`.

        Raises:
          UserError: values of another shape or kind.
        """
        raise TypeError(f"{type(self).__name__} must define the method encode")

    def fitted_to(self, values, sides=None) -> "Codec":
        """The codec with what it takes from training data, before the first training; `sides` are
        the bounds that the network has."""
        return self

    @property
    def is_counted_as_it_is(self) -> bool:
        """Whether rows of the network are the user's numbers."""
        return True

    @property
    def far(self) -> bool:
        """Whether values lie so far from 0 that `prepare` must centre them."""
        return False

    def prepare(self, values):
        """Training data as `draw` takes them: what the host computes once, in float64."""
        return values

    def log_det(self, rows: tf.Tensor) -> tf.Tensor | float:
        """log |det d rows / d values| [B] of rows [B, ...] of a training step, where densities are
        per unit of the values; 0 where the objective is in units of the rows."""
        return 0.0

    def missing(self, values) -> np.ndarray:
        """Which of the user's events [..., *shape] lack a number, [...]."""
        return ~has_no_nan(values, self.shape)

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Rows [B, *padded_shape] as the user's values [B, *shape]."""
        return rows

    def samples(self, rows: np.ndarray) -> np.ndarray:
        """Rows [B, *padded_shape] as `Model.sample` gives them; by default as `decode` does."""
        return self.decode(rows)

    def draw(self, values: tf.Tensor, dtype: tf.DType, seed) -> tf.Tensor:
        """Rows of a training step [B, *padded_shape], of values that `fit` takes: `encode` written
        in TensorFlow.

        Raises:
          TypeError: the codec cannot be trained on.
        """
        raise TypeError(f"{type(self).__name__} must define the method draw to be trained")

    def as_numbers(self, values):
        """Training data [N, *shape] as numbers where they are objects or texts, else as they are.

        Raises:
          UserError: some are no numbers.
        """
        return values

    def check_bounds(self, values) -> None:
        """Raises UserError for training data [N, *shape] on a bound or outside."""

    def check(self, values: np.ndarray) -> None:
        """Raises UserError for training data [N, *shape] that have no density."""

    def arrays(self) -> dict[str, np.ndarray]:
        """Arrays, of any shape [...], that are saved beside the description of the codec."""
        return {}

    def with_arrays(self, arrays: dict[str, np.ndarray]) -> "Codec":
        """The codec with the arrays [...] that were saved."""
        return self


@dataclasses.dataclass(frozen=True)
class Noise(Codec):
    """A block of N(0, 1) numbers that the user does not see; it fills a side, or stands for noise.

    Attributes:
      size: its width.
    """

    size: int

    @property
    def shape(self):
        return (self.size,)

    def encode(self, values, dtype, seed=0):
        """`size` normal numbers for each of `values` rows."""
        rows = generator(seed).normal(size=(values, self.size)).astype(dtype)
        return Encoded(rows, (values,))

    def draw(self, values, dtype, seed):
        """`size` normal numbers for each of `values` rows, by a seed of two numbers."""
        return tf.random.stateless_normal([values, self.size], seed, dtype=dtype)

    def draws(self, n: int, dtype) -> list[tuple[np.ndarray, float]]:
        """n points [size] of a fixed low-discrepancy sample, each with its log-density, nats."""
        from scipy.stats import norm, qmc

        points = qmc.Sobol(self.size, seed=0).random_base2(math.ceil(math.log2(n)))[:n]
        points = norm.ppf(np.clip(points, 1e-6, 1 - 1e-6))
        return [(point.astype(dtype), float(norm.logpdf(point).sum())) for point in points]


def has_no_nan(x, shape: Shape) -> np.ndarray:
    """Which of the user's events hold no NaN, [...]."""
    x = np.asarray(x)
    return ~np.isnan(x).any(tuple(range(-len(shape), 0))) if x.dtype.kind == "f" else np.array(True)


def common_lead(of_x: Shape, of_y: Shape) -> Shape:
    """The leading shape of x and y together, by the rules of broadcasting.

    Raises:
      UserError: they do not go together.
    """
    try:
        return np.broadcast_shapes(of_x, of_y)
    except ValueError:
        raise UserError(
            f"x of {list(of_x)} rows and y of {list(of_y)} do not go together: give as many, or"
            " one y"
        ) from None
