"""Models of images: codec, likelihoods in bits, padding, architectures, training by inversion, save
and load."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import flow_models as fm
from flow_models.bijectors import FlowBijector, Levels, Reversible
from flow_models.bijectors.layer import floating, leaves, refill
from flow_models.models.pixels import Pixels

SMALL = {"hidden": (8, 8), "depth": 2, "activation": "silu"}
SHAPE = (8, 8, 2)
MODELS = {
    "glow": lambda **o: fm.glow_image(SHAPE, levels=2, **SMALL, **o),
    "glow_additive_householder_haar": lambda **o: fm.glow_image(
        SHAPE, 2, coupling="additive", mixing="householder", squeeze="haar", **SMALL, **o
    ),
    "glow_shuffle_one_scale": lambda **o: fm.glow_image(
        SHAPE, 2, mixing="shuffle", multiscale=False, **SMALL, **o
    ),
    "glow_variational_logit": lambda **o: fm.glow_image(
        SHAPE, 1, dequantisation="variational", logit=0.05, **SMALL, **o
    ),
    "glow_reversible": lambda **o: fm.glow_image(SHAPE, 3, reversible="yes", **SMALL, **o),
    "realnvp": lambda **o: fm.realnvp_image(SHAPE, 2, **SMALL, **o),
    "realnvp_reversible": lambda **o: fm.realnvp_image(
        SHAPE, 2, reversible="yes", multiscale=False, **SMALL, **o
    ),
    "realnvp_batch_norm": lambda **o: fm.realnvp_image(SHAPE, 1, norm="batch_norm", **SMALL, **o),
    "glow_periodic": lambda **o: fm.glow_image(SHAPE, 1, mixing="periodic", **SMALL, **o),
    "glow_emerging": lambda **o: fm.glow_image(SHAPE, 1, mixing="emerging", **SMALL, **o),
    "hyperbolic": lambda **o: fm.architectures.hyperbolic_image(SHAPE, 2, **SMALL, **o),
    "irim": lambda **o: fm.architectures.irim_image(SHAPE, 2, **SMALL, **o),
    "tarflow": lambda **o: fm.architectures.tarflow(SHAPE, 2, heads=2, **SMALL, **o),
    "jet": lambda **o: fm.architectures.jet(SHAPE, 2, 1, (8,), heads=2, **o),
    "flat_realnvp": lambda **o: fm.flat_realnvp(SHAPE, **SMALL, **o),
}


def pictures(n=40, shape=SHAPE, seed=0):
    """Smooth blobs with noise, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    centre = rng.uniform(2, 6, (2, n, 1, 1, 1))
    blob = np.exp(
        -((x[None, ..., None] - centre[0]) ** 2 + (y[None, ..., None] - centre[1]) ** 2) / 6
    )
    return np.clip(200 * blob + rng.normal(20, 5, (n, *shape)), 0, 255).astype(np.uint8)


def moved(model, seed=0, scale=0.1):
    rng = np.random.default_rng(seed)
    for variable in leaves(model.weights).values():
        if variable.trainable:
            variable.assign_add(scale * rng.normal(size=variable.shape).astype("f"))
    return model


def built(name="glow", jit=False, bits=8, **codec):
    return fm.Model(
        MODELS[name](bits=bits), codecs={"x": Pixels(*SHAPE, bits=bits, **codec)}, jit=jit
    )


@pytest.mark.parametrize("name", MODELS)
def test_an_image_comes_back_from_its_latents_and_its_density_is_that_of_tfp(name):
    model, x = moved(built(name)), pictures(5)
    z = model.encode(x, seed=3)
    assert z.shape == (5, 128) and model.latent_size == model.event_size == 128
    back = model.decode(z)
    assert back.shape == x.shape
    np.testing.assert_array_equal(
        np.floor(back + 1e-3 * (back < 255)).astype(int).clip(x, x + 1),
        np.floor(back + 1e-3).astype(int),
    )
    np.testing.assert_allclose(model.encode(back), z, atol=5e-3)
    np.testing.assert_allclose(model.log_prob(back), model.log_prob(x, seed=3), rtol=1e-4)
    base = tfp.distributions.MultivariateNormalDiag(tf.zeros(128))
    density = tfp.distributions.TransformedDistribution(base, tfp.bijectors.Invert(model.bijector))
    assert density.event_shape == SHAPE
    np.testing.assert_allclose(density.log_prob(back), model.log_prob(back), rtol=1e-4)
    assert density.sample((2, 3), seed=(1, 2)).shape == (2, 3, *SHAPE)


