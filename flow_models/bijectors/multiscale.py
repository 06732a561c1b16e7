"""Levels of resolution: after each, half of the channels become latents (Real NVP, Dinh et al.
2017)."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.layer import Layer, no_log_det
from flow_models.core.errors import UserError


@dataclasses.dataclass(frozen=True)
class MultiScale(Layer):
    """Images [B, H, W, C] -> latents [B, H W C], those of the coarsest level first.

    Each level halves the resolution and multiplies the channels by four (its first layer is a
    `Squeeze`). After every level but the last, the first half of the channels leaves. The last
    layer of a level may be a coupling that makes the leaving half standard normal given the rest: a
    learned prior. Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio 2017, section
    3.6), with the prior of Glow (Kingma and Dhariwal 2018).

    Attributes:
      shape: (H, W, C) of the images.
      levels: one layer per level, images to images.
      free: number of levels, the finest ones, that see no condition.
    """

    shape: Sequence[int]
    levels: Sequence[Layer]
    free: int = 0

    def __post_init__(self):
        super().__post_init__()
        height, width, _ = self.shape
        block = 2 ** len(self.levels)
        if height % block or width % block:
            raise UserError(
                f"images of {height}x{width} with {len(self.levels)} levels: both sides must be"
                f" multiples of {block}; take fewer levels, or let the model pad them"
            )

    def init(self, rng):
        return [level.init(rng) for level in self.levels]

    def _shapes(self):
        """The shape at the end of each level, and the number of channels that stay."""
        height, width, channels = self.shape
        shapes = []
        for number in range(1, len(self.levels) + 1):
            height, width, channels = height // 2, width // 2, 4 * channels
            stays = channels if number == len(self.levels) else channels // 2
            shapes.append(((height, width, channels), stays))
            channels = stays
        return shapes

    def forward_and_log_det(self, weights, x, condition=None):
        total, latents = no_log_det(x), []
        for number, (level, w, (_, stays)) in enumerate(zip(self.levels, weights, self._shapes())):
            x, log_det = level.forward_and_log_det(w, x, self._seen(condition, number))
            total += log_det
            latents.append(_flat(x[..., :-stays]))
            x = x[..., -stays:]
        return tf.concat([_flat(x), *reversed(latents[:-1])], 1), total

    def _seen(self, condition, number):
        """The condition, or None for a level that sees none."""
        return None if number < self.free else condition

    def forward_of_each(self, weights, x, conditions):
        """The levels that see no condition run once for all conditions."""
        count = conditions.shape[0]
        if not self.free:
            return super().forward_of_each(weights, x, conditions)
        total, latents = no_log_det(x), []
        for level, w, (_, stays) in zip(self.levels[: self.free], weights, self._shapes()):
            x, log_det = level.forward_and_log_det(w, x)
            total += log_det
            latents.append(_flat(x[..., :-stays]))
            x = x[..., -stays:]
        rest = MultiScale(tuple(x.shape[1:]), self.levels[self.free :])
        z, log_det = rest.forward_of_each(weights[self.free :], x, conditions)
        return tf.concat(
            [z, *(tf.repeat(each, count, 0) for each in reversed(latents))], 1
        ), log_det + tf.repeat(total, count, 0)

    def _parts(self, z):
        """The shapes of the levels, and the latents of each by its number."""
        shapes = self._shapes()
        sizes = [int(np.prod(shape)) - int(np.prod(shape[:2])) * stays for shape, stays in shapes]
        sizes[-1] = int(np.prod(shapes[-1][0]))
        parts = dict(zip(reversed(range(len(sizes))), tf.split(z, sizes[::-1], 1)))
        return shapes, parts

    def inverse_and_log_det(self, weights, y, condition=None):
        shapes, parts = self._parts(y)
        total, x = no_log_det(y), None
        for number, (level, w) in reversed(list(enumerate(zip(self.levels, weights)))):
            x = self._joined(x, parts[number], shapes[number])
            x, log_det = level.inverse_and_log_det(w, x, self._seen(condition, number))
            total += log_det
        return x, total

    def _joined(self, stayed, left, shape):
        """The output of a level, from the latents that left and the channels that stayed (None at
        the coarsest level)."""
        (height, width, channels), stays = shape
        if stayed is None:
            return tf.reshape(left, [-1, height, width, channels])
        return tf.concat([tf.reshape(left, [-1, height, width, channels - stays]), stayed], -1)

    def inverse_and_gradient(self, weights, y, dy, d_log_det, condition=None):
        shapes, parts = self._parts(y)
        d_parts, x, dx, gradients = self._parts(dy)[1], None, None, []
        d_condition = None if condition is None else tf.zeros_like(condition)
        for number, (level, w) in reversed(list(enumerate(zip(self.levels, weights)))):
            x, dx = (
                self._joined(x, parts[number], shapes[number]),
                self._joined(dx, d_parts[number], shapes[number]),
            )
            x, dx, dw, dc = level.inverse_and_gradient(
                w, x, dx, d_log_det, self._seen(condition, number)
            )
            gradients = dw + gradients
            d_condition = d_condition if dc is None else d_condition + dc
        return x, dx, gradients, d_condition

    def data_dependent_init(self, weights, x, condition=None):
        started, latents = [], []
        for number, (level, w, (_, stays)) in enumerate(zip(self.levels, weights, self._shapes())):
            w, x = level.data_dependent_init(w, x, self._seen(condition, number))
            started.append(w)
            latents.append(_flat(x[..., :-stays]))
            x = x[..., -stays:]
        return started, tf.concat([_flat(x), *reversed(latents[:-1])], 1)


def _flat(x):
    return tf.reshape(x, [-1, int(np.prod(x.shape[1:]))])
