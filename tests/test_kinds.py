"""Kinds of columns: round trips, probabilities that sum to one, and a table of known truth."""

import json
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from in_process import application
from scipy import stats

import flow_models as fm
from flow_models.bijectors import Chain, Domain, FlowBijector, Standardise, cdf
from flow_models.bijectors.heaped import HeapedCDF
from flow_models.bijectors.mixed import Mixed, features_of
from flow_models.core.errors import FlowModelsWarning
from flow_models.models import heaps
from flow_models.models.atoms import Atom
from flow_models.models.categories import Categorical
from flow_models.models.circular import Circular
from flow_models.models.columns import Columns
from flow_models.models.dates import Date
from flow_models.models.finding import kinds_of
from flow_models.models.kinds import Continuous
from flow_models.models.whole import Count, Integer

CDFS = {
    "category": cdf.CategoryCDF((0.2, 0.5, 0.3)),
    "count": cdf.CountCDF(3.0, 2.0),
    "integer": cdf.CountCDF(0.0, 30.0, None),
    "few": cdf.CountCDF(3.0, 2.0, 1.0, highest=6.0),
    "few heaped": HeapedCDF(30.0, 20.0, 3.0, 16, ((10, 0),), (17,), (0.5, 0.3, 0.2), highest=61.0),
    "heaped": HeapedCDF(30.0, 20.0, 0.0, 16, ((10, 0), (5, 2)), (17,), (0.5, 0.2, 0.2, 0.1)),
    "angle": cdf.AngleCDF(),
    "atom": cdf.AtomCDF(0.6),
    "atom between": cdf.AtomCDF(0.3, True),
}
RNG = np.random.default_rng(0)


def _parameters(one, rows, spread=0.5):
    o = one.start() + spread * np.random.default_rng(1).normal(size=one.parameters)
    return tf.tile(tf.constant(o[None], tf.float32), [rows, 1])


@pytest.mark.parametrize("name", CDFS)
@pytest.mark.parametrize("jit", [False, True])
def test_a_cdf_is_inverted_and_its_latents_are_finite(name, jit):
    one, z = CDFS[name], RNG.normal(size=5000).astype(np.float32)
    o = _parameters(one, len(z))
    inverse = tf.function(one.inverse, jit_compile=jit, autograph=False)
    forward = tf.function(one.forward_and_log_det, jit_compile=jit, autograph=False)
    again, log_det = forward(o, tf.identity(inverse(o, z)))
    assert np.quantile(np.abs(again - z), 0.999) < 1e-3 and np.isfinite(log_det).all()