def test_uniform_noise_scores_exactly_its_bits_with_an_identity_flow():
    """x uniform on [0, 256): the layer of pixels alone, under a uniform base, has log p = -N log
    256, so 8 bits."""
    for bits in (3, 5, 8):
        codec = Pixels(4, 4, 3, bits=bits)
        f = FlowBijector(Levels(codec.levels), event_ndims=3)
        x = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 3)).astype(np.uint8)
        rows = codec.encode(x, np.float32).rows
        base = tfp.distributions.Independent(
            tfp.distributions.Uniform(-0.5 * tf.ones(codec.shape), 0.5), 3
        )
        log_prob = (
            tfp.distributions.TransformedDistribution(base, tfp.bijectors.Invert(f))
            .log_prob(rows)
            .numpy()
        )
        np.testing.assert_allclose(codec.bits_per_dim(log_prob), bits, rtol=1e-6)


def test_a_gaussian_flow_has_the_bits_of_a_gaussian():
    model = fm.Model(
        FlowBijector(
            fm.bijectors.Chain([Levels(), fm.bijectors.Flatten((2, 2, 1))]), event_ndims=(3, 1)
        ),
        codecs={"x": Pixels(2, 2, 1)},
        jit=False,
    )
    x = np.random.default_rng(0).integers(0, 256, (30, 2, 2, 1)).astype(np.uint8)
    levels = model.decode(model.encode(x))
    expected = tfp.distributions.Normal(128.0, 256.0).log_prob(levels).numpy().sum((1, 2, 3)) / (
        -4 * np.log(2)
    )
    np.testing.assert_allclose(model.bits_per_dim(x), expected, rtol=1e-5)
    with pytest.raises(fm.UserError, match="of others: use log_prob"):
        fm.Model(fm.realnvp(2, depth=1)).bits_per_dim(np.zeros((1, 2)))


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_pixels_are_reduced_to_bits_and_come_back_as_pixels(bits):
    model = built(bits=bits)
    x = pictures(4)
    k = np.floor(model.codec.encode(x, np.float32).rows)
    np.testing.assert_array_equal(k, x >> (8 - bits))
    samples = model.sample(20, seed=1)
    assert samples.dtype == np.uint8 and samples.shape == (20, *SHAPE)
    assert len(np.unique(samples)) <= 2**bits
    np.testing.assert_array_equal(samples, model.sample(20, seed=1))
    assert (samples != model.sample(20, seed=2)).any()


def test_sides_that_do_not_divide_are_padded_and_cropped():
    codec = Pixels(5, 7, 1, multiple=4)
    assert codec.padded_shape == (8, 8, 1)
    model = moved(
        fm.Model(
            fm.glow_image(codec.padded_shape, levels=2, **SMALL), codecs={"x": codec}, jit=False
        )
    )
    x = pictures(6, (5, 7, 1))
    rows = codec.encode(x, np.float32).rows
    np.testing.assert_array_equal(np.floor(rows[:, 5:]), np.repeat(np.floor(rows[:, 4:5]), 3, 1))
    drawn = codec.draw(tf.constant(x), tf.float32, (0, 1)).numpy()
    np.testing.assert_array_equal(np.floor(drawn), np.floor(rows))
    z = model.encode(x)
    assert (
        z.shape == (6, 64)
        and model.decode(z).shape == x.shape
        and model.sample(3).shape == (3, 5, 7, 1)
    )
    np.testing.assert_allclose(model.decode(z), rows[:, :5, :7], atol=2e-2)
    np.testing.assert_allclose(
        model.bits_per_dim(x), -model.log_prob(x) / (35 * np.log(2)), rtol=1e-6
    )


@pytest.mark.parametrize("size", [(3, 8), (8, 3)])
def test_one_side_may_divide_where_the_other_does_not(size):
    codec = Pixels(*size, 1, multiple=4)
    x = pictures(6, codec.shape)
    drawn = codec.draw(tf.constant(x), tf.float32, (0, 1)).numpy()
    rows = codec.encode(x, np.float32).rows
    assert drawn.shape == (6, *codec.padded_shape)
    np.testing.assert_array_equal(np.floor(drawn), np.floor(rows))


