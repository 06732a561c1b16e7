"""Residual flows: the Lipschitz bound, the unbiased log-determinant, the inverse."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors import Residual
from flow_models.bijectors.layer import leaves, make_variables
from flow_models.bijectors.lipschitz import HEAD, attention_bound, spectral_bound

LAYER = Residual(3, (8, 8))
ATTENTION = Residual(3, (8, 8), heads=2)


def moved(layer, dtype=tf.float64):
    weights = make_variables(layer.init(np.random.default_rng(0)), dtype)
    for i, variable in enumerate(leaves(weights).values()):
        variable.assign_add(0.4 * np.random.default_rng(i).normal(size=variable.shape))
    return weights


def some(n, seed=1, size=3):
    return tf.constant(np.random.default_rng(seed).normal(size=(n, size)))


@pytest.mark.parametrize("shape", [(64, 64), (2, 64), (64, 3), (1, 5), (1, 1)])
@pytest.mark.parametrize("kind", ["random", "of_rank_one", "orthogonal"])
def test_the_bound_is_above_the_largest_singular_value_and_near_it(shape, kind):
    w = np.random.default_rng(0).normal(size=shape)
    left, _, right = np.linalg.svd(w, full_matrices=False)
    w = {"random": w, "of_rank_one": np.outer(w[:, 0], w[0]), "orthogonal": left @ right}[kind]
    largest = np.linalg.norm(w, 2)
    for scale in (1e-3, 1.0, 1e4):
        bound = spectral_bound(tf.constant(scale * w)).numpy() / scale
        assert largest * (1 - 1e-9) <= bound <= largest * min(shape) ** (1 / 64) * (1 + 1e-6)
        bound = spectral_bound(tf.constant(scale * w, tf.float32)).numpy() / scale
        assert bound >= largest * (1 - 1e-5)


def test_the_bound_of_nothing_has_a_gradient():
    w = tf.zeros([4, 3])
    with tf.GradientTape() as tape:
        tape.watch(w)
        bound = spectral_bound(w)
    assert bound < 1e-5 and np.isfinite(tape.gradient(bound, w)).all()


@pytest.mark.parametrize("activation", ["silu", "relu", "tanh", "gelu"])
def test_activations_are_no_steeper_than_one_and_reach_it(activation):
    network = dataclasses.replace(LAYER, activation=activation).network
    for beta in (-3.0, 0.5, 4.0):
        x = tf.constant(np.linspace(-9, 9, 20_001) / np.log1p(np.exp(beta)))
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = network._activate({"beta": tf.constant([beta], tf.float64)}, 0, x)
        assert 0.98 < np.abs(tape.gradient(y, x)).max() <= 1


@pytest.mark.parametrize("tokens", [2, 6])
def test_attention_is_no_steeper_than_its_bound(tokens):
    network = dataclasses.replace(ATTENTION, size=tokens, heads=1).network
    rng, size = np.random.default_rng(0), tokens * HEAD
    u = tf.constant(rng.uniform(0, 1.5, (500, 1, 1)) * rng.normal(size=(500, tokens, HEAD)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(u)
        at = {"w": tf.zeros([tokens, HEAD], u.dtype), "c": u, "b": tf.ones(1, u.dtype)}
        means = network._attended(at, tf.zeros([500, tokens], u.dtype))[2]
    jacobians = tape.batch_jacobian(means, u, experimental_use_pfor=False)
    norms = np.linalg.norm(np.reshape(jacobians, (500, size, size)), 2, axis=(1, 2))
    assert 1.2 < norms.max() <= attention_bound(tokens)


def test_the_bound_of_attention_is_below_that_of_the_paper():
    assert attention_bound(1) == 1
    for q in (0.2785, 1.0, 2.5):
        tokens = q * np.exp(q + 1) + 1
        assert tokens**0.5 < attention_bound(tokens) < tokens**0.5 * (4 * q + 1)


TRAINED = {  # options, the least slope that training makes use of
    "residual": ({"depth": 4}, 0.3),
    "residual_attention": ({"depth": 2, "heads": 2}, 0.15),
}


@pytest.fixture(scope="module", params=TRAINED)
def trained(request):
    moons, (options, least) = fm.data.points.get("moons"), TRAINED[request.param]
    model = fm.Model(fm.architectures.build(request.param, 2, layers_per_loop_body=1, **options))
    settings = fm.FitSettings(
        steps=400, batch_size=128, learning_rate=1e-2, warmup_steps=50, ema=0.9
    )
    x = moons.draw(2000, (5, 0)).numpy()
    fm.fit(model, moons.draw, settings=settings)
    return model, x, least


def test_the_lipschitz_bound_holds_after_training(trained):
    """Of the kernels, of Jacobians at data, and of differences between random points."""
    model, x, least = trained
    standardise, repeat = model.layer.layers
    residual, rng = repeat.layer.layers[1], np.random.default_rng(0)
    x = standardise.forward_and_log_det(model.weights[0], tf.constant(x))[0]
    for k in range(repeat.depth):
        norm, weights = fm.bijectors.loops.of_round(model.weights[1], k)
        x = repeat.layer.layers[0].forward_and_log_det(norm, x)[0]
        bounded = residual.network.bounded(weights)
        kernels = bounded["behind"] if residual.heads else bounded
        norms = [np.linalg.norm(kernels[f"w{i}"], 2) for i in range(3)]
        assert np.prod(norms) <= residual.coefficient
        jacobian = residual.network.with_tangents(bounded, x, [])[1]
        steepest = np.linalg.norm(jacobian, 2, axis=(1, 2)).max()
        assert least < steepest <= residual.coefficient, "training uses what it may"
        a = rng.normal(size=(4000, 2)).astype("f") * rng.choice([0.3, 1, 5], (4000, 1)).astype("f")
        step = rng.normal(size=a.shape) * rng.choice([0.03, 0.3, 3], (4000, 1))
        b = a + step.astype("f")
        ratios = tf.norm(residual.network(bounded, a) - residual.network(bounded, b), axis=1)
        assert (ratios / tf.norm(a - b, axis=1)).numpy().max() <= residual.coefficient
        x = residual.forward_and_log_det(weights, x)[0]


@pytest.mark.parametrize(
    "trained",
    ["residual", pytest.param("residual_attention", marks=pytest.mark.slow)],
    indirect=True,
)
def test_a_trained_model_is_better_than_a_gaussian_and_inverts(trained):
    model, x, _ = trained
    gaussian = scipy.stats.multivariate_normal(x.mean(0), np.cov(x.T))
    assert model.log_prob(x).mean() > gaussian.logpdf(x).mean() + 0.1
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=1e-4)
    assert abs(model.sample(4000).mean(0) - x.mean(0)).max() < 0.1


def test_the_estimate_and_its_gradient_are_unbiased():
    weights, rows, estimate = moved(LAYER), 30_000, dataclasses.replace(LAYER, log_det="estimate")
    # random signs follow the bits of a row, which differ where x hardly does
    x = some(1) + 1e-5 * some(rows, 2)
    variables = list(leaves(weights).values())

    def run(layer, x):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x, *variables])
            log_det = layer.forward_and_log_det(weights, x)[1]
        return log_det, *tape.gradient(log_det, [x, *variables], unconnected_gradients="zero")

    exact = run(LAYER, x)
    compiled = tf.function(lambda x: run(estimate, x), jit_compile=True, autograph=False)
    found, dx, *others = compiled(x)
    assert found.numpy().std() > 0.01, "an estimate"
    error = found.numpy().std() / rows**0.5
    assert abs(found.numpy().mean() - exact[0].numpy().mean()) < 4 * error
    errors = 4 * dx.numpy().std(0) / rows**0.5
    assert (np.abs(dx.numpy().mean(0) - exact[1].numpy().mean(0)) < errors).all()
    for one, other in zip(others, exact[2:], strict=True):
        difference = np.linalg.norm(one - other)
        assert difference <= 0.1 * np.linalg.norm(other) + 1e-9


def test_the_estimate_is_a_function_of_each_row_and_of_the_weights():
    layer, x = dataclasses.replace(LAYER, log_det="estimate"), some(9)
    weights = moved(layer)
    whole = layer.forward_and_log_det(weights, x)[1].numpy()
    np.testing.assert_allclose(layer.forward_and_log_det(weights, x[3:5])[1], whole[3:5], atol=1e-9)
    weights["w1"].assign_add(1e-6 * tf.ones_like(weights["w1"]))
    assert np.abs(layer.forward_and_log_det(weights, x)[1] - whole).max() > 1e-4, "fresh signs"


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_the_inverse_keeps_the_tolerance(tolerance):
    layer = dataclasses.replace(LAYER, tolerance=tolerance, coefficient=0.98)
    weights, x = moved(layer), 3 * some(200)
    back = layer.inverse(weights, layer.forward_and_log_det(weights, x)[0])
    error = np.abs(back - x).max(1) / (1 + np.abs(x).max(1))
    assert error.max() <= tolerance and error.max() > 0
    alone = layer.inverse(weights, layer.forward_and_log_det(weights, x[:1])[0])
    np.testing.assert_allclose(alone, back[:1], atol=1e-12)


def test_gradients_of_the_inverse_agree_with_finite_differences():
    layer = Residual(2, (8,), condition_size=2)
    weights, y, c = moved(layer), some(5, size=2), some(5, 3, 2)

    def objective(y, c):
        x, log_det = layer.inverse_and_log_det(weights, y, c)
        return tf.reduce_sum(tf.sin(x)) + tf.reduce_sum(log_det)

    variables = list(leaves(weights).values())
    with tf.GradientTape() as tape:
        tape.watch([y, c])
        value = objective(y, c)
    dy, dc, *gradients = tape.gradient(value, [y, c, *variables])
    step = 1e-6 * some(5, 4, 2)
    for slope, up, down in (
        (dy, objective(y + step, c), objective(y - step, c)),
        (dc, objective(y, c + step), objective(y, c - step)),
    ):
        np.testing.assert_allclose(tf.reduce_sum(slope * step), (up - down) / 2, rtol=1e-4)
    for variable, gradient in zip(variables, gradients, strict=True):
        variable.assign_add(1e-6 * gradient)
        up = objective(y, c)
        variable.assign_sub(2e-6 * gradient)
        down = objective(y, c)
        variable.assign_add(1e-6 * gradient)
        np.testing.assert_allclose((up - down) / 2e-6, np.sum(gradient**2), rtol=1e-4)


@pytest.mark.slow
def test_many_dimensions_train_with_the_estimate():
    size, rng = 20, np.random.default_rng(0)
    mixing = np.eye(size) + 0.5 * np.eye(size, k=1)
    x = rng.normal(size=(4000, size)).astype("f") @ mixing.astype("f")
    model = fm.Model(
        fm.architectures.build("residual", size, depth=2, hidden=(32,), layers_per_loop_body=1)
    )
    settings = fm.FitSettings(steps=150, batch_size=64, learning_rate=2e-2, warmup_steps=20)
    history = fm.fit(model, x[:3000], x[3500:], settings).history["val_objective"]
    truth = 0.5 * size * (1 + np.log(2 * np.pi)) + np.linalg.slogdet(mixing)[1]
    independent = truth - 0.5 * np.linalg.slogdet(np.corrcoef(x.T))[1]
    assert history[-1] < truth + 0.35 * (independent - truth)
    assert abs(-model.log_prob(x[3500:]).mean() - history[-1]) < 0.5


def test_wrong_settings_are_one_clear_line():
    for options, message in (
        ({"coefficient": 1.0}, "coefficient is 1.0, must be between 0 and 1"),
        ({"heads": -1}, "heads is -1, must be at least 0"),
        ({"log_det": "fast"}, "log_det is 'fast', must be auto, exact or estimate"),
        ({"activation": "elu"}, "no activation 'elu'"),
    ):
        with pytest.raises(fm.UserError, match=message):
            fm.architectures.build("residual", 2, **options)
