"""Plane waves reflected by a stack of layers, with all multiples, and the derivative with respect
to every interface and phase.

For interface i (contrast r_i, above layer i), R_i = N_i / D_i is the reflection of all below it.
With M_i = E_i N_(i+1)

    N_i = M_i + r_i D_(i+1),   D_i = D_(i+1) + r_i M_i,   E_i = exp(-s phi_i),   s = alpha + i w

so no layer costs a division. The products of the chain rule telescope: with C_i = prod_(k<i) (1 -
r_k^2) E_k / D_0^2,

    dR_0/dr_i = C_i (D_(i+1)^2 - M_i^2),   dR_0/dphi_i = -s (1 - r_i^2) C_i M_i D_(i+1)

Complex numbers are pairs of real tensors, in loops over layers: in an unrolled recursion XLA
recomputes shared terms, at a cost that doubles with every layer. Axes are [layer, frequency, ray,
batch]; the batch is innermost, where the CPU vectorises.
"""

import dataclasses
import math

import numpy as np
import tensorflow as tf

WRAP = 100.0  # damping times the length of the transform


@dataclasses.dataclass(frozen=True)
class Spectrum:
    """Complex frequencies w - i alpha of a transform of twice the samples, and the Ricker wavelet
    there.

    Frequencies are k = coarse a + b, 0 <= a, b < coarse, so that exp(-s phi) is a product of two
    short rows.
    """

    samples: int
    interval: float
    frequency: float
    delay: float

    @property
    def length(self) -> float:
        """Length of the transform, s."""
        return 2 * self.samples * self.interval

    @property
    def damping(self) -> float:
        """alpha, the damping of all frequencies, 1/s."""
        return math.log(WRAP) / self.length

    @property
    def step(self) -> float:
        """Distance between frequencies, rad/s."""
        return 2 * math.pi / self.length

    @property
    def coarse(self) -> int:
        """Numbers of a and of b: coarse^2 frequencies."""
        # coarse^2 > samples: the samples + 1 frequencies of a real signal fit
        return math.isqrt(self.samples) + 1

    @property
    def omega(self) -> np.ndarray:
        """Real frequencies [F], rad/s; those above the Nyquist frequency only fill the square, with
        no weight."""
        return self.step * np.arange(self.coarse**2)

    def wavelet(self) -> np.ndarray:
        """Ricker wavelet, peak 1 at `delay`, at the complex frequencies [F]."""
        f = (self.omega - 1j * self.damping) / (2 * np.pi * self.frequency)
        return (
            2
            / (math.sqrt(math.pi) * self.frequency)
            * f**2
            * np.exp(-(f**2) - 2j * np.pi * self.frequency * f * self.delay)
        )

    def synthesis(self) -> np.ndarray:
        """Matrix [T, 2 F], float64, that makes a trace of the real and imaginary parts of the
        reflection."""
        k = np.arange(self.coarse**2)
        weight = (
            np.select([k % self.samples == 0, k < self.samples], [1.0, 2.0], 0.0)
            * (k <= self.samples)
            / self.length
        )
        times = self.interval * np.arange(self.samples)
        matrix = np.exp(np.outer(times, self.damping + 1j * self.omega)) * (weight * self.wavelet())
        return np.concatenate([matrix.real, -matrix.imag], 1)


def reflect(spectrum: Spectrum, contrast: tf.Tensor, phase: tf.Tensor) -> tf.Tensor:
    """R_0 [2 F, R, B], real then imaginary parts, of contrasts r [P, R, B] and phases phi [P - 1,
    R, B]."""
    powers = _powers(spectrum, phase)
    start = _deepest(spectrum, contrast)

    def up(i, n, d):
        n, d, _ = _above(n, d, contrast[i], _exponential(powers, i))
        return i - 1, n, d

    last = contrast.shape[0] - 2
    _, n, d = tf.while_loop(lambda i, *_: i >= 0, up, (last, *start), maximum_iterations=last + 1)
    return _joined(_divide(n, d))