@pytest.mark.parametrize("name", CDFS)
def test_the_log_determinant_is_that_of_the_map(name):
    one = CDFS[name]
    x = one.inverse(_parameters(one, 500), RNG.normal(size=500).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        z, log_det = one.forward_and_log_det(_parameters(one, 500), x)
    slope = np.log(tape.gradient(z, x))
    inside = np.abs(z) < 2.5
    np.testing.assert_allclose(slope[inside], log_det[inside], atol=5e-3)


@pytest.mark.parametrize(
    "name, whole",
    [
        ("category", range(3)),
        ("count", range(100_000)),
        ("heaped", range(300_000)),
        ("integer", range(-400_000, 400_000)),
        ("few", range(1, 7)),
        ("few heaped", range(3, 62)),
    ],
)
def test_probabilities_sum_to_one(name, whole):
    one, total = CDFS[name], 0.0
    for k in np.array_split(np.array(whole, np.float32), 1 + len(whole) // 50_000):
        log_p = one.tails(_parameters(one, len(k)), tf.constant(k))[2].numpy()
        total += np.exp(log_p.astype(np.float64)).sum()
    assert total == pytest.approx(1, abs=3e-3)


def test_the_density_of_an_angle_is_one_in_all_and_continuous_across_the_seam():
    one, x = CDFS["angle"], ((np.arange(20_000) + 0.5) / 20_000).astype(np.float32)
    density = np.exp(one.tails(_parameters(one, len(x)), tf.constant(x))[2].numpy())
    assert density.mean() == pytest.approx(1, abs=1e-4)
    assert density[0] == pytest.approx(density[-1], rel=5e-3) and np.ptp(density) > 0.3


@pytest.mark.parametrize("name", ["atom", "atom between"])
def test_an_atom_and_its_density_are_one_in_all(name):
    one = CDFS[name]
    v = (
        np.linspace(-100, 100, 200_001) + 1e-4
        if one.two_sided
        else np.exp(np.linspace(-25, 25, 10**5))
    )
    rows = np.where(v > 0, v + one.edge, v - one.edge).astype(np.float32)
    log_p = one.tails(_parameters(one, len(v)), tf.constant(rows))[2].numpy().astype(np.float64)
    atom = one.tails(_parameters(one, 1), tf.constant([one.edge - 0.5], tf.float32))[2].numpy()[0]
    assert np.trapezoid(np.exp(log_p), v) + np.exp(atom) == pytest.approx(1, abs=2e-3)


def test_a_step_far_out_keeps_its_probability_and_its_gradient():
    one = CDFS["count"]
    o, k = _parameters(one, 3, 0), tf.constant([10.0, 1e4, 1e6])
    with tf.GradientTape() as tape:
        tape.watch(o)
        log_p = one.tails(o, k)[2]
    assert np.isfinite(log_p).all() and (np.diff(log_p) < 0).all()
    assert np.isfinite(tape.gradient(log_p, o)).all()


def test_mixed_columns_are_inverted_with_latents_in_the_places_of_their_columns():
    columns = (None, *list(CDFS.values())[:3], None, *list(CDFS.values())[3:])
    flow = fm.spline_coupling(2, depth=2, hidden=(8,), condition_size=features_of(columns))
    bijector = fm.FlowBijector(Mixed(columns, flow.layer, hidden=(8,)), 0, tf.float32)
    z = RNG.normal(size=(300, len(columns))).astype(np.float32)
    x = tf.identity(bijector.inverse(z))
    np.testing.assert_allclose(bijector.forward(x), z, atol=2e-3)
    moved = bijector.inverse(z + np.eye(len(columns), dtype=np.float32)[6] * 0.1).numpy()
    assert (moved[:, 6] != x.numpy()[:, 6]).any() and (moved[:, 1:4] == x.numpy()[:, 1:4]).all()


KINDS = {
    "plain": (Continuous.of, [0.5, 1.0, -3.0]),
    "far": (Continuous.of, [1.7e9, 1.7e9 + 10, 1.7e9 - 5]),
    "large": (Continuous.of, [3e20, -1e20, 5e19]),
    "dates": (Date.of_dates, pd.to_datetime(["2024-02-29 12:00:00", "2025-01-01 00:00:03"])),
    "days": (Date.of_dates, pd.to_datetime(["2024-02-29", "2025-01-01"])),
    "texts": (Categorical.of, np.array(["a", "b", "a"], object)),
    "flags": (Categorical.of, np.array([True, False])),
    "counts": (Count.of, np.array([0, 5, 3, 1_000_000])),
    "integers": (Integer.of, np.array([-7, 1_999_993, 2_000_003])),
    "whole floats": (Count.of, np.array([0.0, 2.0, 7.0])),
    "degrees": (lambda v: Circular.of(v, 360.0), np.array([0.0, 359.9, 180.0])),
    "signed": (Circular.of, np.array([-3.0, 0.0, 3.1])),
    "rain": (Atom.of, np.array([0, 0, 0, 0.5, 1e-6, 100.0])),
    "debts": (Atom.of, np.array([0, 0, -1.0, -100.0])),
    "both": (Atom.of, np.array([2.0, 2.0, 1.5, 7.0])),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_brings_its_values_back(name):
    of, values = KINDS[name]
    kind = of(values)
    rows = kind.prepare(np.asarray(values)).astype(np.float32)
    for noise in (0.0, 0.5, 1 - 2.0**-24):
        drawn = np.full(len(rows), noise, np.float32)
        placed = np.asarray(kind.placed(rows, drawn), np.float32)
        np.testing.assert_array_equal(placed, kind.placed(tf.constant(rows), tf.constant(drawn)))
        back = kind.decode(placed)
        if np.asarray(values).dtype.kind == "f":
            np.testing.assert_allclose(back, values, rtol=1e-6, atol=1e-5)
        elif name == "dates":
            assert np.abs(back - values).max() < pd.Timedelta("3s")
        else:
            assert list(back) == list(values)


def test_what_has_no_place_has_no_density():
    """An unseen category has probability 0, a missing one none that is known."""
    column = Categorical.of(["a", "b"])
    assert np.isnan(column.prepare(np.array([None, "a"], object))[0])
    one, rows = column.cdf, column.prepare(np.array(["z"], object)).astype(np.float32)
    assert one.tails(_parameters(one, 1), tf.constant(rows))[2].numpy() == -np.inf
    rain = Atom.of(np.array([0, 0, 1.0, 2.0]))
    below = rain.placed(rain.prepare(np.array([-0.5])), np.array([0.5])).astype(np.float32)
    assert rain.cdf.tails(_parameters(rain.cdf, 1), tf.constant(below))[2].numpy() == -np.inf


def _rounded(n, seed):
    """Whole numbers [n] of N(-40, 60), half rounded to tens, a fifth to fives, 5% of all 999; and
    the entropy, nats."""
    rng = np.random.default_rng(seed)
    x, way = rng.normal(-40, 60, n), rng.choice(4, n, p=[0.25, 0.2, 0.5, 0.05])
    h = np.array([1, 5, 10, 1])[way]
    k = np.where(way == 3, 999, (np.round(x / h) * h).astype(int))
    every, p = np.arange(-700, 1000), np.zeros(1700)
    for h, share in ((1, 0.25), (5, 0.2), (10, 0.5)):
        mass = np.diff(stats.norm.cdf([every - h / 2, every + h / 2], -40, 60), axis=0)[0]
        p += share * np.where(every % h == 0, mass, 0)
    p[-1] += 0.05
    return k, -np.sum(p[p > 0] * np.log(p[p > 0]))


@pytest.mark.slow
def test_whole_numbers_that_crowd_at_multiples_keep_their_probabilities():
    values, entropy = _rounded(20_000, 0)
    test = pd.DataFrame({"price": _rounded(20_000, 1)[0]})
    frame = pd.DataFrame({"price": values})
    columns = Columns.of(frame)
    assert columns.described()["price"] == "integer, many at multiples of 10, multiples of 5, 999"
    kind = columns.kinds[0]
    assert kind.shares == pytest.approx((0.25, 0.5, 0.2, 0.05), abs=0.02)
    flow = fm.architectures.mixed("realnvp", columns.cdfs, hidden=(8,))
    model = fm.Model(flow, codecs={"x": columns})
    settings = fm.FitSettings(steps=400, batch_size=512, learning_rate=1e-2)
    fm.fit(model, frame, test, settings, progress=False)
    assert -model.log_prob(test).mean() == pytest.approx(entropy, abs=0.02)
    drawn = model.sample(20_000, seed=2).price
    for h in (10, 5):
        wanted = (values % h == 0).mean()
        assert (drawn % h == 0).mean() == pytest.approx(wanted, abs=0.02)
    assert (drawn == 999).mean() == pytest.approx(0.05, abs=0.01)
    every = pd.DataFrame({"price": np.arange(-3000, 3000)})
    assert np.exp(model.log_prob(every).astype(float)).sum() == pytest.approx(1, abs=3e-3)


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).poisson(3, 20_000),
        np.random.default_rng(0).geometric(0.05, 20_000) - 1,
        np.random.default_rng(0).integers(0, 3000, 20_000),
        np.random.default_rng(0).normal(40, 12, 500).astype(int),
        np.random.default_rng(0).poisson(0.1, 20_000),
    ],
)
def test_smooth_whole_numbers_crowd_nowhere(values):
    assert heaps.found(values) == ((), (), (1.0,))


