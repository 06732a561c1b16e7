"""A mixture of Gaussians as a flow: the conditional distribution functions of its columns, one
after another."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.cdf import LOG_TWO_PI, tail_quantile
from flow_models.bijectors.layer import Frozen, Layer
from flow_models.bijectors.yeo_johnson import YeoJohnson, bend, unbend
from flow_models.diagnostics import stacking
from flow_models.diagnostics.stacking import OTHERS, Stack

LEAST = 1e-300  # of a tail probability whose quantile is taken, |z| = 37
ROUNDS = 40  # of Newton's method with a bracket, at most
FAR = 1e3  # a u beyond all
UNLIKELY = -80.0  # log-weight of components that bracket no quantile


@dataclasses.dataclass(frozen=True)
class MixtureCDF(Layer):
    """z_i = Phi^-1(F(x_i | x_1 .. x_(i-1))), F of a mixture of Gaussians measured from the data.

    With u_k = A_k (t_k(x) - m_k), A_k lower triangular and t_k elementwise, component k has the
    density prod_i N(u_ki; 0, 1) A_kii t_k'(x_i). Hence

        F(x_i | x_1 .. x_(i-1)) = sum_k w_ki Phi(u_ki),   w_(k,i+1) ~ w_ki N(u_ki) A_kii t_k'(x_i),

    and where z is N(0, I), x has exactly the density of the mixture (Remarks on a multivariate
    transformation, Rosenblatt 1952). Nothing is trained: `data_dependent_init` stacks kernels at
    the rows, Gaussian mixtures and Gaussians by cross-validation (`diagnostics.stacking`), in the
    units of the data (standardised) and with columns made less skewed.

    Columns of whole numbers come as k + u, 0 <= u < 1. Their density is
    P(k | ...) = sum_k w_ki (Phi(u_ki(k + 1)) - Phi(u_ki(k))), whatever u is; columns after them
    see k + 1/2. Computed in float64.

    Attributes:
      size: columns D.
      rows: training rows, whose first `rows` the mixture is measured from.
      whole: for each column None for numbers, or the least and the largest whole number, None for
        no limit: what a component has beyond them it has at them. Empty: all are numbers.
    """

    size: int
    rows: int
    whole: Sequence[Sequence[float | None] | None] = ()

    def init(self, rng):
        count, ones = self.rows + OTHERS, np.ones(self.size, np.float32)
        return {
            "mean": Frozen(0 * ones),
            "sd": Frozen(ones),
            "power": Frozen(ones),
            "bent_mean": Frozen(0 * ones),
            "bent_sd": Frozen(ones),
            "log_weights": Frozen(np.full(count, -np.log(count), np.float32)),
            "centres": Frozen(np.zeros((count, self.size), np.float32)),
            "factors": Frozen(np.tile(np.eye(self.size, dtype=np.float32), (1 + OTHERS, 1, 1))),
            "bent": Frozen(np.zeros(1 + OTHERS, np.float32)),
        }

    def data_dependent_init(self, weights, x, condition=None):
        new = self._measured(tf.convert_to_tensor(x))[0]
        return new, self.forward_and_log_det(new, x)[0]

    def cross_fitted(self, weights, x) -> tuple[np.ndarray, np.ndarray]:
        """Latents and log-determinants of training rows x [N, D], of each row by the mixture of
        the others' folds; of rows that the mixture was not measured from, by the whole one."""
        _, left_out, folds = self._measured(tf.convert_to_tensor(x))
        z, log_det = (each.numpy() for each in self.forward_and_log_det(weights, x))
        for fold, found in enumerate(left_out):
            out = np.flatnonzero(folds == fold)
            z[out], log_det[out] = self.forward_and_log_det(found, tf.gather(x, out))
        return z, log_det

    def _measured(self, x):
        """Weights from rows x [N, D], those without each fold, and the folds of the first rows."""
        rows = tf.cast(x[: self.rows], tf.float64)
        charts = self._measured_charts(rows)
        plain, bent = self._charts(charts, rows)
        slopes = tf.reduce_sum(bent[1] - plain[1], 1).numpy()
        stack, left_out, folds = stacking.stacked(
            [plain[0].numpy(), bent[0].numpy()], slopes, self.rows
        )

        def weights_of(found):
            named = {**charts, **_arrays(found)}
            return {name: tf.cast(value, x.dtype) for name, value in named.items()}

        return weights_of(stack), [weights_of(found) for found in left_out], folds

    def _measured_charts(self, rows):
        mean, sd = tf.reduce_mean(rows, 0), _spread(rows)
        power = YeoJohnson(self.size).data_dependent_init({}, (rows - mean) / sd)[0]["power"]
        y = bend(power, (rows - mean) / sd)[0]
        of_bent = {"bent_mean": tf.reduce_mean(y, 0), "bent_sd": _spread(y)}
        return {"mean": mean, "sd": sd, "power": power, **of_bent}

    def _charts(self, w, x):
        """Both t(x) [B, D], and log t'(x)."""
        s = (x - w["mean"]) / w["sd"]
        slope = tf.zeros_like(s) - tf.math.log(w["sd"])
        y, bending = bend(w["power"], s)
        y = (y - w["bent_mean"]) / w["bent_sd"]
        return (s, slope), (y, slope + bending - tf.math.log(w["bent_sd"]))

    def forward_and_log_det(self, weights, x, condition=None):
        w, rows = _in_float64(weights), tf.cast(x, tf.float64)
        charts = [chart for chart, _ in self._charts(w, self._midpoints(rows))]

        def step(i, log_w, z, total):
            column, value = _Column(self, w, i, charts, log_w), tf.gather(rows, i, axis=1)
            log_p = column.log_p(value)
            found = _quantile(*column.tails(value))
            log_f = tf.reduce_logsumexp(log_w + log_p, 1)
            total += log_f + 0.5 * (found * found + LOG_TWO_PI)
            return i + 1, log_w + log_p - log_f[:, None], _with_column(z, i, found), total

        state = (0, self._log_weights(w, rows), tf.zeros_like(rows), tf.zeros_like(rows[:, 0]))
        *_, z, total = tf.while_loop(lambda i, *_: i < self.size, step, state)
        total = tf.where(self._is_known(rows), total, -np.inf)
        return tf.cast(z, x.dtype), tf.cast(total, x.dtype)

    def inverse(self, weights, y, condition=None):
        w, z = _in_float64(weights), tf.cast(y, tf.float64)

        def step(i, log_w, rows):
            charts = [chart for chart, _ in self._charts(w, self._midpoints(rows))]
            column = _Column(self, w, i, charts, log_w)
            found = column.quantile(tf.gather(z, i, axis=1))
            log_w += column.log_p(found)
            log_w -= tf.reduce_logsumexp(log_w, 1, keepdims=True)
            return i + 1, log_w, _with_column(rows, i, found)

        state = (0, self._log_weights(w, z), tf.zeros_like(z))
        rows = tf.while_loop(lambda i, *_: i < self.size, step, state)[-1]
        return tf.cast(rows, y.dtype)

    def _log_weights(self, w, rows):
        """[B, K], before any column is known."""
        log_w = w["log_weights"] - tf.reduce_logsumexp(w["log_weights"])
        return tf.zeros_like(rows[:, :1]) + log_w

    def _midpoints(self, x):
        """Rows with k + 1/2 in columns of whole numbers."""
        if not any(self.whole):
            return x
        is_whole = tf.constant([limits is not None for limits in self.whole])
        return tf.where(is_whole, tf.floor(x) + 0.5, x)

    def _is_known(self, x):
        """Which rows [B] have whole numbers within their limits."""
        if not any(self.whole):
            return tf.ones_like(x[:, 0], tf.bool)
        least, most = self._limits()
        return tf.reduce_all((x >= least) & (x < most + 1), 1)

    def _limits(self):
        """The least and the largest number of each column, infinite where there is none."""
        nothing = (-np.inf, np.inf)
        of_each = [
            nothing if each is None else [n if k is None else k for k, n in zip(each, nothing)]
            for each in self.whole
        ]
        return tf.unstack(tf.constant(of_each, tf.float64), axis=1)


