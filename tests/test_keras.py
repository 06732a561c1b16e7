"""The textbook loop of Keras trains every weight of a model, or says that it would not."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import flow_models as fm
from flow_models.bijectors.layer import leaves

ROWS = np.random.default_rng(0).normal([5.0, -3.0], [2.0, 0.1], (256, 2)).astype("f")


def weights_of(model):
    return {
        name: variable.numpy()
        for name, variable in leaves(model.weights).items()
        if variable.trainable
    }


def compiled(inputs, outputs, rate=1e-2):
    network = tf_keras.Model(inputs, outputs)
    network.compile(tf_keras.optimizers.Adam(rate), loss=lambda _, log_prob: -log_prob)
    return network


def moved(model, before):
    return [name for name, value in weights_of(model).items() if (value != before[name]).any()]


@pytest.mark.parametrize("name", ["glow", "maf"])
def test_every_weight_moves_and_the_likelihood_rises(name, tmp_path):
    model = fm.Model(fm.architectures.build(name, 2, depth=2, hidden=(8,)), jit=False)
    log_prob = fm.keras_layer(model, name="density")
    log_prob.adapt(ROWS)
    x = tf_keras.Input((2,))
    network = compiled(x, log_prob(x))
    assert {id(v) for v in network.variables} == {id(v) for v in leaves(model.weights).values()}
    assert len(network.trainable_variables) == len(weights_of(model))
    before, start = weights_of(model), model.log_prob(ROWS).mean()
    network.fit(ROWS, ROWS, epochs=4, batch_size=32, verbose=0)
    assert moved(model, before) == list(before)
    assert model.log_prob(ROWS).mean() > start
    np.testing.assert_allclose(network.predict(ROWS, verbose=0), model.log_prob(ROWS), atol=1e-4)
    model.save(str(tmp_path))
    np.testing.assert_array_equal(
        fm.load(str(tmp_path), jit=False).log_prob(ROWS), model.log_prob(ROWS)
    )


def test_adapt_gives_the_starting_values_of_fit():
    settings = fm.FitSettings(steps=1, batch_size=256, learning_rate=1e-12, jit=False)
    ours, theirs = (fm.Model(fm.glow(2, depth=2, hidden=(8,)), jit=False) for _ in range(2))
    fm.fit(ours, ROWS, settings=settings)
    fm.keras_layer(theirs).adapt(ROWS)
    assert theirs.started
    np.testing.assert_allclose(ours.log_prob(ROWS), theirs.log_prob(ROWS), atol=1e-3)


def test_conditions_images_and_float64():
    partition = fm.Partition(inputs={"x": 2}, outputs={"z": 2}, given={"c": 3})
    bijector = fm.realnvp(2, depth=2, hidden=(8,), condition_size=3, dtype=tf.float64)
    model = fm.Model(bijector, partition, jit=False)
    x, c = tf_keras.Input((2,)), tf_keras.Input((3,))
    log_prob = fm.keras_layer(model)
    network, before = compiled([x, c], log_prob(x, c)), weights_of(model)
    conditions = np.random.default_rng(1).normal(size=(256, 3))
    network.fit([ROWS, conditions], ROWS, epochs=2, verbose=0)
    assert moved(model, before) == list(before) and network.output.dtype == tf.float64
    bijector = fm.glow_image((4, 4, 1), 1, 1, hidden=(4,))
    model = fm.Model(bijector, codecs={"x": fm.Pixels(4, 4, 1)}, jit=False)
    pixels = np.random.default_rng(2).uniform(0, 256, (64, 4, 4, 1)).astype("f")
    x = tf_keras.Input((4, 4, 1))
    network, before = compiled(x, fm.keras_layer(model)(x)), weights_of(model)
    network.fit(pixels, pixels, epochs=8, verbose=0)
    assert moved(model, before) == list(before)


@pytest.mark.parametrize("layer", [fm.bijectors.Coupling(2, hidden=(4,)), fm.bijectors.LULinear(2)])
@pytest.mark.parametrize(
    "call",
    [
        lambda m, x: m.distribution().log_prob(x),
        lambda m, x: m.bijector.forward(x),
        lambda m, x: m.bijector.inverse(x),
        lambda m, x: m.bijector.inverse_log_det_jacobian(x, 1),
        lambda m, x: m.bijector.forward(ROWS, condition=x),
    ],
)
def test_what_keras_would_not_train_is_refused(layer, call):
    with pytest.raises(fm.UserError, match=r"use the layer fm.keras_layer\(model\)"):
        call(fm.Model(fm.FlowBijector(layer), jit=False), tf_keras.Input((2,)))
