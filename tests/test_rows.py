"""Rows by name: frames, series, records and structured arrays give what arrays in order give."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import flow_models as fm
from flow_models.models import rows

NAMES = ["depth", "position"]
X = np.array([[6.0, 101.0], [5.5, 99.0], [7.0, 102.5]])


def shuffled():
    """The rows in a frame whose columns stand in another order, beside one that is not known."""
    return pd.DataFrame({"position": X[:, 1], "site": ["a", "b", "c"], "depth": X[:, 0]})


def structured():
    found = np.zeros(3, [("position", "f8"), ("depth", "f4")])
    found["position"], found["depth"] = X[:, 1], X[:, 0]
    return found


FORMS = {
    "frame": shuffled,
    "frame of nullable numbers": lambda: shuffled().convert_dtypes(),
    "frame that a mask has cut": lambda: pd.concat([shuffled(), shuffled()]).iloc[[3, 1, 5]],
    "columns": lambda: {"position": list(X[:, 1]), "depth": list(X[:, 0])},
    "records": lambda: shuffled().to_dict("records"),
    "records of JSON": lambda: json.loads(shuffled().to_json(orient="records")),
    "named tuples": lambda: list(shuffled().itertuples()),
    "structured array": structured,
    "table of Arrow": lambda: pa.Table.from_pandas(shuffled()),
    "list": lambda: X.tolist(),
    "numbered frame": lambda: pd.DataFrame(X),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_by_name_are_in_the_order_of_the_names(form):
    found, lead = rows.rows_of(FORMS[form](), NAMES, "x", np.float64)
    assert lead == (3,) and (found == X).all()


@pytest.mark.parametrize(
    "row",
    [
        shuffled().iloc[0][["position", "depth"]],
        shuffled().to_dict("records")[0],
        structured()[0],
        next(shuffled().itertuples()),
    ],
)
def test_one_row_by_name(row):
    found, lead = rows.rows_of(row, NAMES, "x", np.float64)
    assert lead == () and (found == X[:1]).all()


def test_a_series_is_the_one_column_of_its_name():
    found, lead = rows.rows_of(shuffled()["depth"], ["depth"], "x", np.float64)
    assert lead == (3,) and (found[:, 0] == X[:, 0]).all()


def test_missing_cells_are_nan_and_large_numbers_keep_their_digits():
    frame = shuffled().convert_dtypes()
    frame.loc[1, "depth"] = pd.NA
    frame["position"] += 5.57e6
    records = [{"depth": None, "position": 1}]
    found = rows.rows_of(frame, NAMES, "x", np.float64)[0]
    assert np.isnan(found[1, 0]) and (found[:, 1] == X[:, 1] + 5.57e6).all()
    assert np.isnan(rows.rows_of(records, NAMES, "x", np.float32)[0][0, 0])


def test_columns_that_are_no_numbers_stay_as_they_are_before_they_are_numbers():
    found = rows.by_name(shuffled(), ["site", "depth"])
    assert found.dtype == object and found[1].tolist() == ["b", 5.5]


REFUSED = {
    "x has no column 'depth', only position, site: name all of depth, position": shuffled().drop(
        columns="depth"
    ),
    "x has no columns 'depth', 'position', only x1, x2": pd.DataFrame(X, columns=["x1", "x2"]),
    "x has no column 'depth', only position": [{"position": 1}, {"position": 1, "depth": 2}],
    "x has two columns 'depth'": shuffled().rename(columns={"site": "depth"}),
    "columns of x differ in shape: depth [2], position [3]": {
        "depth": [1, 2],
        "position": [1, 2, 3],
    },
    "column 'depth' row 1 is 'deep'": [dict(depth=1, position=2), dict(depth="deep", position=2)],
    "column 'depth' row 0 is '1_000'": [dict(depth="1_000", position=2)],
    "x is a list of records, but number 1 is none": [{"depth": 1, "position": 1}, [1, 1]],
    "x must be numbers [..., 2]: column 'depth' row 0": shuffled().assign(
        depth=pd.Timestamp("2020-01-01")
    ),
    "x must have shape [..., 2] (depth, position), got [3]": [1, 2, 3],
}


@pytest.mark.parametrize("message", REFUSED)
def test_other_rows_are_refused_in_one_line(message):
    with pytest.raises(fm.UserError) as error:
        rows.rows_of(REFUSED[message], NAMES, "x", np.float32)
    assert message in str(error.value) and "\n" not in str(error.value)


# models


@pytest.fixture(scope="module")
def density():
    """Fitted to a frame whose columns stand in another order than the model's."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"position": rng.normal(100, 2, 600), "site": "a", "depth": rng.normal(6, 0.5, 600)}
    )
    model = fm.Model(fm.realnvp(2, depth=2, hidden=(8,)), codecs={"x": NAMES}, jit=False)
    settings = fm.FitSettings(steps=20, batch_size=100, jit=False)
    fm.fit(model, frame, {"x": frame[:100]}, settings, progress=False)
    return model


