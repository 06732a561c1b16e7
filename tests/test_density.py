"""Training on a density without data, against closed forms."""

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.architectures.registry import build
from flow_models.bijectors.layer import leaves, rebuild
from flow_models.models.weighted import target, weighted_samples
from flow_models.training import annealed, density, reverse_kl

MEAN, FACTOR = np.array([1.0, -2.0]), np.array([[2.0, 0.0], [-1.2, 0.5]])
LOG_Z = 3.7
QUICK = fm.FitSettings(steps=600, batch_size=128, learning_rate=2e-2, eval_every_steps=50)


def gaussian(x):
    """e^LOG_Z N(MEAN, FACTOR FACTOR^T)."""
    u = tf.linalg.matvec(
        tf.constant(np.linalg.inv(FACTOR), x.dtype), x - tf.constant(MEAN, x.dtype)
    )
    log_det = np.log(np.diag(FACTOR)).sum()
    return LOG_Z - 0.5 * tf.reduce_sum(u * u, -1) - np.log(2 * np.pi) - log_det


@pytest.fixture(scope="module")
def fitted():
    """A linear flow trained on a Gaussian by reverse KL."""
    flow = build("glow", 2, depth=1, hidden=(8,))
    return fm.fit_density(gaussian, flow, QUICK, scale=3.0, method="reverse_kl")


def test_reverse_kl_finds_a_gaussian_and_its_normaliser(fitted):
    drawn = fitted.sample(2000, seed=1)
    assert drawn.log_z == pytest.approx(LOG_Z, abs=2e-3)
    assert drawn.log_z_se < 2e-3 and drawn.ess_fraction > 0.995
    assert fitted.history["train_objective"][-1] == pytest.approx(-LOG_Z, abs=0.05)
    x = fitted.model.sample(20_000, seed=2)
    np.testing.assert_allclose(x.mean(0), MEAN, atol=0.06)
    np.testing.assert_allclose(np.cov(x.T), FACTOR @ FACTOR.T, atol=0.12)


def test_the_path_gradient_vanishes_where_the_model_is_the_density(fitted):
    """Sticking the landing: without variance at the optimum, row by row."""
    model, z = fitted.model, tf.random.stateless_normal([4, 2], (0, 1))
    of_model = lambda x: model.distribution().log_prob(x)
    loss = reverse_kl.reverse_kl(model, of_model)
    weights = [tf.identity(each) for each in leaves(model.weights).values()]
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(weights)
        batch = {"x": z, "beta": tf.ones([4, 1])}
        value = loss(rebuild(model.weights, weights), batch)["objective"]
    jacobians = tape.jacobian(value, weights, unconnected_gradients="zero")
    assert max(float(tf.reduce_max(tf.abs(g))) for g in jacobians) < 1e-4
    np.testing.assert_allclose(value, 0, atol=1e-5)


def test_rows_where_the_density_overflows_do_not_end_a_training():
    """exp(12 x^2) is infinite in 32 bits from 2.7 on, and so is its gradient."""
    model = fm.Model(build("glow", 2, depth=1, hidden=(8,)))
    steep = lambda x: -tf.reduce_sum(tf.exp(12 * x * x), -1)
    loss = reverse_kl.reverse_kl(model, steep)
    weights = [tf.identity(each) for each in leaves(model.weights).values()]
    z = tf.constant([[0.1, 0.2], [4.0, -0.3], [0.3, 5.0]])
    with tf.GradientTape() as tape:
        tape.watch(weights)
        batch = {"x": z, "beta": tf.ones([3, 1])}
        value = tf.reduce_mean(loss(rebuild(model.weights, weights), batch)["objective"])
    found = tape.gradient(value, weights, unconnected_gradients="zero")
    assert np.isfinite(value) and value > 1e7
    assert all(np.isfinite(each).all() for each in found)
    assert max(np.abs(each).max() for each in found) > 0


def test_weights_correct_a_model_that_is_not_the_density():
    """Expectations, log Z and masses of a mixture, from a Gaussian that is too wide."""
    model = fm.Model(build("realnvp", 2, depth=1, hidden=(4,)))
    model.bijector.data_dependent_init(3 * tf.random.stateless_normal([4096, 2], (0, 0)))
    centres, shares = tf.constant([[2.0, 0.0], [-2.0, 1.0]]), tf.constant([0.3, 0.7])

    def mixture(x):
        squares = tf.reduce_sum((x[:, None] - centres) ** 2, -1)
        return 1.5 + tf.reduce_logsumexp(tf.math.log(shares) - 0.5 * squares, -1)

    drawn = weighted_samples(model, mixture, 40_000, seed=3)
    assert drawn.log_z == pytest.approx(1.5 + np.log(2 * np.pi), abs=4 * drawn.log_z_se)
    assert 0 < drawn.log_z_se < 0.02 and 0.1 < drawn.ess_fraction < 0.9
    np.testing.assert_allclose(drawn.mean(drawn.x), [-0.8, 0.7], atol=0.06)
    masses = drawn.masses((drawn.x[:, 0] < 0).astype(int), 2)
    np.testing.assert_allclose(masses, [0.3, 0.7], atol=0.03)
    np.testing.assert_allclose(drawn.resample(20_000, 0).mean(0), [-0.8, 0.7], atol=0.08)