class _Column:
    """Column i, given those before it: what F(x_i | ...) is made of.

    Args:
      layer, w: the layer and its weights in float64.
      charts: rows [B, D] in both charts, whose first i columns are looked at.
      log_w: log-weights of the components [B, K], given these.
    """

    def __init__(self, layer, w, i, charts, log_w):
        self.layer, self.log_w, self.is_bent = layer, log_w, w["bent"]
        row = tf.gather(w["factors"], i, axis=1)  # [G, D]
        self.slope = tf.gather(row, i, axis=1)
        row *= tf.cast(tf.range(layer.size) < i, row.dtype)
        plain, bent = (tf.matmul(chart, row, transpose_b=True) for chart in charts)
        shift = plain + self.is_bent * (bent - plain)
        self.shift = self._of_each(shift) - tf.gather(w["centres"], i, axis=1)
        names = ("mean", "sd", "power", "bent_mean", "bent_sd")
        self.mean, self.sd, self.power, self.bent_mean, self.bent_sd = (
            tf.gather(w[name], i) for name in names
        )
        if any(layer.whole):
            self.least, self.most = (tf.gather(each, i) for each in layer._limits())
            self.is_whole = tf.gather([each is not None for each in layer.whole], i)

    def _of_each(self, values):
        """Values of the kernels and of each other component [..., G] as those of all [..., K]."""
        kernels = tf.repeat(values[..., :1], self.layer.rows, -1)
        return tf.concat([kernels, values[..., 1:]], -1)

    def _u(self, x):
        """u of all components [B, K] at x [B], and log du/dx."""
        s = ((x - self.mean) / self.sd)[:, None]
        y, bending = bend(self.power, s)
        t = tf.where(self.is_bent > 0, (y - self.bent_mean) / self.bent_sd, s)
        log_slope = tf.math.log(self.slope) - tf.math.log(self.sd)
        log_slope += self.is_bent * (bending - tf.math.log(self.bent_sd))
        return self._of_each(self.slope * t) + self.shift, self._of_each(log_slope)

    def _step(self, x):
        """u at both ends of the step of x = k + u, [B, K] each."""
        k = tf.floor(x)
        lower, upper = self._u(k)[0], self._u(k + 1)[0]
        lower = tf.where((k <= self.least)[:, None], -tf.cast(FAR, x.dtype), lower)
        return lower, tf.where((k >= self.most)[:, None], tf.cast(FAR, x.dtype), upper)

    def _mass(self, x):
        """P(k) of all components [B, K]."""
        lower, upper = self._step(x)
        flip = lower > 0  # both tails are precise where they are small
        a, b = tf.where(flip, -upper, lower), tf.where(flip, -lower, upper)
        return tf.maximum(_phi(b) - _phi(a), LEAST)

    def log_p(self, x):
        """log p of all components [B, K] at x [B]."""
        u, log_slope = self._u(x)
        log_p = log_slope - 0.5 * (u * u + LOG_TWO_PI)
        if not any(self.layer.whole):
            return log_p
        return tf.where(self.is_whole, tf.math.log(self._mass(x)), log_p)

    def tails(self, x):
        """F(x) and 1 - F(x), [B]."""
        u = self._u(x)[0]
        below, above = _phi(u), _phi(-u)
        if any(self.layer.whole):
            (lower, upper), mass = self._step(x), self._mass(x)
            part = (x - tf.floor(x))[:, None]
            below = tf.where(self.is_whole, _phi(lower) + part * mass, below)
            above = tf.where(self.is_whole, _phi(-upper) + (1 - part) * mass, above)
        share = tf.exp(self.log_w)
        return tf.reduce_sum(share * below, 1), tf.reduce_sum(share * above, 1)

    def quantile(self, z):
        """x [B] with F(x) = Phi(z), by Newton's method in a bracket."""

        def step(n, low, high, x):
            found = _quantile(*self.tails(x))
            low, high = tf.where(found > z, low, x), tf.where(found > z, x, high)
            log_p = tf.reduce_logsumexp(self.log_w + self.log_p(x), 1)
            newton = x - (found - z) * tf.exp(-log_p - 0.5 * (found * found + LOG_TWO_PI))
            good = (newton > low) & (newton < high) & (n % 3 < 2)
            return n + 1, low, high, tf.where(good, newton, 0.5 * (low + high))

        low, high = self._bracket(z)
        state = (0, low, high, 0.5 * (low + high))
        return tf.while_loop(lambda n, *_: n < ROUNDS, step, state)[-1]

    def _bracket(self, z):
        """Numbers between which the quantile lies: those where single components have theirs."""
        t = (z[:, None] - self.shift) / self._of_each(self.slope)
        bent = unbend(self.power, self.bent_mean + self.bent_sd * t)[0]
        ends = self.mean + self.sd * tf.where(self._of_each(self.is_bent) > 0, bent, t)
        likely = self.log_w > tf.reduce_max(self.log_w, 1, keepdims=True) + UNLIKELY
        low = tf.reduce_min(tf.where(likely, ends, np.inf), 1)
        high = tf.reduce_max(tf.where(likely, ends, -np.inf), 1)
        if not any(self.layer.whole):
            return low, high
        # F is linear in the step of a whole number, and ends at the limits
        limits = (
            tf.clip_by_value(low - 1, self.least, self.most + 1),
            tf.clip_by_value(high + 1, self.least, self.most + 1),
        )
        return tuple(tf.where(self.is_whole, limit, end) for limit, end in zip(limits, (low, high)))


def _spread(rows):
    """Standard deviations of the columns; 1 where one does not vary."""
    sd = tf.math.reduce_std(rows, 0)
    return tf.where(sd > 0, sd, 1.0)


def _in_float64(weights):
    return {name: tf.cast(tf.convert_to_tensor(w), tf.float64) for name, w in weights.items()}


def _phi(u):
    """Phi(u), precise where it is small."""
    return 0.5 * tf.math.erfc(-math.sqrt(0.5) * u)


def _quantile(below, above):
    """Phi^-1 of a probability that is given by both tails."""
    z = tail_quantile(tf.minimum(below, above), LEAST, 3)
    return tf.where(below < above, z, -z)


def _with_column(rows, i, values):
    """Rows [B, D] with `values` [B] in column i."""
    return tf.where(tf.range(rows.shape[1]) == i, values[:, None], rows)


def _arrays(stack: Stack) -> dict[str, np.ndarray]:
    return {field.name: getattr(stack, field.name) for field in dataclasses.fields(stack)}