def test_a_model_takes_rows_by_name(density):
    expected = density.log_prob(X)
    assert (np.abs(expected) < 20).all()  # position is not taken for depth
    swapped = shuffled()
    np.testing.assert_array_equal(density.log_prob(swapped), expected)
    np.testing.assert_array_equal(density.log_prob(swapped.to_dict("records")), expected)
    np.testing.assert_array_equal(density.anomaly_score(swapped), -expected)
    np.testing.assert_array_equal(density.encode(swapped), density.encode(X))
    with pytest.raises(fm.UserError, match="no column 'depth'"):
        density.encode(swapped[["position"]])


@pytest.fixture(scope="module")
def classes():
    flow = fm.realnvp(2, depth=2, hidden=(8,), condition_size=2)
    labels = fm.Labels(("deep", "shallow"), (0.5, 0.5))
    partition = fm.Partition({"x": 2}, {"z": 2}, given={"y": 2})
    model = fm.Model(flow, partition, {"x": NAMES, "y": labels}, jit=False)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"position": rng.normal(100, 2, 400), "depth": rng.normal(6, 1, 400)})
    frame["kind"] = np.where(frame.depth > 6, "deep", "shallow")
    settings = fm.FitSettings(steps=150, batch_size=100, learning_rate=1e-2, jit=False)
    fm.fit(model, {"x": frame, "y": frame["kind"]}, settings=settings, progress=False)
    return model, frame


def test_a_model_of_classes_takes_rows_by_name(classes):
    model, frame = classes
    shares = model.classify(frame)
    np.testing.assert_array_equal(shares, model.classify(frame[NAMES].to_numpy()))
    assert (np.array(model.classes)[shares.argmax(1)] == frame["kind"]).mean() > 0.85
    expected = model.log_prob(frame, frame["kind"].tolist())
    np.testing.assert_array_equal(model.log_prob(frame, frame["kind"]), expected)
    wanted = pd.get_dummies(frame["kind"], dtype=float)[["shallow", "deep"]]
    np.testing.assert_array_equal(model.log_prob(frame, wanted), expected)


@pytest.fixture(scope="module")
def posterior():
    rng = np.random.default_rng(0)
    x = pd.DataFrame({"slope": rng.normal(0, 1, 3000), "level": rng.normal(50, 5, 3000)})
    y = pd.DataFrame({"late": x.level + 2 * x.slope, "soon": x.level - x.slope})
    settings = fm.FitSettings(steps=60, batch_size=256, jit=False)
    return fm.fit_posterior(x, y + rng.normal(0, 2, y.shape), settings=settings), x, y


def test_a_posterior_takes_data_by_name(posterior):
    model, x, y = posterior
    assert model.columns == ["slope", "level"] and model.codecs["y"].columns == ("late", "soon")
    expected = model.posterior(y[:2].to_numpy(), 20)
    swapped = y[["soon", "late"]]
    np.testing.assert_array_equal(model.posterior(swapped[:2], 20), expected)
    np.testing.assert_array_equal(
        model.posterior(swapped.iloc[0], 20), model.posterior(y.iloc[0], 20)
    )
    density = model.log_prob(x[["level", "slope"]][:5], swapped[:5])
    np.testing.assert_array_equal(density, model.log_prob(x[:5].to_numpy(), y[:5].to_numpy()))
    drawn = model.predict({"level": 50.0, "slope": 0.0}, 30)
    np.testing.assert_array_equal(drawn, model.predict([0.0, 50.0], 30))
    with pytest.raises(fm.UserError, match="y has no column 'late', only soon"):
        model.posterior({"soon": 3.0}, 5)


