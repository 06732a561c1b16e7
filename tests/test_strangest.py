"""Baselines without a flow, which rows are strange and why, and few rows."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from flow_models.diagnostics import baselines, strangest

COVARIANCE = np.array([[1.0, 0.9, 0.0], [0.9, 1.0, 0.0], [0.0, 0.0, 4.0]])
LAW = scipy.stats.multivariate_normal([1.0, 2.0, 3.0], COVARIANCE)


def draw(n, seed=0):
    return LAW.rvs(n, random_state=seed)


def test_three_baselines_come_near_the_entropy_in_the_units_of_the_rows():
    train, held, test = draw(3000), draw(500, 1), draw(4000, 2)
    scale, offset = np.array([1e-3, 1.0, 100.0]), np.array([0.0, 5e5, -3.0])
    units = [rows * scale + offset for rows in (train, held, test)]
    found = baselines.densities(*units)
    expected = LAW.entropy() + np.log(scale).sum()
    assert set(found) == {"gaussian", "kde", "mixture"}
    for name, log_prob in found.items():
        assert log_prob.shape == (4000,)
        assert -log_prob.mean() == pytest.approx(expected, abs=0.15 if name == "kde" else 0.03)


def test_a_mixture_and_kernels_beat_the_gaussian_on_two_clusters():
    rng = np.random.default_rng(0)
    rows = rng.normal(0, 0.3, (900, 2)) + rng.choice([-3.0, 3.0], (900, 1))
    found = baselines.densities(rows[:500], rows[500:600], rows[600:])
    truth = scipy.stats.norm(0, 0.3).entropy() * 2 + np.log(2)
    nll = {name: -log_prob.mean() for name, log_prob in found.items()}
    assert nll["gaussian"] > truth + 0.5
    assert nll["mixture"] == pytest.approx(truth, abs=0.1)
    assert nll["kde"] == pytest.approx(truth, abs=0.25)


def test_tail_probabilities_count_held_out_rows_and_not_the_row_itself():
    held = np.array([1.0, 2.0, 3.0, 4.0])
    scores, own = np.array([4.0, 10.0, 2.5, 0.0]), np.array([True, False, False, False])
    found = strangest.tail_probabilities(scores, held, own)
    np.testing.assert_allclose(found, [1 / 4, 1 / 5, 3 / 5, 1.0])


@pytest.mark.parametrize("frame", [False, True])
def test_the_column_that_breaks_a_correlation_drives_the_row(frame):
    known = draw(500)
    rows = np.array([[1.0, 2.0, 3.0 + 2 * 6.0], [1.0 + 3.0, 2.0, 3.0]])
    names = ["a", "b", "c"]
    log_prob = lambda x: LAW.logpdf(np.asarray(x))
    if frame:
        rows, known = (pd.DataFrame(x, columns=names) for x in (rows, known))
    found = strangest.gains(log_prob, rows, known)
    assert found[0].argmax() == 2 and found[0, 2] == pytest.approx(18.0, abs=0.3)
    conditional = (3.0 - 0.0) ** 2 / (1 - 0.9**2) / 2  # of a, given b at its mean
    assert found[1, 0] == pytest.approx(conditional, rel=0.05) and found[1, 2] < 0.1


def test_overfitting_is_said_in_words():
    text, rise = strangest.overfitting([160.0, 2000.0, 4000.0], [1.0, 1.1, 1.25])
    assert text == "best at step 160 of 4,000; validation rose since, by 0.25 nats"
    assert rise == pytest.approx(0.25)
    assert strangest.overfitting([10.0, 20.0], [2.0, 1.0]) == ("best at step 20 of 20", 0.0)