def test_prices_that_end_in_nine_and_multiples_alone():
    rng = np.random.default_rng(0)
    prices = rng.integers(0, 60, 5000) * 10 + np.where(rng.random(5000) < 0.7, 9, 3)
    assert heaps.found(prices)[0][0] == (10, 9)
    steps, atoms, shares = heaps.found(np.round(rng.normal(5000, 800, 5000) / 100) * 100)
    assert steps == ((100, 0),) and not atoms and shares == pytest.approx((0, 1), abs=0.01)


def _frame(n, seed):
    """A table with all kinds, and log p of its rows."""
    rng = np.random.default_rng(seed)
    shares, where = np.array([0.4, 0.3, 0.2, 0.1]), np.array([0, 2, -1, 5.0])
    colours = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4], [0.05, 0.05, 0.9]])
    s = rng.choice(4, n, p=shares)
    c = np.array([rng.choice(3, p=colours[each]) for each in s])
    x = where[s] + 0.5 * rng.normal(size=n)
    alarms = rng.poisson(np.exp(0.5 + 0.3 * x))
    mean = np.where(s < 2, np.pi, 0.5)
    angle = np.mod(rng.vonmises(mean, 4.0), 2 * np.pi)
    rain = np.where(rng.random(n) < 0.6, 0.0, rng.lognormal(0, 0.7, n))
    when = pd.Timestamp("2024-03-01") + pd.to_timedelta(86400 * rng.normal(size=n), unit="s")
    frame = {"station": np.array(list("abcd"))[s], "x": x, "alarms": alarms, "angle": angle}
    frame |= {"id": [f"r{i}" for i in range(n)], "rain": rain, "when": when}
    frame |= {"colour": np.array(["red", "green", "blue"])[c]}
    log_p = np.log(shares[s] * colours[s, c]) + stats.norm.logpdf(x, where[s], 0.5)
    log_p += stats.poisson.logpmf(alarms, np.exp(0.5 + 0.3 * x))
    log_p += stats.vonmises.logpdf(angle, 4.0, mean) + np.where(rain == 0, np.log(0.6), np.log(0.4))
    log_p += np.where(rain == 0, 0, stats.lognorm.logpdf(np.where(rain, rain, 1), 0.7))
    seconds = (when - pd.Timestamp("2024-03-01")).total_seconds()
    return pd.DataFrame(frame), log_p + stats.norm.logpdf(seconds, 0, 86400)