def test_other_inputs_are_noise_of_a_wider_space():
    partition = fm.Partition({"x": 2, "eps": 1}, {"z": 3})
    model = fm.Model(build("realnvp", 3, depth=2, hidden=(4,)), partition)
    u = tf.constant([[0.5, -1.0, 2.0]])
    found = target(model, gaussian)(u)
    wanted = gaussian(u[:, :2]) - 0.5 * 4.0 - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_annealing_rises_from_the_start_to_the_density():
    model = fm.Model(build("realnvp", 2, depth=1, hidden=(4,)))
    latents = reverse_kl.Latents(model, annealed_steps=10)
    betas = [float(latents(3, (0, step))["beta"][0, 0]) for step in (-1, 0, 5, 10, 99)]
    assert betas == pytest.approx([0, 0, 0.5, 1, 1])
    assert float(reverse_kl.Latents(model)(3, (0, 0))["beta"][0, 0]) == 1


@pytest.mark.parametrize(
    "wrong, said",
    [
        (lambda x: np.square(x.numpy()).sum(-1), "written with TensorFlow"),
        (lambda x: tf.square(x), "one number a row"),
        (lambda x: tf.cast(tf.reduce_sum(x, -1), tf.float64), "keep the type float32"),
    ],
)
def test_densities_that_do_not_fit_are_refused(wrong, said):
    with pytest.raises(fm.UserError, match=said):
        fm.fit_density(wrong, build("realnvp", 2, depth=1), QUICK)


