"""The leaky rectifier, which TensorFlow Probability lacks."""

import dataclasses
import math

import tensorflow as tf

from flow_models.bijectors.layer import Layer, sum_event
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class LeakyReLU(Layer):
    """y = x where x > 0, slope x elsewhere."""

    slope: float = 0.3
    sees_condition = False

    def __post_init__(self):
        super().__post_init__()
        if not self.slope > 0:
            raise UserError(f"slope is {self.slope}, must be above 0")

    def forward_and_log_det(self, weights, x, condition=None):
        y = tf.where(x > 0, x, self.slope * x)
        return y, sum_event(tf.where(x > 0, tf.zeros_like(x), math.log(self.slope)))

    def inverse_and_log_det(self, weights, y, condition=None):
        return LeakyReLU(1.0 / self.slope).forward_and_log_det(weights, y)