@pytest.fixture(scope="module")
def trained():
    frame, _ = _frame(20_000, 0)
    test, truth = _frame(10_000, 1)
    columns = Columns.of(frame, {"angle": "circular"})
    options = {"depth": 3, "hidden": (32, 32), "affine": True, "layers_per_loop_body": 1}
    flow = fm.architectures.mixed("spline_coupling", columns.cdfs, **options)
    model = fm.Model(flow, codecs={"x": columns})
    settings = fm.FitSettings(steps=900, batch_size=512, eval_every_steps=300)
    result = fm.fit(model, frame, test[:2000], settings, progress=False)
    samples = model.sample(20_000, seed=3)
    return SimpleNamespace(**locals())


def test_kinds_are_found(trained):
    found = trained.columns.described()
    assert list(found) == ["station", "x", "alarms", "angle", "rain", "when", "colour", "id"]
    first = [text.split(",")[0].split(" with")[0] for text in found.values()]
    kinds = ["categorical", "continuous", "count", "circular", "continuous", "date", "categorical"]
    assert first == [*kinds, "identifier"] and "60% are 0" in found["rain"]


def test_the_density_is_near_the_truth_and_does_not_depend_on_the_noise(trained):
    log_p = trained.model.log_prob(trained.test, seed=1)
    gap = trained.truth - log_p
    assert -0.02 < gap.mean() < 0.12, gap.mean()
    np.testing.assert_allclose(trained.model.log_prob(trained.test, seed=2), log_p, atol=1e-3)
    held = trained.result.history["val_objective"]
    assert min(held) == pytest.approx(-log_p[:2000].mean(), abs=2e-3)


