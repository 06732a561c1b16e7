"""The page doc/your_own_problem.md runs as it stands, and what `fit_posterior` refuses."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import flow_models as fm
from flow_models.core.errors import FlowModelsWarning

PAGE = Path(__file__).parents[1] / "doc" / "your_own_problem.md"


@pytest.mark.slow
def test_the_page_runs_and_its_posterior_is_calibrated(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S).group(1)
    assert len(code.splitlines()) <= 35
    found = {}
    exec(compile(code.replace("steps=3000", "steps=1500"), str(PAGE), "exec"), found)
    assert (
        abs(found["metrics"]["coverage_50"] - 0.5) < 0.06
        and abs(found["metrics"]["coverage_90"] - 0.9) < 0.04
    )
    samples = found["samples"]
    assert (
        samples.shape == (10_000, 2) and samples[:, 0].min() >= 0.1 and samples[:, 0].max() <= 2.0
    )
    reading = [75.2, 61.0, 45.9, 29.3]
    assert (np.abs(samples.mean(0) - exact_mean(np.array(reading))) < [0.03, 0.4]).all()
    again = fm.load(str(tmp_path / "runs" / "cooling"))
    np.testing.assert_array_equal(again.posterior(reading, 5), found["model"].posterior(reading, 5))


def exact_mean(reading):
    """Posterior mean on a grid."""
    rate, ambient = np.meshgrid(np.linspace(0.1, 2, 400), np.linspace(0, 36, 400), indexing="ij")
    clean = ambient[..., None] + (90 - ambient[..., None]) * np.exp(
        -rate[..., None] * np.array([0.25, 0.5, 1.0, 2.0])
    )
    log_p = -0.5 * (((clean - reading) / 1.5) ** 2).sum(-1) - 0.5 * ((ambient - 18) / 4) ** 2
    weights = np.exp(log_p - log_p.max())
    return np.array([(weights * rate).sum(), (weights * ambient).sum()]) / weights.sum()


def test_one_parameter_and_a_resumed_run(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 1))
    y = x + 0.5 * rng.normal(size=x.shape)
    settings = fm.FitSettings(steps=300, batch_size=128)
    model = fm.fit_posterior(x, y, settings=settings, hidden=(32,), depth=2, folder=str(tmp_path))
    again = fm.fit_posterior(
        x, y, settings=settings, hidden=(32,), depth=2, folder=str(tmp_path), resume=True
    )
    np.testing.assert_array_equal(again.posterior([0.5], 4), model.posterior([0.5], 4))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FlowModelsWarning)
        draws = model.posterior([1.0], 5000)
        model.posterior(y[:1000], 2)
    far = r"tail probability below 0.0005, column 'y1' is \+9\d\.\d standard deviations"
    with pytest.warns(FlowModelsWarning, match=far):
        model.posterior([105.0], 4)
    with pytest.warns(FlowModelsWarning, match="y of 9 of 10 rows lies farther out"):
        model.posterior(np.append(-50 * np.ones((9, 1)), [[0.1]], 0), 4)
    assert draws.mean() == pytest.approx(0.8, abs=0.08) and draws.std() == pytest.approx(
        0.2**0.5, abs=0.06
    )
    predicted = model.predict([[0.7], [-0.4]], 4000)
    np.testing.assert_allclose(predicted.mean(1)[:, 0], [0.7, -0.4], atol=0.1)
    np.testing.assert_allclose(predicted.std(1)[:, 0], 0.5, atol=0.1)
    model.save(str(tmp_path / "model"))
    np.testing.assert_array_equal(
        fm.load(str(tmp_path / "model")).predict([0.7], 9), model.predict([0.7], 9)
    )
    with pytest.raises(fm.UserError, match="too few to predict from"):
        model.predict([9.0], 10)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"x": np.zeros((10, 2))}, "unequal length"),
        ({"lower": [0.0]}, "bounds for 1 columns"),
        ({"lower": [0.0, 0.0]}, "lower|outside|bound"),
        ({"names": ["a"]}, "1 and 1 names|names for"),
        ({"x": np.full((300, 2), np.nan)}, "NaN"),
        ({"names": "ab"}, "names are a list"),
        ({"names": ["a", "a"]}, "names are a list"),
        ({"y": 1e6 + 1e-3 * np.arange(300.0)[:, None]}, "too little for 32-bit"),
        ({"y": 1e30 * np.arange(300.0)[:, None]}, "too large for 32-bit"),
        ({"validation": 1.0}, "validation is 1.0"),
        ({"validation": float("nan")}, "validation is nan"),
        ({"dept": 3}, "no option 'dept'"),
        ({"condition_size": 3}, "no option 'condition_size'"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(300, 2)), rng.normal(size=(300, 1))
    with pytest.raises(fm.UserError, match=message):
        fm.fit_posterior(
            **{"x": x, "y": y, "settings": fm.FitSettings(steps=5, batch_size=32), **change}
        )


def test_parameters_far_from_0_keep_their_spread():
    """Epoch seconds, of which float32 knows every 128th: the exact posterior is normal."""
    rng = np.random.default_rng(1)
    offset = 20 * rng.normal(size=4000)
    x = np.stack([1.7e9 + offset, rng.normal(size=4000)], 1)
    y = (offset / 20 + 0.5 * rng.normal(size=4000))[:, None]
    settings = fm.FitSettings(steps=600, batch_size=256)
    model = fm.fit_posterior(x, y, ["time", "other"], settings=settings, hidden=(32,), depth=2)
    drawn = model.posterior([1.0], 4000)
    assert drawn.dtype == np.float64 and len(np.unique(drawn[:, 0])) > 3990
    assert drawn[:, 0].mean() - 1.7e9 == pytest.approx(16.0, abs=1.5)
    assert drawn[:, 0].std() == pytest.approx(8.94, abs=0.8)
    exact = -0.5 * np.log(2 * np.pi * 80) - 0.5 * np.log(2 * np.pi)
    assert model.log_prob([1.7e9 + 16, 0.0], [1.0]) == pytest.approx(exact, abs=0.15)
    assert model.predict([1.7e9 + 20, 0.0], 500).mean() == pytest.approx(1.0, abs=0.15)
