"""Frames: conditional layers that are measured, not trained, and prepared once an observation."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from posterior_models import measured

import flow_models as fm
from flow_models.architectures.registry import build
from flow_models.bijectors import Coupling
from flow_models.bijectors.frames import KNOTS, Framed, LaplaceFrame, PriorFrame
from flow_models.bijectors.layer import leaves, make_variables
from flow_models.bijectors.regression_frame import RegressionFrame
from flow_models.core.serializable import from_config, to_config
from flow_models.models import posteriors
from flow_models.models.passes import Passes
from flow_models.simulators.linear_gaussian import LinearGaussian
from flow_models.simulators.simulator import Simulator
from flow_models.training import batches, losses

MATRIX = ((1.0, 0.5, 0.0), (0.0, 1.0, -1.0))
LINEAR = LinearGaussian(MATRIX)


@dataclasses.dataclass(frozen=True)
class Bent(Simulator):
    """y = asinh(2 A theta) + sigma e, with log sigma among the data; x = theta."""

    parameter_names = ("a", "b", "c")
    data_names = ("u", "v", "log_sigma")
    noise_varies = True

    def physical(self, theta):
        return tf.convert_to_tensor(theta)

    def whiten(self, x):
        return x, tf.zeros(tf.shape(x)[:1], x.dtype)

    def _straight(self, theta):
        return 2 * tf.matmul(theta, tf.constant(MATRIX, theta.dtype), transpose_b=True)

    def forward(self, theta):
        return tf.asinh(self._straight(theta))

    def observe(self, clean, seed):
        noise = tf.random.stateless_normal([tf.shape(clean)[0], 3], seed, dtype=clean.dtype)
        log_sigma = -1.0 + 0.3 * noise[:, :1]
        return tf.concat([clean + tf.exp(log_sigma) * noise[:, 1:], log_sigma], 1)

    def residual_and_jacobian(self, theta, y):
        sigma = self.noise_level(y)[:, None]
        slopes = 2 / tf.sqrt(1 + tf.square(self._straight(theta))) / sigma
        jacobian = slopes[..., None] * tf.constant(MATRIX, theta.dtype)
        return (self.forward(theta) - y[:, :2]) / sigma, jacobian


FRAMES = {
    "prior": PriorFrame(Bent()),
    "prior_fourier": PriorFrame(Bent(), fourier_features=2),
    "regression_repeats": RegressionFrame(Bent(), repeats=((0, 1, 2),)),
    "laplace": LaplaceFrame(Bent(), components=2),
    "laplace_no_steps": LaplaceFrame(Bent(), components=1, steps=0),
    "laplace_linear": LaplaceFrame(LINEAR, components=2, steps=1),
}
FRAMED = {
    f"framed_{name}": Framed(
        frame, Coupling(3, hidden=(8,), activation="silu", condition_size=frame.context_size)
    )
    for name, frame in FRAMES.items()
}
LAYERS = FRAMES | FRAMED


def pairs(simulator, n=2000, seed=(1, 2), dtype=tf.float32):
    return (np.asarray(each) for each in simulator.simulate(n, seed, dtype))


def frame_of(layer):
    return layer.frame if isinstance(layer, Framed) else layer


def started(layer, dtype=tf.float64):
    """Weights measured on pairs, and trained ones away from their start."""
    weights = make_variables(layer.init(np.random.default_rng(0)), dtype)
    theta, y = pairs(frame_of(layer).simulator, dtype=dtype)
    weights = layer.data_dependent_init(weights, tf.constant(theta), tf.constant(y))[0]
    rng = np.random.default_rng(1)
    for variable in leaves(weights).values():
        if getattr(variable, "trainable", False):
            variable.assign_add(0.3 * rng.normal(size=variable.shape))
    return weights


@pytest.fixture(params=LAYERS)
def case(request):
    """A layer, its weights, 12 rows of x and 4 observations y."""
    layer = LAYERS[request.param]
    _, y = pairs(frame_of(layer).simulator, 4, (3, 4), tf.float64)
    x = np.random.default_rng(5).normal(size=(12, 3))
    return layer, started(layer), tf.constant(x), tf.constant(y)


def test_round_trip_and_opposite_log_dets(case):
    layer, weights, x, y = case
    state = layer.prepare(weights, y)
    z, forward = layer.forward_and_log_det(weights, x, state)
    back, inverse = layer.inverse_and_log_det(weights, tf.identity(z), state)
    assert z.shape == back.shape == (12, 3) and forward.shape == inverse.shape == (12,)
    np.testing.assert_allclose(back, x, atol=1e-10)
    np.testing.assert_allclose(inverse, -forward, atol=1e-10)


def test_log_det_is_that_of_the_autodiff_jacobian_for_a_fixed_y(case):
    layer, weights, x, y = case
    state = layer.prepare(weights, y)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        z, log_det = layer.forward_and_log_det(weights, x, state)
    jacobian = tape.batch_jacobian(z, x, experimental_use_pfor=False)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-10)


def test_one_preparation_serves_many_x(case):
    """Rows of x that follow one another share the state of their observation."""
    layer, weights, x, y = case
    together = layer.forward_and_log_det(weights, x, layer.prepare(weights, y))
    each = layer.prepare(weights, tf.repeat(y, 3, 0))
    for one, other in zip(together, layer.forward_and_log_det(weights, x, each), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    state = layer.prepare(weights, y[1:2])
    alone = layer.forward_and_log_det(weights, x[3:6], state)
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one[3:6], other, atol=1e-10)


def test_compiled_equals_eager(case):
    layer, weights, x, y = case

    def run(x, y):
        return layer.forward_and_log_det(weights, x, layer.prepare(weights, y))

    compiled = tf.function(run, jit_compile=True, autograph=False)
    for one, other in zip(compiled(x, y), run(x, y), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_no_weight_of_a_frame_is_trained_and_all_are_measured(case):
    layer = case[0]
    initial = make_variables(layer.init(np.random.default_rng(0)), tf.float64)
    old, found = ((w["frame"] if isinstance(layer, Framed) else w) for w in (initial, case[1]))
    assert old and not any(variable.trainable for variable in leaves(old).values())
    for name, variable in leaves(old).items():
        assert found[name].shape == variable.shape, name
        assert np.abs(np.asarray(found[name]) - variable.numpy()).max() > 1e-3, name


def test_description_survives_json(case):
    assert from_config(json.loads(json.dumps(to_config(case[0])))) == case[0]


@pytest.mark.parametrize("name", FRAMES)
def test_the_context_has_the_width_that_it_states_and_is_standardised(name):
    frame = FRAMES[name]
    weights, (_, y) = started(frame), pairs(frame.simulator, 4000, (7, 8), tf.float64)
    context = frame.prepare(weights, tf.constant(y))["context"].numpy()
    assert context.shape == (4000, frame.context_size)
    data = np.asarray(frame.data_context(context))
    np.testing.assert_allclose(data.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(data.std(0), 1, atol=0.1)
    if isinstance(frame, PriorFrame):
        scores = np.sort(np.asarray(frame.scores(context)), 0)
        quantiles = scores[[636, 2000, 3364]]  # of N(0, 1): -1, 0 and 1
        np.testing.assert_allclose(quantiles, np.array([[-1], [0], [1]]) + np.zeros(3), atol=0.12)


def test_scores_end_at_the_last_quantile_and_waves_are_of_the_scores():
    frame = FRAMES["prior_fourier"]
    weights = started(frame)
    context = frame.prepare(weights, tf.constant([[1e6, -1e6, 0.0]], tf.float64))["context"].numpy()
    scores = np.asarray(frame.scores(context))
    edge = float(tf.math.ndtri(tf.constant(0.5 / KNOTS, tf.float64)))
    np.testing.assert_allclose(scores[0, :2], [-edge, edge], rtol=1e-6)
    waves = [wave(k * scores) for k in (1, 2) for wave in (np.sin, np.cos)]
    np.testing.assert_allclose(context[:, 6:], np.concatenate(waves, 1), atol=1e-12)


def test_the_laplace_frame_of_a_linear_problem_is_its_posterior():
    """By hand: precision I + A^T A / sigma^2, and z = L^T (theta - mean) with L of Cholesky."""
    frame = FRAMES["laplace_linear"]
    weights, (theta, y) = started(frame), pairs(LINEAR, 6, (3, 4), tf.float64)
    mean, covariance = LINEAR.exact_posterior(y)
    cholesky = np.linalg.cholesky(np.linalg.inv(covariance))
    state = frame.prepare(weights, tf.constant(y))
    np.testing.assert_allclose(state["mean"], mean, atol=1e-8)
    z, log_det = frame.forward_and_log_det(weights, tf.constant(theta), state)
    np.testing.assert_allclose(z, (theta - mean) @ cholesky, atol=1e-8)
    np.testing.assert_allclose(log_det, np.log(np.diag(cholesky)).sum(), atol=1e-8)


def test_gauss_newton_goes_downhill_and_keeps_the_best_iterate():
    simulator = Bent()
    _, y = pairs(simulator, 200, (3, 4), tf.float64)
    costs = []
    for steps in (0, 1, 2, 5, 40):
        frame = LaplaceFrame(simulator, components=2, steps=steps)
        mean = frame.prepare(started(frame), tf.constant(y))["mean"]
        costs.append(-simulator.log_posterior(mean, tf.constant(y)).numpy())
    assert all((later <= sooner + 1e-9).all() for sooner, later in zip(costs, costs[1:]))
    mode = tf.Variable(mean)
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(simulator.log_posterior(mode, tf.constant(y)))
    assert np.abs(tape.gradient(value, mode)).max() < 1e-3


def flow(size, width):
    options = dict(depth=2, hidden=(16,), standardise=False)
    return build("realnvp", size, condition_size=width, **options)


def moved(model):
    rng = np.random.default_rng(0)
    for variable in leaves(model.weights).values():
        if variable.trainable:
            variable.assign_add(0.2 * rng.normal(size=variable.shape).astype("f"))
    return model


@pytest.fixture(scope="module", params=["prior_fourier", "laplace"])
def model(request):
    frame = FRAMES[request.param]
    return moved(measured(frame, *pairs(frame.simulator), flow))


def by_hand(model, theta, y):
    """log p(theta | y) without `Model`: the frame, then the flow, then the base."""
    weights, layer = model.weights, model.layer
    state = layer.frame.prepare(weights["frame"], tf.constant(y))
    z, in_frame = layer.frame.forward_and_log_det(weights["frame"], tf.constant(theta), state)
    v, log_det = layer.layer.forward_and_log_det(weights["layer"], z, state["context"])
    base = -0.5 * np.square(v).sum(1) - 1.5 * np.log(2 * np.pi)
    return v.numpy(), base + log_det.numpy() + in_frame.numpy()


def test_a_framed_flow_behind_a_model_is_the_computation_by_hand(model):
    theta, y = pairs(model.simulator, 300, (3, 4))
    v, log_prob = by_hand(model, theta, y)
    np.testing.assert_allclose(model.log_prob(theta, y), log_prob, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(model.encode(theta, y), v, atol=1e-4)
    np.testing.assert_allclose(model.decode(v, y), theta, atol=1e-3)
    outside = model.bijector.forward_log_det_jacobian(theta, 1, condition=y)
    base = -0.5 * np.square(v).sum(1) - 1.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(base + outside.numpy(), log_prob, rtol=1e-5, atol=1e-4)
    x, weights = model.posterior(y[:2], 5, seed=3), model.weights
    z = tf.random.stateless_normal([10, 3], (3, 0))
    state = model.layer.prepare(weights, tf.constant(y[:2]))
    expected = model.layer.inverse_and_log_det(weights, z, state)[0].numpy()
    np.testing.assert_allclose(x.reshape(10, 3), expected, atol=1e-3)


def test_frames_of_one_observation_are_computed_once_however_many_x_there_are(model, monkeypatch):
    seen, state = [], Passes.state

    def counted(self, given):
        seen.append(len(given))
        return state(self, given)

    monkeypatch.setattr(Passes, "state", counted)
    theta, y = pairs(model.simulator, 500, (3, 4))
    model.posterior(y[0], 20_000)
    model.log_prob(theta, y[0])
    model.posterior(y[:7], 300)
    model.log_prob(theta, np.repeat(y[:5], 100, 0))
    model.log_prob(np.tile(theta[:, None], (1, 3, 1)), y[:3])
    assert seen == [1, 1, 7, 5, 3]


def test_any_number_of_rows_and_observations_gives_what_one_gives(model):
    theta, y = pairs(model.simulator, 300, (3, 4))
    together = model.log_prob(theta, y)
    for i in (0, 150, 299):
        assert abs(model.log_prob(theta[i], y[i]) - together[i]) < 1e-3
    assert model.log_prob(theta[:0], y[0]).shape == model.log_prob(theta[:0], y[:0]).shape == (0,)
    assert model.encode(theta[:0], y[0]).shape == (0, 3)
    assert model.posterior(y[:0], 4).shape == (0, 4, 3)
    np.testing.assert_allclose(
        posteriors.contexts(model, y)[7], posteriors.contexts(model, y[7:8])[0], atol=1e-4
    )


@pytest.mark.parametrize("jit", [False, True])
def test_a_batch_in_the_frame_trains_as_the_batch_itself_does(model, jit):
    """Training passes arrays through the frame once; a simulator's batches go through in every
    step."""
    theta, y = pairs(model.simulator, 64, (3, 4))
    batch = batches.as_batch({"x": theta, "y": y}, model)
    inside = batches.as_batch(batches.through_frame(model, {"x": theta, "y": y}), model)
    assert set(inside) == {"x", "context", "log_det"}
    trainable = [v for v in leaves(model.weights).values() if v.trainable]
    loss = losses.negative_log_likelihood(model)

    @tf.function(jit_compile=jit, autograph=False)
    def run(batch):
        with tf.GradientTape() as tape:
            objective = tf.reduce_mean(loss(model.weights, batch)["objective"])
        return objective, tape.gradient(objective, trainable)

    for one, other in zip(*map(tf.nest.flatten, (run(batch), run(inside))), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3, rtol=2e-3)
    assert abs(run(batch)[0] + model.log_prob(theta, y).mean()) < 1e-3


@pytest.mark.parametrize("source", ["arrays", "simulator", "dataset"])
def test_training_behind_a_frame_learns_and_leaves_the_frame_alone(source):
    frame = FRAMES["laplace"]
    theta, y = pairs(frame.simulator, 3000)
    model = measured(frame, theta, y, flow)
    before = {name: variable.numpy() for name, variable in leaves(model.weights).items()}
    data = {
        "arrays": {"x": theta, "y": y},
        "simulator": lambda n, seed: dict(zip("xy", frame.simulator.simulate(n, seed))),
        "dataset": tf.data.Dataset.from_tensor_slices({"x": theta, "y": y}),
    }[source]
    held = dict(zip("xy", pairs(frame.simulator, 500, (5, 6))))
    settings = fm.FitSettings(steps=150, batch_size=100, warmup_steps=10, ema=0.0, jit=False)
    history = fm.fit(model, data, held, settings).history
    assert min(history["val_objective"]) < history["val_objective"][0]
    found = -model.log_prob(held["x"], held["y"]).mean()
    assert found == pytest.approx(min(history["val_objective"]), abs=1e-3)
    for name, variable in leaves(model.weights).items():
        same = (variable.numpy() == before[name]).all()
        assert same == name.startswith("frame/"), name


LOADER = """
import sys, numpy as np, flow_models as fm
from flow_models.bijectors.layer import leaves
folder, given, out = sys.argv[1:]
model, pairs = fm.load(folder, jit=False), np.load(given)
np.savez(
    out,
    log_prob=model.log_prob(pairs["x"], pairs["y"]),
    posterior=model.posterior(pairs["y"], 5, seed=1),
    context=model.passes.state(pairs["y"])["context"],
    **{name: variable.numpy() for name, variable in leaves(model.weights["frame"]).items()},
)
"""


@pytest.mark.parametrize("name", ["prior_fourier", "laplace"])
def test_a_new_process_loads_the_measured_weights_exactly(name, tmp_path):
    frame = FRAMES[name]
    built = measured(frame, *pairs(frame.simulator), flow)
    model = fm.Model(built.bijector, built.partition, built.codecs, jit=False)
    moved(model)
    x, y = pairs(frame.simulator, 20, (3, 4))
    model.save(str(tmp_path / "model"))
    np.savez(tmp_path / "given.npz", x=x, y=y)
    command = [sys.executable, "-c", LOADER]
    command += [str(tmp_path / name) for name in ("model", "given.npz", "out.npz")]
    paths = [Path(fm.__file__).parents[1], Path(__file__).parent]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    subprocess.run(command, check=True, env=environment, cwd=tmp_path, timeout=200)
    found = np.load(tmp_path / "out.npz")
    np.testing.assert_array_equal(found["log_prob"], model.log_prob(x, y))
    np.testing.assert_array_equal(found["posterior"], model.posterior(y, 5, seed=1))
    np.testing.assert_array_equal(found["context"], model.passes.state(y)["context"])
    for key, variable in leaves(model.weights["frame"]).items():
        np.testing.assert_array_equal(found[key], variable.numpy())
        assert np.abs(found[key]).max() > 0


def test_data_without_finite_frames_are_refused_before_training():
    frame = FRAMES["laplace"]
    theta, y = (each.copy() for each in pairs(frame.simulator))
    model = measured(frame, theta, y, flow)
    y[3, 2] = -300.0  # log sigma: exp(-300) is 0
    with pytest.raises(fm.UserError, match="too narrow for 32-bit numbers"):
        fm.fit(model, {"x": theta, "y": y}, settings=fm.FitSettings(steps=1, batch_size=10))
