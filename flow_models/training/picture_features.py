"""A small network for comparing pictures, trained on them in seconds."""

import math

import numpy as np
import tensorflow as tf
import tf_keras

from flow_models.diagnostics.anomaly import mutated, pixels

WIDTHS = (32, 64, 64)  # of the convolutions, each of which halves the sides
LARGEST = 64  # pixels; larger pictures are averaged down first
STEPS, BATCH, LEARNING_RATE = 200, 64, 2e-3
WORK = 400 * 64 * 28 * 28  # pixels seen in training at most
BLOCK = 256  # pictures at a time
GRAIN = 0.1  # share of pixels drawn anew


class PictureFeatures:
    """Features [B, D] of pictures uint8 [B, H, W, C], by a network that is trained on `images`.

    It learns what a picture is: one of a class, where there are labels; turned by a quarter, a half
    or three quarters (upside down, where sides differ); with grain; or joined of the halves of two.
    So features know shapes, textures, and whether a picture is of one piece. Unsupervised
    representation learning by predicting image rotations (Gidaris, Singh and Komodakis 2018), with
    two kinds more.

    Args:
      images: uint8 [N, H, W, C].
      labels: class numbers [N], or None.

    Equal seeds give equal features.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray | None = None, seed: int = 0):
        images = pixels(images)
        labels = np.zeros(len(images), int) if labels is None else np.asarray(labels)
        self.classes, self.turns = int(labels.max()) + 1, _turns(images.shape)
        self.network = _network(images.shape[1:], self.classes + len(self.turns) + 2, seed)
        self._features = tf_keras.Model(
            self.network.input, self.network.get_layer("features").output
        )
        self.loss = self._fit(images, labels, np.random.default_rng(seed))

    def __call__(self, images: np.ndarray) -> np.ndarray:
        parts = np.array_split(pixels(images), range(BLOCK, len(images), BLOCK))
        return np.concatenate([self._features(part.astype(np.float32)).numpy() for part in parts])

    def save(self, file: str) -> None:
        """Writes the network up to its maps [B, H / 4, W / 4, 64], for `--features keras:FILE` of
        application 2; the name ends in .keras."""
        maps = self.network.get_layer("maps").output
        tf_keras.Model(self.network.input, maps).save(file)

    def _fit(self, images, labels, rng):
        """The mean loss, nats, of the last tenth of the steps."""
        optimizer = tf_keras.optimizers.Adam(LEARNING_RATE)
        optimizer.build(self.network.trainable_variables)

        @tf.function(reduce_retracing=True)
        def step(x, y):
            with tf.GradientTape() as tape:
                logits = self.network(x, training=True)
                loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            gradients = tape.gradient(loss, self.network.trainable_variables)
            optimizer.apply_gradients(zip(gradients, self.network.trainable_variables))
            return loss

        steps = min(STEPS, max(50, WORK // (BATCH * min(images[0, ..., 0].size, LARGEST**2))))
        losses = [float(step(*self._batch(images, labels, rng))) for _ in range(steps)]
        return float(np.mean(losses[-max(steps // 10, 1) :]))

    def _batch(self, images, labels, rng):
        """Pictures float32 [BATCH, H, W, C] of all kinds, and their numbers."""
        some = rng.integers(0, len(images), BATCH)
        x, y, others = images[some].copy(), labels[some].copy(), images[rng.permutation(some)]
        kinds = len(self.turns) + 2
        kind = rng.integers(-1, kinds, BATCH)
        for number, turned in enumerate(self.turns):
            x[kind == number] = turned(x[kind == number])
        grainy, joined = kind == kinds - 2, kind == kinds - 1
        x[grainy] = mutated(x[grainy], GRAIN, int(rng.integers(2**31)))
        half = x.shape[2] // 2
        x[joined, :, half:] = others[joined, :, half:]
        return x.astype(np.float32), np.where(kind < 0, y, self.classes + kind)


def _turns(shape):
    if shape[1] != shape[2]:
        return [lambda x: x[:, ::-1]]
    return [lambda x, k=k: np.rot90(x, k, (1, 2)) for k in (1, 2, 3)]


def _network(shape, classes, seed):
    layers = tf_keras.layers
    x = inputs = layers.Input(shape)
    x, means = layers.Rescaling(1 / 127.5, -1.0)(x), []
    if (factor := math.ceil(max(shape[:2]) / LARGEST)) > 1:
        x = layers.AveragePooling2D(factor, padding="same")(x)
    for number, width in enumerate(WIDTHS):
        start = tf_keras.initializers.HeNormal(seed + number)
        options = {"strides": 2, "padding": "same", "activation": "relu"}
        options |= {"name": "maps"} if number == 1 else {}
        x = layers.Conv2D(width, 3, kernel_initializer=start, **options)(x)
        means.append(layers.GlobalAveragePooling2D()(x))
    flat = layers.Dense(
        64, "relu", kernel_initializer=tf_keras.initializers.HeNormal(seed + len(WIDTHS))
    )(layers.Flatten()(x))
    features = layers.Concatenate(name="features")([*means, flat])
    start = tf_keras.initializers.GlorotNormal(seed)
    return tf_keras.Model(inputs, layers.Dense(classes, kernel_initializer=start)(features))
