"""Posteriors of several trials, beside the exact one of a normal mean."""

import numpy as np
import pytest

import flow_models as fm
from flow_models.core.errors import FlowModelsWarning


def _trials(rng, n, most=6):
    """x ~ N(0, 1) and 1 to `most` trials x + N(0, 1), NaN in the others."""
    x = rng.normal(size=(n, 1))
    y = x[:, :, None] + rng.normal(size=(n, most, 1))
    y[np.arange(most) >= rng.integers(1, most + 1, n)[:, None]] = np.nan
    return x, y


@pytest.fixture(scope="module")
def model():
    x, y = _trials(np.random.default_rng(0), 4000)
    y[5, 0] = np.inf
    settings = fm.FitSettings(steps=300, batch_size=256, learning_rate=8e-3, jit=False)
    with pytest.warns(FlowModelsWarning, match="1 of 4,000 simulations"):
        return fm.fit_posterior(x, y, settings=settings, hidden=(16,), depth=1, bins=4)


def test_the_posterior_follows_the_number_of_trials(model):
    for seen in ([0.8], [0.8, 1.2, 1.0, 0.6, 1.4, 1.0]):
        drawn = model.posterior(np.array(seen)[:, None], 2000)
        n = len(seen)
        assert drawn.mean() == pytest.approx(np.sum(seen) / (n + 1), abs=0.12)
        assert drawn.std() == pytest.approx((n + 1) ** -0.5, rel=0.15)


def test_order_and_missing_trials_do_not_matter(model):
    y = np.array([0.8, 1.2, -0.3])[:, None]
    with_gaps = np.array([1.2, np.nan, -0.3, 0.8, np.nan])[:, None]
    x = np.array([0.5])
    assert model.log_prob(x, with_gaps) == pytest.approx(model.log_prob(x, y), abs=1e-5)
    both = model.posterior(np.stack([with_gaps, with_gaps]), 3)
    assert both.shape == (2, 3, 1)


def test_a_model_of_trials_is_saved(model, tmp_path):
    model.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    y = np.array([[0.8], [1.2]])
    np.testing.assert_array_equal(again.posterior(y, 5), model.posterior(y, 5))


@pytest.mark.parametrize(
    "y, message",
    [
        (np.zeros((7, 1)), "with 1 to 6 trials"),
        (np.zeros((2, 3)), r"\[..., trials, 1\]"),
        (np.full((2, 1), np.nan), "without a single trial"),
        (np.zeros(1), "y must have shape"),
    ],
)
def test_trials_that_do_not_fit_are_refused(model, y, message):
    with pytest.raises(fm.UserError, match=message):
        model.posterior(y, 5)