def test_samples_are_of_the_users_kinds_and_have_the_conditional_frequencies(trained):
    drawn, frame = trained.samples, trained.frame
    assert list(drawn) == ["station", "x", "alarms", "angle", "rain", "when", "colour"]
    assert drawn.alarms.dtype == np.int64 and drawn.when.dtype.kind == "M"
    counts = pd.crosstab(drawn.station, drawn.colour)
    wanted = np.array([[0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.4, 0.3, 0.3], [0.9, 0.05, 0.05]])
    shares = counts.to_numpy() / counts.to_numpy().sum(1, keepdims=True)
    error = np.sqrt(wanted * (1 - wanted) / counts.to_numpy().sum(1, keepdims=True))
    assert (np.abs(shares - wanted) < 5 * error + 0.01).all(), shares
    assert (drawn.rain == 0).mean() == pytest.approx(0.6, abs=0.02) and drawn.rain.min() == 0
    for low in (-1, 0, 2, 5):
        near = drawn.alarms[np.abs(drawn.x - low) < 0.25]
        assert near.mean() == pytest.approx(np.exp(0.5 + 0.3 * low), rel=0.1)
    turned = np.mod(drawn.angle[drawn.station.isin(["c", "d"])] - 0.5 + np.pi, 2 * np.pi) - np.pi
    assert turned.mean() == pytest.approx(0, abs=0.04)
    assert np.cos(turned).mean() == pytest.approx(
        stats.vonmises.stats(4.0)[1] * 0 + 0.864, abs=0.02
    )
    assert np.abs(drawn.when.mean() - frame.when.mean()) < pd.Timedelta("1h")


def test_rows_go_to_latents_and_back(trained):
    rows = trained.test[:500]
    z = trained.model.encode(rows)
    assert z.shape == (500, 7) and np.abs(z.mean(0)).max() < 0.25
    back = trained.model.decode(z)
    assert (back.station.to_numpy() == rows.station).mean() > 0.99
    assert (back.alarms.to_numpy() == rows.alarms).mean() > 0.99
    np.testing.assert_allclose(back.x, rows.x, atol=1e-3)
    np.testing.assert_allclose(back.rain, rows.rain, rtol=1e-3)


def test_a_missing_cell_has_no_density_and_an_unseen_value_has_none_that_is_above_0(trained):
    rows = trained.test[:4].copy()
    rows.loc[0, "station"], rows.loc[1, "x"], rows.loc[2, "colour"] = None, np.nan, "violet"
    found = trained.model.log_prob(rows)
    assert np.isnan(found[:2]).all() and found[2] == -np.inf and np.isfinite(found[3])


def test_the_probabilities_of_all_rows_of_categories_and_counts_sum_to_one(trained):
    frame = trained.frame[["station", "alarms", "colour"]]
    columns = Columns.of(frame)
    model = fm.Model(
        fm.architectures.mixed("realnvp", columns.cdfs, hidden=(8,)), codecs={"x": columns}
    )
    fm.fit(model, frame, settings=fm.FitSettings(steps=50, batch_size=256), progress=False)
    grid = pd.MultiIndex.from_product([list("abcd"), range(3000), ["red", "green", "blue"]])
    every = grid.to_frame(index=False, name=list(frame))
    assert np.exp(model.log_prob(every).astype(np.float64)).sum() == pytest.approx(1, abs=2e-3)


