"""Cost of a coupling's convolutions under XLA: as matrix products, as `ConvNet` computes them, and
as XLA's own (cuDNN's on a GPU).

    python benchmarks/convolutions.py

Forward and gradients of the network in Glow's first level: 32 images of 16x16, 12 channels, hidden
128.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

RUNS = 20


def milliseconds(runs: int = RUNS) -> dict[str, float]:
    """Fastest of several runs, without compilation, of both kinds."""
    from flow_models.core.startup import load_tensorflow

    tf = load_tensorflow()
    from flow_models.bijectors.networks import ConvNet

    rng, net = np.random.default_rng(0), ConvNet(6, 12, (128, 128))
    weights = {
        name: tf.constant(rng.normal(size=w.shape) * 0.1, tf.float32)
        for name, w in net.init(rng).items()
    }
    x = tf.constant(rng.normal(size=(32, 16, 16, 6)), tf.float32)
    of_kind = {"products": net, "convolutions": _own}
    return {kind: _fastest(network, weights, x, runs) for kind, network in of_kind.items()}


def _own(weights, x):
    """The same network with `tf.nn.conv2d`."""
    import tensorflow as tf

    for i, size in enumerate((3, 1, 3)):
        kernel = tf.reshape(weights[f"w{i}"], [size, size, -1, weights[f"b{i}"].shape[0]])
        x = tf.nn.conv2d(x, kernel, 1, "SAME") + weights[f"b{i}"]
        x = tf.nn.relu(x) if i < 2 else x
    return x


def _fastest(network, weights, x, runs: int) -> float:
    import tensorflow as tf

    @tf.function(jit_compile=True, autograph=False)
    def gradients(weights, x):
        with tf.GradientTape() as tape:
            tape.watch([weights, x])
            value = tf.reduce_sum(network(weights, x) ** 2)
        return tape.gradient(value, [x, *weights.values()])

    times = []
    for _ in range(runs + 1):
        start = time.perf_counter()
        gradients(weights, x)[0].numpy()
        times.append(time.perf_counter() - start)
    return 1000 * min(times[1:])


if __name__ == "__main__":
    found = milliseconds()
    print(
        f"products {found['products']:.1f} ms, XLA's convolutions {found['convolutions']:.1f} ms:"
        f" {found['convolutions'] / found['products']:.2f} times"
    )