def test_noise_of_training_steps_fills_levels_evenly_and_differs_by_step():
    codec = Pixels(8, 8, 1)
    x = tf.fill([200, 8, 8, 1], tf.constant(255, tf.uint8))
    one, again, other = (
        codec.draw(x, tf.float32, seed).numpy() - 255 for seed in ((0, 1), (0, 1), (0, 2))
    )
    np.testing.assert_array_equal(one, again)
    assert (
        one.min() >= 0
        and one.max() < 1
        and abs(one.mean() - 0.5) < 0.01
        and np.abs(one - other).max() > 0.5
    )


@pytest.mark.parametrize("inputs, outputs", [(2, 5), (5, 2), (3, 3), (1, 1)])
def test_convolutions_as_products_are_those_of_tensorflow(inputs, outputs):
    rng = np.random.default_rng(0)
    x, w, b = (
        tf.constant(rng.normal(size=shape))
        for shape in ((2, 4, 5, inputs), (9 * inputs, outputs), (outputs,))
    )
    expected = tf.nn.conv2d(x, tf.reshape(w, [3, 3, inputs, outputs]), 1, "SAME") + b
    np.testing.assert_allclose(fm.networks.conv3x3(x, w, b), expected, atol=1e-12)


def test_training_learns_and_every_parameter_moves():
    f = fm.glow_image(
        SHAPE,
        1,
        depth=1,
        hidden=(8, 8),
        dequantisation="variational",
        logit=0.05,
        layers_per_loop_body=0,
    )
    model = fm.Model(f, codecs={"x": Pixels(*SHAPE)})
    before = {name: variable.numpy() for name, variable in model.bijector.named_weights().items()}
    x, held_out = pictures(200), pictures(60, seed=1)
    untrained = model.bits_per_dim(held_out).mean()
    settings = fm.FitSettings(
        steps=150, batch_size=40, learning_rate=3e-3, warmup_steps=20, ema=0.9
    )
    result = fm.fit(model, x, held_out, settings)
    assert model.bits_per_dim(held_out).mean() < untrained - 0.5
    assert result.history["val_objective"][-1] < result.history["val_objective"][0]
    for name, variable in model.bijector.named_weights().items():
        assert not variable.trainable or np.abs(variable.numpy() - before[name]).max() > 0, name


@pytest.mark.slow
def test_training_by_inversion_gives_the_weights_of_plain_training():
    x, results = pictures(64), []
    for reversible in ("no", "yes"):
        f = fm.glow_image(SHAPE, levels=1, depth=3, hidden=(8, 8), reversible=reversible, seed=1)
        model = fm.Model(f, codecs={"x": Pixels(*SHAPE)})
        assert isinstance(f.layer.layers[-1].levels[0].layers[1], Reversible) == (
            reversible == "yes"
        )
        fm.fit(
            model,
            x,
            None,
            fm.FitSettings(steps=20, batch_size=16, learning_rate=1e-3, warmup_steps=5),
        )
        results.append(model.log_prob(x))
    np.testing.assert_allclose(*results, rtol=1e-4)


def test_a_dataset_of_pictures_trains_as_their_array_does():
    x = pictures(48)
    data = tf.data.Dataset.from_tensor_slices(x[np.random.default_rng((0, 0)).permutation(48)])
    settings = fm.FitSettings(steps=3, batch_size=16, learning_rate=1e-3, jit=False)
    results = []
    for source in (x, data):
        model = built("flat_realnvp")
        fm.fit(model, source, None, settings)
        results.append(model.log_prob(x))
    np.testing.assert_allclose(*results, rtol=1e-5)


def test_gradients_by_inversion_at_depth_64_agree_with_autodiff():
    f = fm.glow_image(SHAPE, levels=1, depth=64, hidden=(8, 8), reversible="yes")
    plain = f.layer.layers[-1].levels[0].layers[1].layer
    x = tf.constant(np.random.default_rng(0).normal(size=(8, 4, 4, 8)).astype("f"))
    weights = plain.data_dependent_init(
        moved(fm.Model(f, codecs={"x": Pixels(*SHAPE)}), scale=0.02).weights[-1][0][1], x
    )[0]
    gradients = []
    for layer in (plain, Reversible(plain)):
        with tf.GradientTape() as tape:
            inputs = [x, *floating(weights)]
            tape.watch(inputs)
            y, log_det = layer.forward_and_log_det(refill(weights, inputs[1:]), x)
            target = tf.reduce_mean(0.5 * tf.reduce_sum(y * y, [1, 2, 3]) - log_det)
        gradients.append(tape.gradient(target, inputs))
    for one, other in zip(*gradients):
        assert tf.norm(one - other) <= 1e-3 * tf.norm(one) + 1e-6