# rows without a density, and wrong numbers


def test_rows_without_a_density_are_named_with_the_reason(density, classes):
    frame = pd.DataFrame({"depth": [6.0, np.nan, 6.0], "position": [100.0, 100, 100]})
    with pytest.warns(UserWarning, match=r"log p of rows 1 is NaN: no value of 'depth'"):
        found = density.log_prob(frame)
    assert np.isnan(found[1]) and np.isfinite(found[[0, 2]]).all()
    with pytest.warns(UserWarning, match="rows 1 is NaN: no value of 'depth'"):
        shares = classes[0].classify(frame)
    assert np.isnan(shares[1]).all() and np.isfinite(shares[[0, 2]]).all()
    with pytest.warns(UserWarning, match="rows 1 is NaN: no value of 'depth'"):
        latents = classes[0].encode(frame)
    assert np.isnan(latents[1]).any() and np.isfinite(latents[[0, 2]]).all()


def test_rows_on_a_bound_are_named_with_column_and_bound():
    x = np.random.default_rng(0).uniform(size=(400, 2))
    bounds = {"lower": [0.0, None], "upper": [1.0, None]}
    flow = fm.realnvp(2, depth=2, hidden=(8,), **bounds)
    model = fm.Model(flow, codecs={"x": NAMES}, jit=False)
    fm.fit(model, x, settings=fm.FitSettings(steps=5, batch_size=100, jit=False), progress=False)
    rows_ = np.array([[0.5, 0.5], [-0.5, 0.5], [1.5, 0.5], [0.5, np.inf], [-0.1, 0.5]])
    with pytest.warns(UserWarning) as caught:
        assert np.isneginf(model.log_prob(rows_)[1:]).all()
    texts = [str(each.message) for each in caught]
    assert "log p of rows 1, 4 is -inf: column 'depth' is below its lower bound" in texts
    assert "log p of rows 2 is -inf: column 'depth' is above its upper bound" in texts
    assert "log p of rows 3 is -inf: column 'position' has a value that has no density" in texts


@pytest.mark.parametrize("wrong", [None, 1.5, 2**63, True, "1", float("nan")])
def test_seeds_and_numbers_of_samples_are_whole(density, wrong):
    for call in (
        lambda: density.sample(3, seed=wrong),
        lambda: density.log_prob(X, seed=wrong),
        lambda: density.encode(X, seed=wrong),
        lambda: density.anomaly_score(X, seed=wrong),
    ):
        with pytest.raises(fm.UserError, match="a seed is a whole number of 64 bits"):
            call()
    if wrong != 2**63:
        with pytest.raises(fm.UserError, match="samples is a whole number of at least 0"):
            density.sample(wrong)


def test_every_seed_of_64_bits_works(density, classes):
    for seed in (-1, -(2**63), 2**63 - 1, np.int64(5)):
        np.testing.assert_array_equal(density.sample(3, seed=seed), density.sample(3, seed=seed))
        assert len(classes[0].draw_labels(3, seed=seed)) == 3


@pytest.mark.parametrize("form", ["equal", "of another unit", "a sum"])
def test_parameters_that_depend_on_each_other_are_refused(form):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300))
    third = {"equal": a, "of another unit": 1e3 * a + 5, "a sum": a + b}[form]
    x = pd.DataFrame({"a": a, "b": b, "third": third})
    with pytest.raises(fm.UserError, match="'third' of x depend on each other linearly"):
        fm.fit_posterior(x, rng.normal(size=(300, 1)))


