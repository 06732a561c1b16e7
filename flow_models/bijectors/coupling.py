"""Coupling layers: one half gives, through a network, the parameters that transform the other."""

import dataclasses

import tensorflow as tf

from flow_models.bijectors.conditioned import Conditioned
from flow_models.bijectors.layer import floating, refill, sum_event
from flow_models.bijectors.networks import MLP, ConvNet


@dataclasses.dataclass(frozen=True)
class Coupling(Conditioned):
    """(a, b) -> (transform(b; network(a)), a), where a holds the first size // 2 dimensions.

    Density estimation using Real NVP (Dinh, Sohl-Dickstein and Bengio 2017). The halves change
    places, so the next coupling transforms the half that this one kept.

    Attributes: see `Conditioned`; `size` is at least 2.
    """

    @property
    def kept(self) -> int:
        """Dimensions that the network sees and the map leaves as they are."""
        return self.size // 2

    @property
    def transformed(self) -> int:
        return self.size - self.kept

    @property
    def network(self) -> MLP:
        outputs = self.transform.parameters * self.transformed
        return MLP(self.kept + self.condition_size, outputs, self.hidden, self.activation)

    def forward_and_log_det(self, weights, x, condition=None):
        a, b = x[..., : self.kept], x[..., self.kept :]
        b, log_slopes = self.transform.forward_and_log_det(
            self.parameters(weights, a, condition), b
        )
        return tf.concat([b, a], -1), sum_event(log_slopes)

    def inverse_and_log_det(self, weights, y, condition=None):
        b, a = y[..., : self.transformed], y[..., self.transformed :]
        b, log_slopes = self.transform.inverse_and_log_det(
            self.parameters(weights, a, condition), b
        )
        return tf.concat([a, b], -1), sum_event(log_slopes)

    def inverse_and_gradient(self, weights, y, dy, d_log_det, condition=None):
        """Evaluates the network once for both the inverse and the gradient: its input, the half
        that is kept, is the same in both."""
        cut = self.transformed
        a, b, da, db = y[..., cut:], y[..., :cut], dy[..., cut:], dy[..., :cut]
        seen = [a, *floating(weights), *([] if condition is None else [condition])]
        with tf.GradientTape(watch_accessed_variables=False) as network:
            network.watch(seen)
            o = self.parameters(refill(weights, seen[1:]), a, condition)
        b = self.transform.inverse_and_log_det(o, b)[0]
        with tf.GradientTape(watch_accessed_variables=False) as elementwise:
            elementwise.watch([b, o])
            transformed, log_slopes = self.transform.forward_and_log_det(o, b)
            log_det = sum_event(log_slopes)
        db, do = elementwise.gradient(
            [transformed, log_det], [b, o], [db, d_log_det], unconnected_gradients="zero"
        )
        d_seen, *rest = network.gradient(o, seen, do, unconnected_gradients="zero")
        d_condition = None if condition is None else rest.pop()
        return tf.concat([a, b], -1), tf.concat([da + d_seen, db], -1), rest, d_condition


@dataclasses.dataclass(frozen=True)
class ConvCoupling(Coupling):
    """A coupling of the channels of images [B, H, W, C] with a convolutional network (Glow, Kingma
    and Dhariwal 2018).

    `size` is the number of channels. The network has 3x3, 1x1, ..., 3x3 convolutions of the widths
    `hidden`, and sees a condition [B, C] at every position.
    """

    @property
    def network(self) -> ConvNet:
        outputs = self.transform.parameters * self.transformed
        return ConvNet(self.kept + self.condition_size, outputs, self.hidden, self.activation)


@dataclasses.dataclass(frozen=True)
class CheckerboardCoupling(Conditioned):
    """Transforms the pixels of one colour of a checkerboard with parameters read off the other.

    The spatial mask of Real NVP (Dinh, Sohl-Dickstein and Bengio 2017, section 3.4), for images
    [B, H, W, C].

    Attributes:
      colour: 0 transforms the pixels (i, j) with even i + j, 1 those with odd i + j.

    Others as in `Conditioned`; `size` is the number of channels.
    """

    colour: int = 0

    @property
    def network(self) -> ConvNet:
        outputs = self.transform.parameters * self.size
        return ConvNet(self.size + self.condition_size, outputs, self.hidden, self.activation)

    def _mask(self, x):
        """[H, W, 1]: 1 for pixels that are transformed, 0 for pixels that the network reads."""
        height, width = x.shape[1:3]
        rows, columns = tf.range(height)[:, None], tf.range(width)[None]
        return tf.cast((rows + columns + self.colour + 1) % 2, x.dtype)[..., None]

    def _run(self, direction, weights, x, condition):
        mask = self._mask(x)
        o = self.parameters(weights, x * (1 - mask), condition)
        y, log_slopes = direction(o, x)
        return x + mask * (y - x), sum_event(mask * log_slopes)

    def forward_and_log_det(self, weights, x, condition=None):
        return self._run(self.transform.forward_and_log_det, weights, x, condition)

    def inverse_and_log_det(self, weights, y, condition=None):
        return self._run(self.transform.inverse_and_log_det, weights, y, condition)
