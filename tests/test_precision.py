"""Statistics of many rows, and of rows far from zero, are summed in 64 bits; TF32 where asked."""

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors import ActNorm, Standardise
from flow_models.bijectors.frames import PriorFrame
from flow_models.core import principal, startup
from flow_models.core.startup import tensor_float_32
from flow_models.diagnostics import baselines
from flow_models.models.problem import NoiseLevel
from flow_models.simulators.drawn import Drawn
from flow_models.training import losses

ENABLED = tf.config.experimental  # whether TF32 is


def test_the_context_of_a_million_pairs_has_the_scale_of_the_data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1_000_000, 1))
    y = np.concatenate([1e4 + x + 0.2 * rng.normal(size=x.shape), rng.normal(size=x.shape)], 1)
    frame = PriorFrame(Drawn.of(x[:1000], y[:1000]))
    found = frame.measure(x.astype(np.float32), y.astype(np.float32))
    np.testing.assert_allclose(found["mean"], [1e4, 0.0], atol=0.01)
    np.testing.assert_allclose(found["scale"], [1.0198, 1.0], atol=0.005)
    weights = {name: tf.constant(value, tf.float32) for name, value in found.items()}
    context = frame.prepare(weights, tf.constant([[1e4 - 4, 0.0]]))["context"].numpy()[0]
    assert context[0] == pytest.approx(-3.92, abs=0.03)


@pytest.mark.parametrize("rows", [20_000, 100_000, 500_000])
def test_the_gaussian_baseline_does_not_depend_on_the_number_of_rows(rows):
    rng = np.random.default_rng(1)
    x = (np.array([5e5, 5.57e6]) + rng.normal(size=(rows, 2)) * [300, 500]).astype(np.float32)
    assert baselines.gaussian_nll(x, x[:20_000]) == pytest.approx(14.756, abs=0.03)


@pytest.mark.parametrize("layer, scale", [(ActNorm(2), "log_scale"), (Standardise(2), "sd")])
def test_initial_weights_of_rows_far_from_zero(layer, scale):
    rng = np.random.default_rng(2)
    x = (np.array([5e5, -2e4]) + rng.normal(size=(100_000, 2)) * [300, 1]).astype(np.float32)
    weights, y = layer.data_dependent_init(layer.init(rng), tf.constant(x))
    found = weights[scale].numpy()
    found = np.exp(found) if scale == "log_scale" else found
    np.testing.assert_allclose(found, x.std(0, dtype=np.float64), rtol=1e-3)
    np.testing.assert_allclose(y.numpy().mean(0, dtype=np.float64), 0.0, atol=2e-3)


def test_other_sums_over_rows():
    rng = np.random.default_rng(3)
    x = (1e5 + rng.normal(size=(300_000, 2)) * [10, 20]).astype(np.float32)
    mean, _, deviations = principal.components(x, 2)
    np.testing.assert_allclose(mean, 1e5, atol=0.2)
    np.testing.assert_allclose(deviations, [20, 10], rtol=0.01)
    level = NoiseLevel.measured(Drawn.of(x[:500], x[:500]), x)
    assert (level.mean, level.sd) == pytest.approx((1e5, 20), rel=0.01)
    distance = baselines.class_distance(x, np.zeros(len(x), int), x[:1000])
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(2**0.5, abs=0.1)


def test_the_mmd_of_a_training_does_not_depend_on_an_offset():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 200, 2)).astype(np.float32)
    there = losses.mmd_squared(tf.constant(a + 4096), tf.constant(b + 0.5 + 4096))
    here = losses.mmd_squared(tf.constant(a), tf.constant(b + 0.5))
    assert float(there) == pytest.approx(float(here), abs=1e-4)


@pytest.fixture
def without_tf32():
    before = ENABLED.tensor_float_32_execution_enabled()
    ENABLED.enable_tensor_float_32_execution(False)
    yield
    ENABLED.enable_tensor_float_32_execution(before)


def test_tf32_is_taken_in_the_steps_of_training_alone(without_tf32):
    rng, seen = np.random.default_rng(5), []
    x = (rng.normal(size=(600, 3)) @ rng.normal(size=(3, 3))).astype(np.float32)
    model = fm.Model(fm.realnvp(3, depth=1, hidden=(8,)))
    likelihood = losses.negative_log_likelihood(model)

    def loss(weights, batch):
        seen.append(ENABLED.tensor_float_32_execution_enabled())
        return likelihood(weights, batch)

    settings = fm.FitSettings(steps=20, batch_size=100, tf32=True)
    trainer = fm.Trainer(model, x, x, settings, loss=loss)
    trainer.run(progress=False)
    assert not ENABLED.tensor_float_32_execution_enabled()
    assert any(seen) and not all(seen), "the steps alone, not validation"
    assert np.abs(model.decode(model.encode(x)) - x).max() < 1e-4


def test_products_have_the_precision_that_is_asked_for(without_tf32):
    a = tf.ones([4, 4])

    def products(on):
        run = tf.function(lambda a: a @ a, jit_compile=True)
        with tensor_float_32(on):
            return run.experimental_get_compiler_ir(a)(stage="hlo")

    full = "operand_precision={highest,highest}"
    assert full in products(False) and full not in products(True) and full in products(False)
    with pytest.raises(KeyError), tensor_float_32(True):
        raise KeyError
    assert not ENABLED.tensor_float_32_execution_enabled()


def test_tf32_is_off_where_tensorflow_was_imported_before(without_tf32):
    ENABLED.enable_tensor_float_32_execution(True)
    startup._keep_float32.cache_clear()
    startup.load_tensorflow()
    assert not ENABLED.tensor_float_32_execution_enabled()
    ENABLED.enable_tensor_float_32_execution(True)
    startup.load_tensorflow()
    assert ENABLED.tensor_float_32_execution_enabled(), "a user's own choice stays"