@pytest.mark.slow
def test_a_model_of_kinds_is_the_same_in_a_new_process(trained, tmp_path):
    trained.model.save(str(tmp_path / "model"))
    rows = trained.test[:50]
    rows.to_pickle(tmp_path / "rows.pkl")
    code = (
        "import sys, numpy as np, pandas as pd, flow_models as fm\n"
        f"model = fm.load({str(tmp_path / 'model')!r})\n"
        f"rows = pd.read_pickle({str(tmp_path / 'rows.pkl')!r})\n"
        f"np.save({str(tmp_path / 'found.npy')!r}, model.log_prob(rows))\n"
        f"model.sample(20, seed=5).to_pickle({str(tmp_path / 'drawn.pkl')!r})\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_allclose(found, trained.model.log_prob(rows), atol=1e-5)
    drawn = pd.read_pickle(tmp_path / "drawn.pkl")
    pd.testing.assert_frame_equal(drawn, trained.model.sample(20, seed=5))


@pytest.mark.parametrize(
    "name, rows, truth",
    [
        ("epoch", lambda z: np.stack([1.7e9 + 20 * z[:, 0], z[:, 1]], 1), 5.834),
        ("utm", lambda z: np.array([5e5, 5.57e6]) + 2 * z, 4.224),
    ],
)
def test_large_offsets_leave_the_density_as_it_is(name, rows, truth):
    x = rows(np.random.default_rng(2).normal(size=(20_000, 2)))
    model = fm.Model(fm.realnvp(2, depth=2, hidden=(8,)))
    settings = fm.FitSettings(steps=100, batch_size=256)
    result = fm.fit(model, x[5000:], x[:5000], settings, progress=False)
    assert -model.log_prob(x[:5000]).mean() == pytest.approx(truth, abs=0.03)
    assert min(result.history["val_objective"]) == pytest.approx(truth, abs=0.03)
    drawn = model.sample(2000)
    assert drawn.dtype == np.float64 and len(np.unique(drawn[:, 0])) > 1990
    np.testing.assert_allclose(drawn.std(0), x.std(0), rtol=0.1)
    np.testing.assert_allclose(model.decode(model.encode(x[:50])), x[:50], rtol=0, atol=1e-3)


def test_columns_of_ordinary_size_go_to_the_network_as_they_are():
    x = RNG.normal(size=(100, 2)) * [3, 1e3] + [100, 0]
    columns = Columns(("a", "b"))
    assert columns.fitted_to(x) is columns and columns.prepare(x) is x


@pytest.mark.parametrize(
    "told, message",
    [
        ({"speed": "count"}, "a kind for 'speed'; the columns are a, b"),
        ({"a": "number"}, "column 'a': no kind 'number'; there are continuous, categorical"),
        ({"a": "circular far"}, "column 'a': 'circular far': a number is expected behind circular"),
        ({"a": "circular -1"}, "column 'a': the period -1.0 is not above 0"),
        ({"a": "count"}, "column 'a': its values are not whole numbers"),
        ({"b": "count"}, "column 'b': a count is at least 0, and it has -2: take integer"),
        ({"a": "date x"}, "column 'a': no kind 'date x'"),
    ],
)
def test_kinds_that_do_not_fit_are_refused(told, message):
    frame = pd.DataFrame({"a": [0.5, 1.2, 2.0], "b": [-2, 3, 4]})
    with pytest.raises(fm.UserError) as error:
        kinds_of(frame, told)
    assert message in str(error.value)


def test_kinds_are_found_by_values():
    n, rng = 1000, np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "row": np.arange(n) + 5,
            "flag": rng.random(n) < 0.5,
            "switch": rng.choice([0.1, 0.7], n),
            "size": rng.normal(size=n).round(3),
            "age": rng.integers(0, 90, n),
            "change": rng.integers(-9, 9, n).astype(float),
            "income": rng.integers(0, 10**6, n),
            "day": pd.Series(pd.date_range("2020-01-01", periods=n)).dt.strftime("%Y-%m-%d"),
            "code": rng.choice(["A", "NA", "x y"], n),
            "name": [f"person {i}" for i in range(n)],
            "gap": np.where(rng.random(n) < 0.3, 9.5, rng.normal(9.5, 2, n)),
        }
    )
    found = {name: str(kind).split(",")[0] for name, kind in kinds_of(frame).items()}
    assert found == {
        "row": "None",
        "flag": "categorical",
        "switch": "categorical",
        "size": "continuous",
        "age": "count",
        "change": "integer",
        "income": "continuous",
        "day": "date",
        "code": "categorical",
        "name": "None",
        "gap": found["gap"],
    }
    assert "are 9.5" in found["gap"] and "whole numbers" in str(kinds_of(frame)["income"])


