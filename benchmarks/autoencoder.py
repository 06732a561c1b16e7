"""An autoencoder with flows beside the plain one, on binarised silhouettes; its table is in
doc/families.md.

    python benchmarks/autoencoder.py
    python benchmarks/autoencoder.py --steps 200

Pixels from 128 on are 1, and P(k) of the 784 bits k is what is bounded. Both autoencoders have 32
latents and networks of equal widths; the plain one has a Gaussian posterior and the prior N(0, I),
the other two inverse autoregressive layers in the posterior and two spline couplings as the prior.
Both train for --steps steps of 64 pictures; the weights of the best validation bound are kept. The
bound is the mean over test pictures and over DRAWS draws of the noise of each, in nats; log P is
the logarithm of the mean of their weights. Processor seconds are of all cores, with compilation.
"""

import argparse
import math
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "doc" / "families.md"
START, END = "<!-- autoencoder -->", "<!-- end of autoencoder -->"
LATENTS, HIDDEN, DRAWS = 32, (128,), 64
FORMS = {"plain": 0, "flows": 2}  # depth


def main() -> None:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=3000, help="of training, each")
    told = parser.parse_args()
    train, validation, test = bits()
    rows = [
        "| posterior, prior | steps | processor seconds | bound, nats | log P, nats |",
        "|---|---|---|---|---|",
    ]
    for name, depth in FORMS.items():
        model, seconds = trained(depth, train, validation, told.steps)
        weights = log_weights(model, test)
        log_p = np.logaddexp.reduce(weights, 0) - math.log(DRAWS)
        found = [f"{each.mean():.2f} ± {error(each):.2f}" for each in (weights.mean(0), log_p)]
        rows.append(f"| {name} | {told.steps} | {seconds:.0f} | {' | '.join(found)} |")
        print(rows[-1], flush=True)
    text = PAGE.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n" + "\n".join(rows) + f"\n{END}{after}")


def bits():
    """Training, validation and test pictures as bits, float32 [N, 784]."""
    from flow_models.data.images import embedded

    found = embedded.load("silhouettes")
    parts = found.examples, found.validation, found.test
    return [(part.reshape(len(part), -1) >= 128).astype(np.float32) for part in parts]


def trained(depth: int, train, validation, steps: int):
    """The model, and the processor seconds of its training."""
    import tensorflow as tf

    import flow_models as fm

    def draw(n, seed):
        """n rows of bits with uniform noise, k + u."""
        first, second = tf.unstack(tf.random.split(tf.cast(seed, tf.int32), 2))
        rows = tf.random.stateless_uniform([n], first, 0, len(train), tf.int32)
        bits = tf.gather(tf.constant(train), rows)
        return bits + (1 - 2**-16) * tf.random.stateless_uniform(bits.shape, second)

    flow = fm.architectures.vae(
        train.shape[1], depth, HIDDEN, noise=LATENTS, likelihood="bernoulli"
    )
    model = fm.Model(flow)
    settings = fm.FitSettings(steps=steps, batch_size=64, learning_rate=2e-3, ema=0.99)
    start = time.process_time()
    fm.fit(model, draw, noisy(validation, 0), settings)
    return model, time.process_time() - start


def noisy(bits, seed: int):
    """Bits with uniform noise, k + u."""
    noise = np.random.default_rng(seed).random(bits.shape, np.float32)
    return bits + np.minimum(noise, np.float32(1 - 2**-16))


def log_weights(model, bits) -> np.ndarray:
    """log p(x, e) - log N(e) for DRAWS draws of the noise e of each row, [DRAWS, N]."""
    from flow_models.models.codecs import Encoded

    found = []
    for seed in range(DRAWS):
        rows = model.with_noise(noisy(bits, seed), seed)
        e = rows[:, bits.shape[1] :].astype(float)
        log_noise = -0.5 * (e**2 + math.log(2 * math.pi)).sum(1)
        found.append(model.log_prob_of_inputs(Encoded(rows, (len(rows),))) - log_noise)
    return np.stack(found)


def error(values) -> float:
    """Standard error of the mean over pictures."""
    return float(values.std() / math.sqrt(len(values)))


if __name__ == "__main__":
    main()
