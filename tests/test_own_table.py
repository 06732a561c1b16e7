"""A table of several kinds through application 1 and the commands, as its user runs them."""

import json

import numpy as np
import pandas as pd
import pytest
from in_process import application, status

import flow_models as fm
from flow_models.applications import own_table

FAST = ["--steps", "60", "--depth", "2", "--hidden", "[8, 8]", "--batch-size", "64"]
FAST += ["--eval-every-steps", "30", "--mlflow", "false"]


def _frame(rows=600):
    rng = np.random.default_rng(0)
    depth = rng.gamma(2, size=rows)
    return pd.DataFrame(
        {
            "name": [f"event {i}" for i in range(rows)],
            "station": rng.choice(["north", "south; old"], rows, p=[0.7, 0.3]),
            "depth, m": depth,
            "alarms": rng.poisson(depth),
            "angle": rng.uniform(0, 360, rows),
            "day": pd.date_range("2024-01-01", periods=rows).strftime("%Y-%m-%d"),
            "share": np.where(np.arange(rows) % 2, 3.0, 1.0),
        }
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    _frame().to_csv(folder / "events.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        told = ["--kinds", "{angle: circular 360}", "--weights", "share"]
        told += ["--lower", '{"depth, m": 0}', "--output-dir", str(folder / "run")]
        assert application(patch, 1, "--data", str(folder / "events.csv"), *told, *FAST) == 0
    return folder


def test_the_run_says_what_it_took_each_column_for(finished):
    report = (finished / "run" / "report.html").read_text()
    for words in ("circular, period 360", "categorical, 2 values", "kept and not learned"):
        assert words in report
    metrics = json.loads((finished / "run" / "metrics.json").read_text())
    assert np.isfinite(metrics["nll_test"]) and np.isfinite(metrics["nll_test_gaussian"])
    assert "All pairs of columns as the network sees them" in report
    strange = pd.read_csv(finished / "run" / "strangest.csv")
    assert len(strange) == 20 and {"name", "station", "day", "driven_by"} <= set(strange)
    assert strange.nll.is_monotonic_decreasing and set(strange.station) <= {"north", "south; old"}
    model = fm.load(str(finished / "run"))
    assert model.columns == ["station", "depth, m", "alarms", "angle", "day"]
    assert model.codec.described()["alarms"] == "count" and model.codec.identifiers == ("name",)


def test_samples_come_back_as_csv_and_parquet_that_can_be_scored(finished, capsys, monkeypatch):
    run, csv, parquet = (str(finished / name) for name in ("run", "rows.csv", "rows.parquet"))
    call = ["flow_models", "sample", run, "-n", "50", "--csv", csv, "--parquet", parquet]
    assert _command(monkeypatch, *call) == 0
    frame, same = pd.read_csv(csv), pd.read_parquet(parquet)
    assert list(frame) == list(same) == ["station", "depth, m", "alarms", "angle", "day"]
    assert set(frame.station) <= {"north", "south; old"} and frame["depth, m"].min() > 0
    assert same.day.dtype.kind == "M" and same.alarms.dtype == np.int64
    for file in (csv, parquet, str(finished / "events.csv")):
        scores = str(finished / "scores.csv")
        assert _command(monkeypatch, "flow_models", "score", run, file, "--csv", scores) == 0
        assert np.isfinite(pd.read_csv(scores).nll).all()


def _command(monkeypatch, *argv) -> int:
    from flow_models.__main__ import main

    monkeypatch.setattr("sys.argv", list(argv))
    return status(main)


def test_weights_count_rows_as_copies_would(tmp_path):
    """Rows of weight 3 count three times: the share of their category is 3 / 4."""
    n = 4000
    frame = pd.DataFrame({"kind": ["a", "b"] * (n // 2), "w": [1.0, 3.0] * (n // 2)})
    frame["x"] = np.random.default_rng(1).normal(size=n)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    table = own_table.read(str(tmp_path / "rows.csv"), weights="w")
    train, held = ({"x": x, "weight": w[:, None]} for x, w in zip(table.parts, table.weights[:2]))
    flow = fm.architectures.mixed("maf", table.columns.cdfs, depth=1, hidden=(8,))
    model = fm.Model(flow, codecs={"x": table.columns})
    settings = fm.FitSettings(steps=300, batch_size=256, learning_rate=5e-3)
    fm.fit(model, train, held, settings, progress=False)
    assert (model.sample(4000).kind == "b").mean() == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"weights": "mass"}, "no column 'mass' of weights"),
        ({"weights": "b"}, "column 'b', row 2: a weight is above 0 or 0"),
        ({"kinds": {"c": "count"}}, "a kind for 'c'; the columns are a, b"),
        ({"kinds": {"a": "identifier", "b": "identifier"}}, "all columns are identifiers"),
        ({"kinds": {"b": "categorical"}}, "column 'b': 1 missing, the first in row 4"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path, options, message):
    path = tmp_path / "rows.csv"
    pd.DataFrame({"a": [0.5, 1.25, 2, 7], "b": [1.0, -1.5, 2, 3]}).to_csv(path, index=False)
    if "missing" in message:
        path.write_text(path.read_text().replace("7.0,3.0", "7.0,"))
    with pytest.raises(fm.UserError) as error:
        own_table.read(str(path), **options)
    assert message in str(error.value)


def test_a_word_among_numbers_is_a_mistake_and_no_category(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("a,b\n" + "\n".join(f"{i / 7},{i / 3}" for i in range(100)) + "\n1.5,n?\n")
    with pytest.raises(fm.UserError, match=r"column 'b': row 101: 'n\?' is no number"):
        own_table.read(str(path))


def test_bounds_by_name_are_those_of_the_networks_numbers():
    frame = _frame()
    frame["time"] = 1.7e9 + np.random.default_rng(2).normal(size=len(frame))
    frame = frame[["depth, m", "time", "alarms"]]
    columns = fm.Columns.of(frame, lower={"time": 1.7e9 - 20.0, "alarms": 0})
    assert columns.kinds[0].cdf is None and columns.kinds[1].row_bounds == [0.0, None]
    prepared = columns.prepare(frame)[:, 1]
    assert prepared.min() > 0 and prepared.mean() == pytest.approx(20, abs=0.2)
    drawn = columns.decode(np.array([[0.0, 0.0, 0.5]], np.float32))
    assert drawn.time[0] > 1.7e9 - 20
    with pytest.raises(fm.UserError, match="a bound of 'width'; the columns are depth, m, time"):
        columns.bounded(upper={"width": 3})