def test_records_lists_and_zones_are_taken_as_the_frame_is():
    frame = pd.DataFrame(
        {"a": ["x", "y"] * 50, "n": range(0, 300, 3), "b": np.linspace(0, 1, 100) ** 2}
    )
    frame["t"] = pd.date_range("2024-01-01", periods=100, freq="7h", tz="Europe/Rome")
    columns = Columns.of(frame, {"n": "count"})
    model = fm.Model(
        fm.architectures.mixed("realnvp", columns.cdfs, depth=1, hidden=(4,)), codecs={"x": columns}
    )
    fm.fit(model, frame, settings=fm.FitSettings(steps=2, batch_size=50), progress=False)
    wanted = model.log_prob(frame)
    assert np.isfinite(wanted).all()
    for same in (frame.to_dict("records"), frame[["t", "b", "n", "a"]], frame.to_numpy(object)):
        np.testing.assert_allclose(model.log_prob(same), wanted, rtol=1e-6)
    assert model.log_prob(frame.to_dict("records")[0]) == pytest.approx(wanted[0])
    assert str(model.sample(3).t.dt.tz) == "Europe/Rome"


def test_what_is_of_the_networks_rows_is_refused_where_they_are_not_the_users():
    x = np.array([5e6, 0.0]) + np.random.default_rng(0).normal(size=(500, 2))
    few = fm.FitSettings(steps=2, batch_size=50)
    model = fm.Model(fm.realnvp(2, depth=1, hidden=(4,)))
    model.distribution()
    fm.fit(model, x, settings=few, progress=False)
    for use in (model.distribution, lambda: fm.keras_layer(model)):
        with pytest.raises(fm.UserError, match="use log_prob and sample"):
            use()
    own = FlowBijector(Chain([Domain([5e6 - 9, None], [None, None]), Standardise(2)]))
    with pytest.raises(fm.UserError, match="column 'x1' is centred by 499"):
        fm.fit(fm.Model(own), x, settings=few, progress=False)
    draw = lambda n, seed: 5e6 + tf.random.stateless_normal([n, 2], seed)
    with pytest.raises(fm.UserError, match="too far from 0 for 32-bit numbers"):
        fm.fit(fm.Model(fm.realnvp(2)), draw, settings=few, progress=False)
    with pytest.raises(fm.UserError, match="kinds of columns are of x"):
        codecs = {"y": Columns.of(pd.DataFrame({"a": ["u", "v"] * 20}))}
        fm.Model(
            fm.realnvp(2, condition_size=1), fm.Partition({"x": 2}, {"z": 2}, {"y": 1}), codecs
        )


def test_few_whole_numbers_with_gaps_are_categories():
    coins = np.random.default_rng(1).choice([1, 2, 5, 10, 20, 50], 500)
    found = kinds_of(pd.DataFrame({"coin": coins}))["coin"]
    assert found.categories == (1, 2, 5, 10, 20, 50)
    np.testing.assert_array_equal(found.decode(found.prepare(coins).astype(np.float32)), coins)


