"""Flows of patches with transformers: what sees what, training, both directions, mistakes."""

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors import (
    Chain,
    Flatten,
    FlowBijector,
    HalfTurn,
    Levels,
    PatchAutoregressive,
)
from flow_models.bijectors.layer import leaves, make_variables
from flow_models.bijectors.transformer import Transformer
from flow_models.models.denoised import denoised
from flow_models.models.pixels import Pixels

SHAPE = (8, 8, 1)
RECIPES = {
    "tarflow": {"levels": 1, "depth": 4, "hidden": (16,), "heads": 2},
    "jet": {"levels": 2, "depth": 2, "hidden": (16,), "heads": 2, "mixing": "lu"},
}
TRAINED = ("tarflow", pytest.param("jet", marks=pytest.mark.slow))


def pictures(n, seed=0):
    """Bright squares on dark ground, with noise, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :8]
    left, top = rng.integers(0, 5, (2, n, 1, 1))
    inside = (x >= left) & (x < left + 4) & (y >= top) & (y < top + 4)
    return np.clip(180 * inside[..., None] + rng.normal(30, 5, (n, *SHAPE)), 0, 255).astype("u1")


@pytest.fixture(scope="module", params=TRAINED)
def trained(request):
    pixels = fm.architectures.pixels_of(request.param, SHAPE, 5, 2)
    flow = fm.architectures.build_image(request.param, pixels, **RECIPES[request.param])
    model = fm.Model(flow, codecs={"x": pixels})
    before = {name: each.numpy() for name, each in flow.named_weights().items()}
    settings = fm.FitSettings(
        steps=300, batch_size=64, learning_rate=5e-3, warmup_steps=20, eval_every_steps=300
    )
    untrained = model.bits_per_dim(pictures(200, 1)).mean()
    fm.fit(model, pictures(500), settings=settings)
    return model, before, untrained


def test_training_learns_squares_and_every_parameter_moves(trained):
    model, before, untrained = trained
    assert model.bits_per_dim(pictures(200, 1)).mean() < untrained - 1.5
    for name, variable in model.bijector.named_weights().items():
        assert not variable.trainable or np.abs(variable.numpy() - before[name]).max() > 0, name


def test_pictures_come_back_from_their_latents_and_samples_are_like_them(trained):
    model, _, _ = trained
    levels = model.decode(model.encode(pictures(20, 2), seed=3))
    np.testing.assert_allclose(model.decode(model.encode(levels)), levels, atol=5e-3)
    bright = (model.sample(400, seed=1) > 120).mean()
    assert abs(bright - (pictures(400, 3) > 120).mean()) < 0.1


@pytest.mark.parametrize("turned", [False, True])
def test_a_patch_depends_on_those_before_alone_and_on_all_of_them(turned):
    layer = PatchAutoregressive(1, grid=(2, 3), heads=2, hidden=(8, 8))
    turn = HalfTurn() if turned else Chain([])
    layers = Chain([turn, layer, turn])
    weights = make_variables(layers.init(np.random.default_rng(0)), tf.float64)
    rng = np.random.default_rng(1)
    for variable in leaves(weights).values():
        variable.assign_add(0.3 * rng.normal(size=variable.shape))
    x = tf.constant(rng.normal(size=(4, 2, 3, 1)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = layers.forward_and_log_det(weights, x)[0]
    jacobian = np.abs(tape.batch_jacobian(y, x, experimental_use_pfor=False))
    depends = (jacobian.reshape(4, 6, 6) > 0).all(0)
    allowed = np.tril(np.ones((6, 6), bool))
    np.testing.assert_array_equal(depends, allowed[::-1, ::-1] if turned else allowed)


def test_training_adds_noise_and_samples_have_it_taken_off():
    pixels = Pixels(2, 2, 1, bits=3, noise=0.25)
    drawn = pixels.draw(tf.fill([20_000, 2, 2, 1], tf.constant(96, tf.uint8)), tf.float32, (0, 1))
    assert np.mean(drawn) == pytest.approx(3.5, abs=0.05)
    assert np.std(drawn) == pytest.approx((1 / 12 + 2.0**2) ** 0.5, rel=0.02)
    np.testing.assert_array_equal(np.floor(pixels.encode(np.full((2, 2, 1), 96), "f4").rows), 3)
    layers = Chain([Levels(8), Flatten((2, 2, 1))])  # x is N(4, 8^2)
    model = fm.Model(FlowBijector(layers, event_ndims=(3, 1)), codecs={"x": pixels}, jit=False)
    rows = np.random.default_rng(0).normal(4, 8, (50, 2, 2, 1)).astype("f4")
    np.testing.assert_allclose(denoised(model, rows), rows - 4 * (rows - 4) / 64, atol=1e-5)
    plain = fm.Model(model.bijector, codecs={"x": Pixels(2, 2, 1, bits=3)}, jit=False)
    of_both = [each.sample(2000, seed=1).astype(float).std() for each in (plain, model)]
    assert of_both[1] < of_both[0]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: fm.architectures.tarflow((8, 6, 1), 2), "8x6 have no whole patches of .* = 4"),
        (lambda: fm.architectures.jet(SHAPE, mixing="lx"), "no mixing 'lx'"),
        (lambda: fm.architectures.jet(SHAPE, hidden=(8, 4)), "all its blocks have one width"),
        (lambda: Pixels(2, 2, 1, noise=-1.0), "noise is -1.0, must be at least 0"),
        (
            lambda: fm.architectures.build_image("jet", Pixels(4, 4, 1, noise=0.1), logit=0.05),
            "neither a logit nor",
        ),
        (lambda: Transformer(1, 1, ()), "a transformer has a block for each number"),
        (lambda: Transformer(1, 1, (6,), heads=4), "heads is 4, must divide the width 6"),
        (lambda: Transformer(1, 1, (6,), heads=0), "heads is 0, must divide"),
    ],
)
def test_mistakes_are_one_line(call, message):
    with pytest.raises(fm.UserError, match=message):
        call()
