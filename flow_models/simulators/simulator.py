"""The interface of a simulator: a prior in whitened coordinates, a forward model, and noise."""

import dataclasses
import math
from typing import Any

import tensorflow as tf

from flow_models.core.serializable import Serializable


@dataclasses.dataclass(frozen=True)
class Simulator(Serializable):
    """y = forward(theta) + noise with theta ~ N(0, I): pure, compilable, differentiable, batched
    TensorFlow.

    Shapes: whitened parameters theta [B, P], the user's parameters x [B, P], data y [B, M]; all of
    one floating type. If the noise level varies, the last column of y is log sigma.
    """

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """P names of the columns of x, with units: "depth_0.5_km"."""
        raise AssertionError(f"{type(self).__name__} does not name its parameters")

    @property
    def data_names(self) -> tuple[str, ...]:
        """M names of the columns of y, with units."""
        raise AssertionError(f"{type(self).__name__} does not name its data")

    @property
    def size(self) -> int:
        """P, the number of parameters."""
        return len(self.parameter_names)

    @property
    def data_size(self) -> int:
        """M, the number of data, including log sigma if the noise level varies."""
        return len(self.data_names)

    def physical(self, theta: tf.Tensor) -> tf.Tensor:
        """x [..., P], in the user's units, of theta [..., P]; samples of several posteriors are [B,
        S, P]."""
        raise AssertionError(f"{type(self).__name__} does not define its parameters")

    def whiten(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """theta [B, P] and log |det dtheta/dx| [B]: the inverse of `physical`."""
        raise AssertionError(f"{type(self).__name__} does not define the inverse of its parameters")

    def forward(self, theta: tf.Tensor) -> tf.Tensor:
        """Noise-free data [B, M] of theta [B, P], without the column of log sigma."""
        raise AssertionError(f"{type(self).__name__} does not define its forward model")

    def observe(self, clean: tf.Tensor, seed) -> tf.Tensor:
        """y [B, M] from noise-free data. A varying log sigma is drawn here. Equal seeds give equal
        noise."""
        raise AssertionError(f"{type(self).__name__} does not define its noise")

    def residual_and_jacobian(self, theta: tf.Tensor, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """r [B, M'] and dr/dtheta [B, M', P].

        r = (forward(theta) - y), decorrelated and in units of the noise: -|r|^2 / 2 is the
        log-likelihood up to a constant.
        """
        raise AssertionError(f"{type(self).__name__} does not linearise its forward model")

    @property
    def decorrelated_size(self) -> int:
        """M', the width of `decorrelated` data."""
        return self.data_size - self.noise_varies

    @property
    def noise_varies(self) -> bool:
        """Whether the last column of y is log sigma."""
        return False

    @property
    def simulates(self) -> bool:
        """Whether `forward` and `observe` can run; not where pairs are all that is known."""
        return True

    @property
    def needs_float64(self) -> bool:
        """Whether parameters lie so far from 0, beside their spread, that float32 rounds them."""
        return False

    @property
    def by_xla(self) -> bool:
        """Whether XLA can compile it: not if NumPy does the work. Noise-free data may then be NaN
        in rows that cannot be simulated."""
        return True

    @property
    def sampling(self) -> dict[str, Any]:
        """Settings of the reference sampler (`reference.Sampling`) that differ from its defaults
        here."""
        return {}

    def noise_level(self, y: tf.Tensor) -> tf.Tensor:
        """The noise level [B] of each row of y, if it varies."""
        return tf.exp(y[:, -1])

    def residual(self, theta: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """r [B, M'], the first of `residual_and_jacobian`."""
        return self.residual_and_jacobian(theta, y)[0]

    def decorrelated(self, y: tf.Tensor) -> tf.Tensor:
        """y [B, M] -> [B, M']: data whose noise is uncorrelated and has the same size in all
        components, sigma if it varies."""
        residual = self.residual(tf.zeros([tf.shape(y)[0], self.size], y.dtype), y)
        return residual * self.noise_level(y)[:, None] if self.noise_varies else residual

    def log_posterior(self, theta: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        """log p(theta) + log p(y | theta) [B], up to a constant."""
        return -0.5 * (
            tf.reduce_sum(tf.square(self.residual(theta, y)), -1)
            + tf.reduce_sum(tf.square(theta), -1)
        )

    def prior(self, n: int, seed, dtype=tf.float32) -> tf.Tensor:
        """n draws theta [n, P]."""
        return tf.random.stateless_normal([n, self.size], seed, dtype=dtype)

    def simulate(self, n: int, seed, dtype=tf.float32) -> tuple[tf.Tensor, tf.Tensor]:
        """Pairs (theta [n, P], y [n, M]); equal seeds give equal pairs."""
        seeds = tf.random.split(tf.cast(seed, tf.int32), 2)
        theta = self.prior(n, seeds[0], dtype)
        return theta, self.observe(self.forward(theta), seeds[1])


def log_uniform(rows, bounds: tuple[float, float], seed, dtype=tf.float32) -> tf.Tensor:
    """log sigma [rows], uniform between the logarithms of the bounds."""
    low, high = (math.log(bound) for bound in bounds)
    return low + (high - low) * tf.random.stateless_uniform([rows], seed, dtype=dtype)