def _labelled(n, seed):
    """A table of two classes with a category, a count, an angle and a number, and P(class 1 | x)
    by Bayes' rule."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(int)
    shares = np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]])
    s = (rng.random(n)[:, None] > np.cumsum(shares[y], 1)).sum(1)
    rate, mean = np.array([2.0, 4.0])[y], np.array([1.0, 2.0])[y]
    count, angle = rng.poisson(rate), np.mod(rng.vonmises(mean, 2.0), 2 * np.pi)
    x = s + 0.7 * y + rng.normal(size=n)
    log_p = np.log([0.6, 0.4]) + np.log(shares[:, s]).T
    log_p = log_p + stats.poisson.logpmf(count[:, None], [2.0, 4.0])
    log_p += stats.vonmises.logpdf(angle[:, None], 2.0, [1.0, 2.0])
    log_p += stats.norm.logpdf(x[:, None], s[:, None] + [0.0, 0.7])
    frame = {"site": np.array(list("abc"))[s], "alarms": count, "angle": angle, "x": x}
    p = 1 / (1 + np.exp(log_p[:, 0] - log_p[:, 1]))
    return pd.DataFrame({**frame, "class": np.array(["low", "high"])[y]}), p


@pytest.mark.slow
def test_application_4_has_the_class_probabilities_of_bayes_rule(tmp_path, monkeypatch):
    frame, _ = _labelled(10_000, 0)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    told = ["--data", str(tmp_path / "rows.csv"), "--label-column", "class", "--steps", "500"]
    told += ["--kinds", "{angle: circular}", "--output-dir", str(tmp_path / "run"), "--depth", "2"]
    told += ["--hidden", "[32]", "--batch-size", "256", "--mlflow", "false"]
    assert application(monkeypatch, 4, *told) == 2  # of the default form
    assert application(monkeypatch, 4, *told, "--form", "conditional") == 0
    model = fm.load(str(tmp_path / "run"))
    test, p = _labelled(4000, 1)
    found = model.classify(test)[:, model.classes.index("high")]
    assert np.abs(found - p).mean() < 0.04
    is_high = test["class"] == "high"
    of_bayes = -np.log(np.where(is_high, p, 1 - p)).mean()
    assert -np.log(np.where(is_high, found, 1 - found)).mean() < of_bayes + 0.015
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["accuracy"] == pytest.approx(np.mean((p > 0.5) == is_high), abs=0.04)
    assert 0.5 < metrics["accuracy_logistic"] <= 1
    drawn = model.sample(3000, ["high"] * 3000, seed=1)
    assert (drawn.site == "c").mean() == pytest.approx(0.5, abs=0.04)
    assert drawn.alarms.mean() == pytest.approx(4.0, abs=0.25)


@pytest.mark.parametrize("form", ["{:.3f}%", "${:.2f}", "({:.3f})", "{:.3e}D+00"])
def test_texts_that_may_be_numbers_are_warned_of(form):
    numbers = np.random.default_rng(0).uniform(1, 9, 300)
    texts = [form.format(number).replace("e+00", "") for number in numbers]
    with pytest.warns(FlowModelsWarning, match="column 'price' is taken as text, such as"):
        fm.Columns.of(pd.DataFrame({"price": texts, "x": numbers}))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FlowModelsWarning)
        words = {"name": [f"well {i}" for i in range(300)], "share": ["10%", "20%", "30%"] * 100}
        fm.Columns.of(pd.DataFrame(words | {"x": numbers}))


def test_rows_without_a_density_say_which_kind_they_miss():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"site": ["a", "b"] * 50, "alarms": rng.poisson(3, 100)})
    columns = fm.Columns.of(frame)
    flow = fm.architectures.mixed("realnvp", columns.cdfs, depth=1, hidden=(4,))
    model = fm.Model(flow, codecs={"x": columns}, jit=False)
    for wrong, reason in {
        "site": ("c", "column 'site' has a category that training did not have"),
        "alarms": (-1, "column 'alarms' is a count and below 0"),
    }.items():
        with pytest.warns(FlowModelsWarning, match=reason[1]):
            assert np.isneginf(model.log_prob(frame[:1].assign(**{wrong: reason[0]})))


def test_many_zeros_in_few_rows_are_an_atom():
    rng = np.random.default_rng(0)
    rain = np.where(rng.random(300) < 0.6, 0, rng.gamma(2, size=300))
    assert isinstance(kinds_of(pd.DataFrame({"rain": rain}))["rain"], Atom)


@pytest.mark.parametrize("told", ["count", ["count"]])
def test_kinds_are_told_by_name(told):
    with pytest.raises(fm.UserError, match="kinds are a dictionary by name"):
        fm.Columns.of(pd.DataFrame({"x": [1.0, 2.0]}), told)


def test_a_period_is_above_zero():
    with pytest.raises(fm.UserError, match="the period 0.0 is not above 0"):
        fm.Columns.of(pd.DataFrame({"x": [1.0, 2.0]}), {"x": "circular 0"})
