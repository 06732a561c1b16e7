"""Eight Gaussians in the plane with labels, density and class probabilities known exactly.

The problem of Analyzing Inverse Problems with Invertible Neural Networks (Ardizzone et al. 2019).
"""

import dataclasses
import functools

import numpy as np

from flow_models.core.failures import pick
from flow_models.core.startup import load_tensorflow
from flow_models.data.points.point_set import on_grid

CENTRES = np.transpose(
    [
        (-2.4142, -1, 1, 2.4142, 2.4142, 1, -1, -2.4142),
        (1, 2.4142, 2.4142, 1, -1, -2.4142, -2.4142, -1),
    ]
)
SD = 0.2
LABELS = {"all": tuple(range(8)), "some": (0, 0, 0, 0, 1, 1, 2, 3), "none": (0,) * 8}


@dataclasses.dataclass(frozen=True)
class EightModes:
    """Equally likely modes at CENTRES with standard deviation SD; `labels` gives each mode its
    class."""

    labels: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(str(label) for label in range(max(self.labels) + 1))

    @property
    def priors(self) -> tuple[float, ...]:
        return tuple(np.bincount(self.labels) / 8)

    def draw(self, n: int, seed):
        """x float32 [n, 2] and class numbers [n]; `seed` a pair of integers, pure, compiled or
        not."""
        tf = load_tensorflow()
        seeds = tf.random.split(tf.convert_to_tensor(seed, tf.int32), 2)
        mode = tf.random.stateless_uniform([n], seeds[0], 0, 8, tf.int32)
        x = tf.gather(tf.constant(CENTRES, tf.float32), mode) + SD * tf.random.stateless_normal(
            [n, 2], seeds[1]
        )
        return x, tf.gather(tf.constant(self.labels), mode)

    def class_log_prob(self, x) -> np.ndarray:
        """log p(x | class), float64 [N, M]."""
        logs = _log_modes(np.asarray(x, np.float64))
        mine = np.array(self.labels) == np.arange(len(self.classes))[:, None]
        return np.logaddexp.reduce(np.where(mine, logs[:, None], -np.inf), -1) - np.log(mine.sum(1))

    def log_prob(self, x) -> np.ndarray:
        """log p(x), float64 [N]."""
        return np.logaddexp.reduce(_log_modes(np.asarray(x, np.float64)), 1) - np.log(8)

    def posterior(self, x) -> np.ndarray:
        """p(class | x), float64 [N, M]: what no classifier can beat."""
        return np.exp(self.class_log_prob(x) + np.log(self.priors) - self.log_prob(x)[:, None])

    @functools.cached_property
    def entropy(self) -> float:
        """Of p(x), nats: 1.69844."""
        return on_grid(self.log_prob, [-4.5, -4.5], [4.5, 4.5], 0.4 * SD)[0]


def get(labels: str) -> EightModes:
    """The problem with labels all, some or none. Raises UserError for another word."""
    return EightModes(pick(LABELS, labels, "labelling of the eight modes"))


def nearest_mode(x) -> tuple[np.ndarray, np.ndarray]:
    """Number of the nearest mode and the distance to it in standard deviations, [N] each."""
    distances = np.linalg.norm(np.asarray(x)[:, None] - CENTRES, axis=-1) / SD
    return distances.argmin(1), distances.min(1)


def _log_modes(x):
    """log N(x; centre, SD^2 I), [N, 8]."""
    return -0.5 * ((x[:, None] - CENTRES) ** 2).sum(-1) / SD**2 - np.log(2 * np.pi * SD**2)