def reflect_and_differentiate(spectrum, contrast, phase, own, above, phase_slope, synthesis):
    """R_0 [2 F, R, B], and the derivative of synthesis @ R_0 with respect to each layer's
    parameter, [P, T, R, B].

    Args:
      own: derivative of r_i with respect to the parameter of layer i, [P, R, B].
      above: the same for the parameter of layer i - 1, [P, R, B]; that of i = 0 is not used.
      phase_slope: derivative of phi_i with respect to the parameter of layer i, [P - 1, R, B].
      synthesis: [T, 2 F].
    """
    powers = _powers(spectrum, phase)
    n, d, below = _recorded(spectrum, contrast, powers)
    layers, dtype = contrast.shape[0], contrast.dtype
    transmitted = 1 - tf.square(contrast)
    omega = tf.constant(spectrum.omega, dtype)[:, None, None]
    traces = lambda pair: tf.tensordot(synthesis, _joined(pair), 1)

    def down(i, c, above_layer, derivative):
        """Completes the derivative of layer i - 1 with interface i, and begins that of layer i."""
        d_below, m = [tuple(part.read(i) for part in pair) for pair in below]
        by_contrast = _times(c, _subtract(_times(d_below, d_below), _times(m, m)))
        derivative = derivative.write(i, traces(_add(above_layer, _scale(above[i], by_contrast))))
        by_phase = _times(_times(c, m), d_below)
        by_phase = (
            omega * by_phase[1] - spectrum.damping * by_phase[0],
            -omega * by_phase[0] - spectrum.damping * by_phase[1],
        )
        layer = _add(_scale(own[i], by_contrast), _scale(transmitted[i] * phase_slope[i], by_phase))
        return i + 1, _scale(transmitted[i], _times(c, _exponential(powers, i))), layer, derivative

    zero = tf.zeros_like(d[0])
    square = _times(d, d)
    state = (0, _divide((tf.ones_like(zero), zero), square), (zero, zero), _array(dtype, layers))
    _, c, layer, derivative = tf.while_loop(
        lambda i, *_: i < layers - 1, down, state, maximum_iterations=layers - 1
    )
    # nothing lies below the last interface: D = 1, M = 0
    derivative = derivative.write(layers - 1, traces(_add(layer, _scale(above[-1], c))))
    deepest = traces(_scale(own[-1], c))
    return _joined(_divide(n, d)), tf.concat([derivative.stack()[1:], deepest[None]], 0)


def _recorded(spectrum, contrast, powers):
    """N_0, D_0, and D_(i+1) and M_i of each interface but the last."""
    last = contrast.shape[0] - 2
    arrays = [tuple(_array(contrast.dtype, last + 1) for _ in range(2)) for _ in range(2)]

    def up(i, n, d, ds, ms):
        above = _above(n, d, contrast[i], _exponential(powers, i))
        return i - 1, above[0], above[1], _write(ds, i, d), _write(ms, i, above[2])

    state = (last, *_deepest(spectrum, contrast), *arrays)
    _, n, d, ds, ms = tf.while_loop(lambda i, *_: i >= 0, up, state, maximum_iterations=last + 1)
    return n, d, (ds, ms)


def _powers(spectrum, phase):
    """Coarse and fine factors of exp(-s phi), each a pair of [P - 1, coarse, R, B]."""
    fine = spectrum.step * np.arange(spectrum.coarse)
    angle = lambda omega: tf.constant(omega, phase.dtype)[:, None, None] * phase[:, None]
    damped = tf.exp(-spectrum.damping * phase)[:, None]
    turned = lambda omega: (tf.cos(angle(omega)), -tf.sin(angle(omega)))
    return _scale(damped, turned(fine * spectrum.coarse)), turned(fine)


def _exponential(powers, i):
    """exp(-s phi_i), a pair of [F, R, B]."""
    coarse, fine = [tuple(part[i] for part in pair) for pair in powers]
    product = _times(tuple(part[:, None] for part in coarse), tuple(part[None] for part in fine))
    return tuple(tf.reshape(part, tf.concat([[-1], tf.shape(part)[2:]], 0)) for part in product)


def _deepest(spectrum, contrast):
    """N and D of the last interface; nothing below it reflects."""
    shape = tf.concat([[spectrum.coarse**2], tf.shape(contrast)[1:]], 0)
    zero = tf.zeros(shape, contrast.dtype)
    return (zero + contrast[-1], zero), (zero + 1, zero)


def _above(n, d, r, exponential):
    """N_i, D_i and M_i from N_(i+1), D_(i+1)."""
    m = _times(exponential, n)
    return _add(m, _scale(r, d)), _add(d, _scale(r, m)), m


def _array(dtype, size):
    return tf.TensorArray(dtype, size=size, clear_after_read=False)


def _write(arrays, i, pair):
    return tuple(array.write(i, part) for array, part in zip(arrays, pair))


def _joined(pair):
    return tf.concat(pair, 0)


def _add(a, b):
    return a[0] + b[0], a[1] + b[1]


def _subtract(a, b):
    return a[0] - b[0], a[1] - b[1]


def _scale(real, a):
    return real * a[0], real * a[1]


def _times(a, b):
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _divide(a, b):
    scale = 1 / (tf.square(b[0]) + tf.square(b[1]))
    return scale * (a[0] * b[0] + a[1] * b[1]), scale * (a[1] * b[0] - a[0] * b[1])