LOADER = """
import sys, numpy as np, flow_models as fm
model = fm.load(sys.argv[1])
log_prob = model.log_prob(np.load(sys.argv[2]))
np.save(sys.argv[3], np.concatenate([log_prob, model.sample(3, seed=1).ravel()]))
"""


def test_a_new_process_loads_the_same_numbers_bit_for_bit(tmp_path):
    model, x = moved(built("glow_shuffle_one_scale", jit=True, bits=5)), pictures(10)
    model.save(str(tmp_path))
    np.save(tmp_path / "x.npy", x)
    subprocess.run(
        [sys.executable, "-c", LOADER, *[str(tmp_path / f) for f in ("", "x.npy", "out.npy")]],
        check=True,
    )
    expected = np.concatenate([model.log_prob(x), model.sample(3, seed=1).ravel()])
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), expected)


def test_any_number_of_images_gives_what_one_gives():
    model, x = moved(built("flat_realnvp", jit=True)), pictures(30)
    levels = model.decode(model.encode(x))
    together = model.log_prob(levels)
    np.testing.assert_allclose(together, [model.log_prob(each) for each in levels], rtol=1e-5)
    assert model.log_prob(x.reshape(2, 15, *SHAPE)).shape == (2, 15) and model.log_prob(
        x[:0]
    ).shape == (0,)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: fm.glow_image((6, 8, 1), levels=2),
            "6x8 with 2 levels: both sides must be multiples of 4",
        ),
        (lambda: fm.glow_image(SHAPE, levels=0), "levels is 0"),
        (lambda: fm.glow_image(SHAPE, mixing="lx"), "no mixing 'lx'; there are lu, householder, "),
        (lambda: fm.glow_image(SHAPE, coupling="cubic"), "no coupling 'cubic'"),
        (
            lambda: fm.glow_image(SHAPE, squeeze="daubechies"),
            "squeeze is 'daubechies', must be space or haar",
        ),
        (lambda: fm.glow_image(SHAPE, dequantisation="no"), "must be uniform or variational"),
        (lambda: fm.glow_image(SHAPE, reversible="maybe"), "must be auto, yes or no"),
        (lambda: fm.glow_image(SHAPE, reversible="YES"), "'YES', must be auto, yes or no"),
        (lambda: fm.glow_image(SHAPE, logit=1.0), r"logit is 1.0, must be in \[0, 1\)"),
        (lambda: Pixels(0, 8, 1), "must be at least 1"),
        (lambda: Pixels(8, 8, 1, bits=9), "bits is 9"),
        (
            lambda: built().log_prob(np.zeros((8, 8, 1), np.uint8)),
            r"must have shape \[..., 8, 8, 2\], got \[8, 8, 1\]",
        ),
        (lambda: built().log_prob(np.full(SHAPE, 300)), "values from 300 to 300"),
        (lambda: built().log_prob(np.full(SHAPE, -0.5)), "values from -0.5"),
        (lambda: built().decode(np.zeros(127)), r"z must have shape \[..., 128\], got \[127\]"),
        (
            lambda: fm.Model(
                MODELS["glow"](),
                codecs={"x": Pixels(4, 4, 2)},
                partition=fm.Partition({"x": 128}, {"z": 128}),
            ),
            r"events of shape \(4, 4, 2\) for block 'x' of 128 dimensions",
        ),
        (
            lambda: fm.fit(built(), np.zeros((600, *SHAPE), np.float32)),
            "are pixels, uint8 from 0 to 255",
        ),
        (
            lambda: fm.fit(built(), np.zeros((600, 8, 8, 1), np.uint8)),
            r"images \[8, 8, 2\] of x, the data shape",
        ),
        (
            lambda: fm.fit(built(), pictures(600), np.zeros((9, 4, 4, 2), np.uint8)),
            r"images \[8, 8, 2\] of x",
        ),
    ],
)
def test_wrong_use_is_one_clear_line(call, message):
    with pytest.raises(fm.UserError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
