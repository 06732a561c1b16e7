"""Posteriors given data of several kinds: features, and the exact posterior by quadrature."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import flow_models as fm
from flow_models import __main__ as commands
from flow_models.models.columns import Columns
from flow_models.models.data_of_kinds import DataOfKinds, features, names_of_features
from flow_models.simulators.drawn import Drawn


def _frame():
    when = pd.date_range("2024-01-01", periods=40, freq="7h")
    frame = {"site": list("abca") * 10, "flag": [True, False] * 20, "hour": [0.0, 6.0, 12, 18] * 10}
    frame |= {"count": range(0, 80, 2), "rain": [0.0, 0.0, 1.5, 3.0] * 10, "when": when}
    kinds = {"hour": "circular 24", "rain": "atom 0", "count": "count"}
    return pd.DataFrame(frame), kinds


def test_features_of_each_kind():
    frame, kinds = _frame()
    table = Columns.of(frame, kinds)
    found = pd.DataFrame(features(table, table.prepare(frame)), columns=names_of_features(table))
    assert list(found) == [
        *("site = a", "site = b", "site = c", "flag = True", "cos hour", "sin hour"),
        *("count", "rain = 0", "rain", "when"),
    ]
    np.testing.assert_array_equal(found["site = b"], frame.site == "b")
    np.testing.assert_array_equal(found["flag = True"], frame.flag)
    np.testing.assert_allclose(found["sin hour"], [0, 1, 0, -1] * 10, atol=1e-6)
    np.testing.assert_allclose(found["count"], np.log1p(frame["count"]), rtol=1e-6)
    np.testing.assert_array_equal(found["rain = 0"], frame.rain == 0)
    steps = np.diff(found.when)
    assert steps.min() > 0 and np.ptp(steps) < 1e-3 * steps.max()


def test_data_come_in_any_form_and_unknown_values_are_refused():
    frame, kinds = _frame()
    table = Columns.of(frame, kinds)
    prepared = table.prepare(frame)
    numbers, names = features(table, prepared), names_of_features(table)
    simulator = Drawn.of(np.arange(40.0)[:, None], numbers, ["x"], names)
    codec = DataOfKinds(simulator, prepared, table)
    shuffled = frame[frame.columns[::-1]]
    for values in (frame, shuffled, frame.to_dict("records"), frame.to_numpy(object)):
        np.testing.assert_allclose(codec.encode(values, np.float32).rows, numbers, atol=1e-5)
    back = pd.DataFrame(codec.of_prior, columns=table.names)
    assert list(back.site) == list(frame.site) and list(back["count"]) == list(frame["count"])
    np.testing.assert_allclose(back.rain.astype(float), frame.rain, atol=1e-6)
    one = codec.encode(frame.iloc[3].to_dict(), np.float32)
    assert one.lead == () and one.rows.shape == (1, 10)
    for cell, message in (("z", "an unknown category in column 'site', row 2"), (None, "no value")):
        wrong = frame.copy()
        wrong.loc[2, "site"] = cell
        with pytest.raises(fm.UserError, match=message):
            codec.encode(wrong, np.float32)


def _pairs(n, seed):
    """x ~ N(0, 1); of it a count, one of three categories, and an angle."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    chosen = (rng.random(n)[:, None] > np.cumsum(_shares(x), 1)).sum(1)
    y = {"place": np.array(["hill", "lake", "town"])[chosen], "alarms": rng.poisson(_rate(x))}
    return x[:, None], pd.DataFrame({**y, "angle": np.mod(rng.vonmises(x, 3.0), 2 * np.pi)})


def _shares(x):
    logits = np.stack([2 * x, np.zeros_like(x), -2 * x], -1)
    return np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)


def _rate(x):
    return np.exp(0.5 + 0.6 * x)


def test_a_posterior_given_several_kinds_is_the_exact_one(tmp_path):
    x, y = _pairs(8000, 0)
    settings = fm.FitSettings(steps=600, batch_size=256, learning_rate=2e-3)
    options = {"data_kinds": {"angle": "circular"}, "settings": settings, "names": ["x"]}
    model = fm.fit_posterior(x, y, **options, hidden=(32,), depth=2)
    grid = np.linspace(-6, 6, 2001)
    asked = pd.DataFrame({"place": ["hill", "town", "lake"], "alarms": [4, 0, 1]})
    asked["angle"] = [0.8, 5.5, 0.1]
    drawn = model.posterior(asked, 4000, seed=1)[..., 0]
    for row, draws in zip(asked.itertuples(), drawn, strict=True):
        place = ["hill", "lake", "town"].index(row.place)
        p = stats.norm.pdf(grid) * _shares(grid)[:, place]
        p *= stats.poisson.pmf(row.alarms, _rate(grid)) * stats.vonmises.pdf(row.angle, 3.0, grid)
        p /= p.sum()
        mean = (grid * p).sum()
        sd = np.sqrt((grid**2 * p).sum() - mean**2)
        assert draws.mean() == pytest.approx(mean, abs=0.2 * sd)
        assert draws.std() == pytest.approx(sd, rel=0.15)
    predicted = pd.DataFrame(model.predict([1.0], 2000), columns=["place", "alarms", "angle"])
    assert (predicted.place == "hill").mean() == pytest.approx(_shares(np.ones(1))[0, 0], abs=0.1)
    assert predicted.alarms.astype(float).mean() == pytest.approx(_rate(1.0), rel=0.15)
    model.save(str(tmp_path))
    again = fm.load(str(tmp_path))
    np.testing.assert_array_equal(again.posterior(asked, 5), model.posterior(asked, 5))
    asked.to_csv(tmp_path / "asked.csv", index=False)
    files = [str(tmp_path / name) for name in ("asked.csv", "scores.csv")]
    commands.main(["score", str(tmp_path), files[0], "--csv", files[1]])
    scores = pd.read_csv(files[1]).nll
    np.testing.assert_allclose(scores, model.anomaly_score(asked), rtol=1e-4)
    commands.main(["sample", str(tmp_path), "-n", "5", "--observed", files[0], "--csv", files[1]])
    np.testing.assert_allclose(
        pd.read_csv(files[1])["x"], again.posterior(asked, 5).reshape(-1), rtol=1e-4
    )
