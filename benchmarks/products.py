"""Time of the matrix products of one training step alone: a lower bound for RealNVP and MAF.

    python benchmarks/products.py

Forward, gradient of the weights and gradient of the inputs of the hidden 128-to-128 layers,
compiled by XLA like training.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flow_models.core.startup import load_tensorflow

tf = load_tensorflow()
REPEATS = 200


def milliseconds(layers: int, batch: int, width: int = 128) -> float:
    """Best of ten, per step."""
    x, w = tf.random.normal([batch, width]), 0.1 * tf.random.normal([layers, width, width])

    @tf.function(jit_compile=True, autograph=False)
    def run(x, w):
        def body(i, x, w):
            for k in range(layers):  # each product feeds the next, so that XLA can drop none
                y = x @ w[k]
                dw = tf.matmul(x, y, transpose_a=True)
                x = tf.tanh(tf.matmul(y, w[k], transpose_b=True) + dw[:1])
            return i + 1, x, w

        return tf.while_loop(lambda i, *_: i < REPEATS, body, (0, x, w))[1]

    run(x, w)
    times = []
    for _ in range(10):
        start = time.perf_counter()
        run(x, w).numpy()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times) / REPEATS


if __name__ == "__main__":
    for name, layers in (("RealNVP, 8 couplings", 8), ("MAF, 3 layers", 3)):
        for batch in (256, 1024):
            print(f"{name}, batch {batch}: products of a step {milliseconds(layers, batch):.2f} ms")
