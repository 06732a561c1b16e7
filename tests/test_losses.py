"""What may be added to the likelihood by weight, against values worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

import flow_models as fm
from flow_models.architectures.registry import build
from flow_models.bijectors.layer import leaves
from flow_models.training import losses

TERMS = {
    "mmd_latents": losses.mmd_of_latents,
    "mmd_parameters": losses.mmd_of_inputs,
    "reconstruction": losses.reconstruction,
}


def normal(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@pytest.fixture
def joint():
    """A new network, which is the identity: three inputs, of which the first goes to y."""
    partition = fm.Partition(inputs={"x": 3}, outputs={"y": 1, "z": 2}, sigma_y=0.5)
    return fm.Model(build("spline_coupling", 3, depth=3, hidden=(8,), standardise=False), partition)


def test_mmd_is_the_mean_over_pairs():
    a, b = normal(6, 2), normal(6, 2, seed=1) + 1.0

    def k(p, q):
        return sum(4 * h * h / (4 * h * h + np.sum((p - q) ** 2)) for h in losses.WIDTHS)

    a_, b_ = a.numpy(), b.numpy()
    apart = [(i, j) for i in range(6) for j in range(6) if i != j]
    by_hand = np.mean([k(a_[i], a_[j]) + k(b_[i], b_[j]) - 2 * k(a_[i], b_[j]) for i, j in apart])
    assert float(losses.mmd_squared(a, b)) == pytest.approx(by_hand, abs=1e-5)


def test_mmd_has_mean_zero_for_one_law_and_sees_another():
    same = [
        float(losses.mmd_squared(normal(100, 3, seed=i), normal(100, 3, seed=100 + i)))
        for i in range(40)
    ]
    shared = [
        normal(20, 2, seed=200 + i) for i in range(200)
    ]  # y, beside which z and what it is compared with stand
    paired = [
        float(
            losses.mmd_squared(
                tf.concat([y, normal(20, 1, seed=i)], 1),
                tf.concat([y, normal(20, 1, seed=500 + i)], 1),
            )
        )
        for i, y in enumerate(shared)
    ]
    for found in (same, paired):
        assert abs(np.mean(found)) < 3 * np.std(found) / len(found) ** 0.5
    assert float(losses.mmd_squared(normal(100, 3), 2 * normal(100, 3, seed=1))) > 5 * np.std(same)


def test_reconstruction_says_how_far_y_is_from_what_the_network_says(joint):
    x, y = normal(4000, 3), normal(4000, 1, seed=1)
    value = losses.reconstruction(joint)(
        joint.weights, {"x": x, "y": y}, joint.layer.forward_and_log_det(joint.weights, x)[0]
    )
    off, noise = np.square(y[:, 0] - joint.encode(x)[:, 0]), 2 * losses.PERTURBATION**2
    assert np.mean(value.numpy() - off) == pytest.approx(noise, rel=0.1)


def test_latents_that_know_y_are_seen(joint):
    term, x = losses.mmd_of_latents(joint), normal(400, 3)
    alone = {"x": x, "y": x[:, :1] + 0.5 * normal(400, 1, seed=1)}
    right = float(term(joint.weights, alone, x)[0])
    telling = {"x": x, "y": x[:, 1:2]}
    assert float(term(joint.weights, telling, x)[0]) > 10 * abs(right)


@pytest.mark.parametrize("name", TERMS)
def test_terms_are_added_by_weight_repeat_and_reach_the_weights(joint, name):
    batch = {"x": normal(64, 3), "y": normal(64, 1, seed=1)}
    plain = losses.negative_log_likelihood(joint)
    assert set(
        losses.negative_log_likelihood(joint, **{name: (0.0, TERMS[name](joint))})(
            joint.weights, batch
        )
    ) == set(plain(joint.weights, batch))
    with_term = losses.negative_log_likelihood(joint, **{name: (2.0, TERMS[name](joint))})
    with tf.GradientTape() as tape:
        found = with_term(joint.weights, batch)
        value = tf.reduce_mean(found[name])
    np.testing.assert_allclose(
        found["objective"], plain(joint.weights, batch)["objective"] + 2 * found[name], rtol=1e-5
    )
    np.testing.assert_array_equal(found[name], with_term(joint.weights, batch)[name])
    weights = list(leaves(joint.weights).values())
    gradients = tape.gradient(value, [v for v in weights if v.trainable])
    assert (
        sum(g is not None and float(tf.reduce_max(tf.abs(g))) > 0 for g in gradients)
        >= len(gradients) // 3
    )
    result = fm.fit(
        joint,
        {k: v.numpy() for k, v in batch.items()},
        settings=fm.FitSettings(steps=20, batch_size=32),
        loss=with_term,
    )
    assert np.isfinite(result.history[f"train_{name}"]).all()


def test_couplings_see_the_summary_of_a_condition_and_learn_it(tmp_path):
    rng = np.random.default_rng(0)
    condition = rng.normal(size=(4000, 12)).astype(np.float32)
    x = condition[:, :2] - condition[:, 2:4] + 0.1 * rng.normal(size=(4000, 2))
    partition = fm.Partition(inputs={"x": 2}, outputs={"z": 2}, given={"y": 12})
    model = fm.Model(
        build(
            "realnvp", 2, depth=3, hidden=(16,), condition_size=12, summary=2, summary_hidden=(16,)
        ),
        partition,
    )
    assert model.weights["network"]["w1"].shape == (16, 2)
    fm.fit(
        model,
        {"x": x, "y": condition},
        settings=fm.FitSettings(steps=800, batch_size=256, learning_rate=5e-3),
    )
    exact = -2 * (0.5 + 0.5 * np.log(2 * np.pi) + np.log(0.1))
    assert model.log_prob(x, condition).mean() > exact - 0.6
    model.save(str(tmp_path))
    np.testing.assert_array_equal(
        fm.load(str(tmp_path)).log_prob(x[:9], condition[:9]), model.log_prob(x[:9], condition[:9])
    )


def test_a_summary_needs_a_condition():
    with pytest.raises(fm.UserError, match="of a condition"):
        build("realnvp", 2, summary=2)


@pytest.mark.parametrize("rows", [pytest.param(500, marks=pytest.mark.slow), 1500])
def test_validation_rows_that_fill_no_tile_are_not_compared_with_copies_of_one(joint, rows):
    data = {"x": normal(rows, 3).numpy(), "y": normal(rows, 1, seed=1).numpy()}
    loss = losses.negative_log_likelihood(joint, mmd=(1.0, losses.mmd_of_inputs(joint)))
    trainer = fm.Trainer(
        joint, data, data, fm.FitSettings(steps=1, batch_size=32, learning_rate=1e-6), loss=loss
    )
    assert (
        abs(
            trainer.run().history["val_mmd"][0]
            - float(losses.mmd_of_inputs(joint)(joint.weights, data, data["x"])[0])
        )
        < 0.02
    )


def test_a_run_is_not_resumed_with_other_terms(joint, tmp_path):
    data, settings = (
        {"x": normal(200, 3).numpy(), "y": normal(200, 1, seed=1).numpy()},
        fm.FitSettings(steps=2, batch_size=32),
    )

    def trainer(weight):
        loss = losses.negative_log_likelihood(joint, mmd=(weight, losses.mmd_of_latents(joint)))
        return fm.Trainer(
            joint, data, data, settings, loss=loss, folder=str(tmp_path), resume=weight > 0
        )

    trainer(0.0).run()
    with pytest.raises(fm.UserError, match="loss was None and is now {'mmd': 2.0}"):
        trainer(2.0)
