"""Continuous flows: the solver, the adjoint gradient, divergences, potentials."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors import Continuous, FreeField, PotentialField
from flow_models.bijectors.layer import leaves, make_variables
from flow_models.bijectors.ode import solve

FIELDS = {
    "free": FreeField(2, (6,), condition_size=1),
    "potential": PotentialField(2, 5, 2, condition_size=1),
}


def moved(layer, scale=0.5):
    weights = make_variables(layer.init(np.random.default_rng(0)), tf.float64)
    for i, variable in enumerate(leaves(weights).values()):
        variable.assign_add(scale * np.random.default_rng(i).normal(size=variable.shape))
    return weights


def some(n, seed=1, size=2):
    return tf.constant(np.random.default_rng(seed).normal(size=(n, size)))


@pytest.fixture(params=FIELDS)
def field(request):
    return FIELDS[request.param]


def rotation(t, y):
    """A turn by 1 radian, and growth by e^t: closed forms are known."""
    turned = tf.stack([-y[:, 1], y[:, 0]], 1)
    return turned + y, [tf.reduce_sum(y * y)]


def test_the_error_follows_the_tolerance_and_more_evaluations_buy_it():
    y = some(5)
    cos, sin = np.cos(1), np.sin(1)
    exact = np.e * y.numpy() @ np.array([[cos, sin], [-sin, cos]])
    errors, counts = [], []
    for tolerance in (1e-3, 1e-5, 1e-7, 1e-9):
        found, (integral,), evaluations = solve(
            rotation, y, tolerance, [tf.zeros([], y.dtype)], together=True
        )
        errors.append(np.abs(found - exact).max() / (1 + np.abs(exact).max()))
        counts.append(evaluations.numpy().max())
        assert errors[-1] < 10 * tolerance
        np.testing.assert_allclose(integral, np.sum(y**2) * (np.e**2 - 1) / 2, rtol=100 * tolerance)
    assert errors == sorted(errors, reverse=True) and counts == sorted(counts)
    assert errors[-1] < 1e-8 and 12 <= counts[0] < counts[-1] < 300


def test_rows_take_their_own_steps_and_hopeless_rows_are_not_a_number():
    def explodes(t, y):
        return y**3, []

    y = tf.constant([[0.1], [0.5], [3.0], [np.nan]], tf.float64)
    found, _, evaluations = solve(explodes, y, 1e-8)
    exact = y[:2, 0] / tf.sqrt(1 - 2 * y[:2, 0] ** 2)
    np.testing.assert_allclose(found[:2, 0], exact, rtol=1e-6)
    assert np.isnan(found[2:]).all(), "the solution ends before t = 1"
    assert evaluations[0] < evaluations[1] < evaluations[2] < 3000
    np.testing.assert_array_equal(solve(explodes, y[1:2], 1e-8)[0], found[1:2])


def test_gradients_are_those_of_finite_differences_and_compile(field):
    layer, x, c = Continuous(field, 1e-9), some(4), some(4, 2, 1)
    weights = moved(layer)
    variables = list(leaves(weights).values())

    def objective(x, c):
        y, log_det, cost = layer.forward_with_cost(weights, x, c)
        return tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(log_det**2) + tf.reduce_sum(cost)

    def gradients(x, c):
        with tf.GradientTape() as tape:
            tape.watch([x, c])
            value = objective(x, c)
        return tape.gradient(value, [x, c, *variables])

    value = tf.function(objective, autograph=False)
    found = tf.function(gradients, jit_compile=True, autograph=False)(x, c)
    for slope, (up, down) in zip(found, _differences(value, x, c, variables, found), strict=True):
        np.testing.assert_allclose(np.sum(slope**2), (up - down) / 2e-5, rtol=1e-5)


def _differences(value, x, c, variables, slopes):
    """The objective on both sides along each gradient."""
    dx, dc = (1e-5 * slope for slope in slopes[:2])
    yield value(x + dx, c), value(x - dx, c)
    yield value(x, c + dc), value(x, c - dc)
    for variable, slope in zip(variables, slopes[2:], strict=True):
        variable.assign_add(1e-5 * slope)
        up = value(x, c)
        variable.assign_sub(2e-5 * slope)
        down = value(x, c)
        variable.assign_add(1e-5 * slope)
        yield up, down


def test_adjoint_gradients_are_those_through_the_steps_of_the_solver(field):
    layer, x, c = Continuous(field, 1e-7), some(4), some(4, 2, 1)
    weights = moved(layer)
    variables = list(leaves(weights).values())

    def through_the_solver():
        right = layer._right(weights, x, c, 1, False, None)
        start = tf.pad(x, [[0, 0], [0, 1]])
        end = solve(lambda t, state: (right(t, state[:, :2]), []), start, 1e-7)[0]
        return end[:, :2], end[:, 2]

    results = []
    for run in (through_the_solver, lambda: layer.forward_and_log_det(weights, x, c)):
        with tf.GradientTape() as tape:
            y, log_det = run()
            target = tf.reduce_sum(tf.cos(y)) + tf.reduce_sum(log_det**2)
        results.append(tape.gradient(target, variables))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * (1 + np.abs(other).max()))


def test_divergences_are_traces_of_the_jacobian(field):
    weights, x, c, t = moved(field), some(6), some(6, 2, 1), tf.constant(np.linspace(0, 1, 6))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        f, divergence = field.velocity_and_divergence(weights, t, x, c)
    np.testing.assert_allclose(field.velocity(weights, t, x, c), f, atol=1e-12)
    jacobian = tape.batch_jacobian(f, x, experimental_use_pfor=False)
    np.testing.assert_allclose(divergence, np.trace(jacobian, axis1=1, axis2=2), atol=1e-10)
    if isinstance(field, PotentialField):
        np.testing.assert_allclose(jacobian, np.swapaxes(jacobian, 1, 2), atol=1e-10)


def test_the_estimated_log_determinant_is_unbiased():
    exact = Continuous(FreeField(3, (6,)), 1e-6)
    estimate = dataclasses.replace(exact, field=FreeField(3, (6,), divergence="estimate"))
    weights, rows = moved(exact), 8000
    x = some(1, size=3) + 1e-6 * some(rows, 2, 3)  # signs follow the bits of a row
    found = tf.function(estimate.forward_and_log_det, jit_compile=True)(weights, x)[1].numpy()
    expected = exact.forward_and_log_det(weights, x[:1])[1].numpy()
    assert found.std() > 0.05, "an estimate"
    assert abs(found.mean() - expected) < 4 * found.std() / rows**0.5
    again = estimate.forward_and_log_det(weights, x[5:6])[1]
    np.testing.assert_allclose(again, found[5:6], atol=1e-6)


def test_memory_of_the_gradient_does_not_grow_with_the_steps():
    def loops_of(tolerance):
        layer = Continuous(FreeField(2, (32,)), tolerance)
        weights = layer.init(np.random.default_rng(0))
        names = list(weights)

        def gradient(x, *values):
            nest = dict(zip(names, values))
            with tf.GradientTape() as tape:
                tape.watch(values)
                y, log_det = layer.forward_and_log_det(nest, x)
                target = tf.reduce_sum(y * y) - tf.reduce_sum(log_det)
            return tape.gradient(target, values)

        run = tf.function(gradient, autograph=False)
        graph = run.get_concrete_function(
            tf.TensorSpec([512, 2]), *(tf.TensorSpec(w.shape) for w in weights.values())
        ).graph
        loops = [op for op in graph.get_operations() if "While" in op.type]
        kinds = {out.dtype for op in loops for out in op.outputs}
        return len(loops), tf.variant in kinds

    # a gradient through the steps would need lists (variants) that hold every step
    assert loops_of(1e-3) == loops_of(1e-8) == (2, False)


def test_wrong_settings_are_one_clear_line():
    build = fm.architectures.build
    for make, message in (
        (lambda: build("ffjord", 2, tolerance=0), "tolerance is 0, must be above 0"),
        (lambda: build("ffjord", 2, divergence="fast"), "divergence is 'fast'"),
        (lambda: build("ot_flow", 2, hidden=(8, 9)), "widths of a potential are equal"),
        (lambda: Continuous(FreeField(2), 1e-4, "guess"), "objective is 'guess', must be one of"),
    ):
        with pytest.raises(fm.UserError, match=message):
            make()