@pytest.mark.parametrize("options", [{"scale": 0.0}, {"forward_share": 1.0}, {"method": "kl"}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(fm.UserError, match="must be"):
        fm.fit_density(gaussian, build("realnvp", 2, depth=1), QUICK, **options)


def test_models_with_bounds_or_with_y_are_refused():
    bounded = fm.Model(build("realnvp", 2, depth=1, lower=[0, None]))
    with pytest.raises(fm.UserError, match="without bounds"):
        fm.fit_density(gaussian, bounded, QUICK)
    flow = build("realnvp", 2, depth=1, condition_size=1)
    conditional = fm.Model(flow, fm.Partition({"x": 2}, {"z": 2}, given={"y": 1}))
    with pytest.raises(fm.UserError, match="given"):
        fm.fit_density(gaussian, conditional, QUICK)


def test_a_density_that_is_nan_is_refused_by_name():
    model = fm.Model(build("realnvp", 2, depth=1, hidden=(4,)))
    with pytest.raises(fm.UserError, match="NaN at x = "):
        weighted_samples(model, lambda x: tf.math.log(x[:, 0]), 50)


# annealing

CENTRES, SHARES = np.array([[4.0, 0.0], [-4.0, 2.0]]), np.array([0.25, 0.75])


def two_modes(x):
    """e^1.5 times a mixture of two Gaussians, sd 0.5, far from each other."""
    squares = tf.reduce_sum((x[:, None] - tf.constant(CENTRES, x.dtype)) ** 2, -1)
    logs = tf.constant(np.log(SHARES), x.dtype) - 2 * squares
    return 1.5 + tf.reduce_logsumexp(logs, -1) - np.log(2 * np.pi * 0.25)


@pytest.fixture(scope="module")
def buffer():
    """Draws of two modes, annealed from a wide Gaussian; the flow is a Gaussian too."""
    model = fm.Model(build("realnvp", 2, depth=1, hidden=(4,)))
    model.bijector.data_dependent_init(4 * tf.random.stateless_normal([4096, 2], (0, 0)))
    return annealed.Buffer(model, two_modes, 0.0, 4.0, rows=4096, kept=1)


def drawn_from(buffer):
    rows = tf.function(buffer.__call__, jit_compile=True)(20_000, tf.constant([0, 5]))
    x = rows["x"].numpy()
    return x, x[:, 0] < 0


@pytest.mark.slow
def test_annealing_from_a_gaussian_finds_both_modes(buffer):
    x, second = drawn_from(buffer)
    assert buffer.log_z == pytest.approx(1.5, abs=0.15)
    assert second.mean() == pytest.approx(0.75, abs=0.06)
    for mode, rows in enumerate((x[~second], x[second])):
        np.testing.assert_allclose(rows.mean(0), CENTRES[mode], atol=0.06)
        np.testing.assert_allclose(rows.std(0), 0.5, atol=0.04)


@pytest.mark.slow
def test_draws_annealed_towards_p2_over_q_have_weights_for_p(buffer):
    """Where p^2 / q is another density than p, weights make the difference."""
    buffer.refresh(buffer._model.weights)
    unweighted = buffer._x.numpy()
    x, second = drawn_from(buffer)
    assert buffer.log_z == pytest.approx(1.5, abs=0.1)
    assert second.mean() == pytest.approx(0.75, abs=0.06)
    assert (unweighted[:, 0] < 0).mean() > 0.8  # of p^2 / q: 0.88
    np.testing.assert_allclose(x[second].std(0), 0.5, atol=0.04)
    np.testing.assert_allclose(unweighted[unweighted[:, 0] < 0].std(0), 0.5 / 2**0.5, atol=0.03)


def test_weights_are_exact_where_the_rounds_end_early(monkeypatch):
    """One round from a Gaussian far too wide reaches a power below 1; weights still are for p."""
    monkeypatch.setattr(annealed, "ROUNDS", 1)
    model = fm.Model(build("realnvp", 2, depth=1, hidden=(4,)))
    early = annealed.Buffer(model, two_modes, 0.0, 6.0, rows=20_000, kept=1)
    assert early._log_weights.std() > 1
    x, second = drawn_from(early)
    assert early.log_z == pytest.approx(1.5, abs=0.1)
    assert second.mean() == pytest.approx(0.75, abs=0.05)
    np.testing.assert_allclose(x[second].mean(0), CENTRES[1], atol=0.06)


def test_rows_of_density_zero_do_not_stay():
    half = lambda z: (z, tf.where(z[:, 0] > 1, -0.5 * tf.reduce_sum(z * z, -1), -np.inf))
    z = tf.random.stateless_normal([4096, 2], (0, 0))
    run = tf.function(lambda z: annealed.anneal(lambda z: _floor(half(z)), z, 1.0, 50, 0.3, (0, 1)))
    z, _, log_z, power, _ = run(z)
    assert float(power) == 1
    assert (z.numpy()[:, 0] > 1).all()
    assert float(log_z) == pytest.approx(np.log(2 * np.pi * 0.158655), abs=0.1)


def _floor(found):
    return found[0], annealed._floored(found[1])


@pytest.mark.slow
def test_annealed_training_keeps_both_modes(tmp_path):
    """Forward, then reverse; each writes its checkpoint."""
    model = fm.Model(build("spline_coupling", 2, depth=3, hidden=(16,), bins=8), jit=False)
    settings = fm.FitSettings(steps=240, batch_size=128, learning_rate=1e-2, jit=False)
    found = fm.fit_density(two_modes, model, settings, scale=4.0, folder=str(tmp_path))
    assert found.forward.history["step"][-1] == 180 and found.history["step"][-1] == 60
    assert found.train_seconds > found.forward.train_seconds
    assert found.history["learning_rate"][0] < 1e-3
    assert {each.name for each in tmp_path.iterdir()} == {"forward", "reverse"}
    drawn = found.sample(4000, seed=1)
    assert drawn.log_z == pytest.approx(1.5, abs=4 * drawn.log_z_se)
    assert drawn.mean(drawn.x[:, 0] < 0) == pytest.approx(0.75, abs=0.08)
    assert (drawn.x[:, 0] < 0).mean() == pytest.approx(0.75, abs=0.15)


def test_weighted_draws_set_masses_right():
    """The flow starts with half of its mass in each mode; the density has 3/4 in the left one."""
    model = fm.Model(build("mixture", 2, depth=1, hidden=(4,), bins=4, components=2), jit=False)
    rng = np.random.default_rng(0)
    x = 0.5 * rng.normal(size=(2000, 2)) + np.repeat(CENTRES, 1000, 0)
    noise = rng.normal(size=(2000, sum(model.partition.inputs.values()) - 2))
    model.bijector.data_dependent_init(np.concatenate([x, noise], 1).astype(np.float32))
    model.started = True
    left = lambda: (model.sample(4000, seed=1)[:, 0] < 0).mean()
    assert left() == pytest.approx(0.5, abs=0.05)
    settings = fm.FitSettings(steps=60, batch_size=256, learning_rate=3e-2, jit=False)
    density.weigh(model, two_modes, settings, progress=False)
    assert left() == pytest.approx(0.75, abs=0.04)


def test_the_trainer_refreshes_a_source_after_each_row():
    seen = []

    class Draws:
        def __call__(self, n, seed):
            return tf.random.stateless_normal([n, 2], seed)

        def refresh(self, weights):
            seen.append(leaves(weights))

    model = fm.Model(build("realnvp", 2, depth=1, hidden=(4,)))
    fm.fit(model, Draws(), settings=fm.FitSettings(steps=40, batch_size=16, eval_every_steps=10))
    assert len(seen) == 3  # not after the last row
    assert list(seen[0]) == list(leaves(model.weights))
    assert any(np.abs(seen[0][name] - seen[2][name]).max() > 0 for name in seen[0])


@pytest.mark.slow
def test_a_gaussian_for_each_mode_needs_no_bridge():
    """The base starts at annealed draws; reverse KL leaves its masses as they are."""
    flow = build("mixture", 2, depth=1, hidden=(8,), bins=4, components=2)
    settings = fm.FitSettings(steps=240, batch_size=256, learning_rate=5e-3, jit=False)
    found = fm.fit_density(two_modes, fm.Model(flow, jit=False), settings, scale=4.0)
    drawn = found.sample(4000, seed=1)
    assert drawn.ess_fraction > 0.97
    assert drawn.log_z == pytest.approx(1.5, abs=0.02)
    assert (drawn.x[:, 0] < 0).mean() == pytest.approx(0.75, abs=0.03)