def test_masked_cells_are_missing():
    mask = [[True, False], [False, False], [False, False]]
    found = rows.rows_of(np.ma.array(X, mask=mask), NAMES, "x", np.float64)[0]
    assert np.isnan(found[0, 0]) and (found[1:] == X[1:]).all()
    named = np.ma.array(structured(), mask=[(False, True), (False, False), (False, False)])
    found = rows.rows_of(named, NAMES, "x", np.float64)[0]
    assert np.isnan(found[0, 0]) and (found[1:] == X[1:]).all()


FRAME = pd.DataFrame(
    {"depth": np.sin(np.arange(99.0)), "position": np.cos(np.arange(99.0) ** 2), "w": 1.0}
)
UNFIT = {
    "column 'depth' row 0 is 'deep'": FRAME.assign(depth="deep"),
    "column 'depth' row 0 is '2020": FRAME.assign(depth=pd.date_range("2020-01-01", periods=99)),
    "column 'depth' is constant": FRAME.assign(depth=3.0),
    "column 'position' is a multiple of column 'depth'": FRAME.assign(position=2 * FRAME.depth),
    "data has 1 rows with NaN or Inf, the first is row 7": np.ma.array(
        FRAME[NAMES], mask=np.arange(198).reshape(99, 2) == 15
    ),
    "the weight of row 4 is -1": {"x": FRAME, "weight": 1.0 - 2 * (np.arange(99) == 4)[:, None]},
    "the weight of row 0 is 0: weights are at least 0, and not all": {
        "x": FRAME,
        "weight": np.zeros((99, 1)),
    },
}


@pytest.mark.parametrize("message", UNFIT)
def test_data_that_have_no_density_are_refused_before_training(message):
    model = fm.Model(fm.realnvp(2, depth=1, hidden=(4,)), codecs={"x": NAMES}, jit=False)
    settings = fm.FitSettings(steps=2, batch_size=50, jit=False)
    with pytest.raises(fm.UserError) as error:
        fm.fit(model, UNFIT[message], settings=settings, progress=False)
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "wrong", [{"steps": 1.5}, {"batch_size": "64"}, {"seed": None}, {"learning_rate": True}]
)
def test_settings_of_a_wrong_type_are_refused(wrong):
    with pytest.raises(fm.UserError, match=rf"{min(wrong)} is .*, must be a (whole )?number"):
        fm.FitSettings(**wrong)
    assert fm.FitSettings(steps=np.int64(3), learning_rate=np.float32(0.1)).steps == 3


def test_labels_of_two_levels_and_dates_are_names_as_python_writes_them():
    x = np.random.default_rng(3).normal(size=(60, 2)).astype(np.float32)
    levels = pd.MultiIndex.from_tuples([("a", "u"), ("a", "v")])
    for labels in (levels, pd.to_datetime(["2024-01-01", "2024-02-01"])):
        frame = pd.DataFrame(x, columns=labels)
        model = fm.Model(fm.realnvp(2, 1, (4,)), codecs={"x": list(labels)}, jit=False)
        right = model.log_prob(x)
        np.testing.assert_array_equal(model.log_prob(frame[labels[::-1]]), right)
        assert model.columns == [str(label) for label in labels]
        kinds = fm.Columns.of(frame.assign(k=["s", "t"] * 30))
        assert list(kinds.names[:2]) == model.columns
        np.testing.assert_array_equal(kinds.prepare(frame.assign(k="t"))[:, :2], x)
        with pytest.raises(
            fm.UserError, match=r"x has no columns? .*only east, north: name all of"
        ):
            model.log_prob(frame.set_axis(["east", "north"], axis=1))


def test_two_columns_of_one_name_are_refused_in_one_line():
    x = np.arange(60.0).reshape(-1, 3)
    frame = pd.DataFrame(x, columns=["a", "a", "b"])
    model = fm.Model(fm.realnvp(2, 1, (4,)), codecs={"x": ["a", "b"]}, jit=False)
    columns = fm.Columns.of(frame.iloc[:, 1:])
    doors = (
        model.log_prob,
        lambda frame: fm.fit(model, frame),
        fm.Columns.of,
        columns.prepare,
        columns.array,
        fm.FlowDensity().fit,
    )
    for door in doors:
        with pytest.raises(fm.UserError, match="has two columns 'a': rename one"):
            door(frame)
