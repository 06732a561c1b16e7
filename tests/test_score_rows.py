"""`score` of a table: by name, chunk by chunk, and no file is lost for one bad cell."""

import numpy as np
import pandas as pd
import pytest
from in_process import status

import flow_models as fm
from flow_models.commands import score_rows
from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.data import tables

N = 500
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 2))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    bijector = fm.architectures.build("realnvp", size=2, depth=1, hidden=(4,))
    made = fm.Model(bijector, codecs={"x": ["depth, m", "b"]}, jit=False)
    made.save(str(tmp_path_factory.mktemp("model")))
    made.place = str(next(tmp_path_factory.getbasetemp().glob("model*")))
    return made


def _frame():
    frame = pd.DataFrame(X, columns=["depth, m", "b"]).astype(object)
    frame.insert(0, "id", [f"{i:04d}" for i in range(N)])
    frame.loc[3, "b"], frame.loc[7, "depth, m"], frame.loc[11, "b"] = "tall", None, "inf"
    frame.loc[13, "b"], frame.loc[17, "depth, m"] = "1_0", ""
    return frame[["b", "id", "depth, m"]]


def _scores(model, place, keep=()) -> dict:
    parts = list(score_rows.scored(model, str(place), keep))
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def test_bad_cells_cost_a_row_each(tmp_path, model, monkeypatch):
    _frame().to_csv(tmp_path / "t.csv", index=False)
    whole = tables.read_chunks
    monkeypatch.setattr(tables, "read_chunks", lambda *a, **k: whole(*a, **k, rows=100))
    with pytest.warns(FlowModelsWarning, match=r"5 of 500 rows .* row 4: column 'b' holds 'tall'"):
        found = _scores(model, tmp_path / "t.csv", ["id"])
    bad = [3, 7, 11, 13, 17]
    ok = np.setdiff1d(np.arange(N), bad)
    np.testing.assert_allclose(found["nll"][ok], -model.log_prob(X[ok]), rtol=1e-5)
    assert (
        np.isnan(found["nll"][bad]).all() and [bool(e) for e in found["error"][bad]] == [True] * 5
    )
    assert found["error"][7] == "column 'depth, m' is missing" and not any(found["error"][ok])
    assert list(found["id"]) == list(_frame()["id"]) and found["name"][-1] == str(N)


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_the_command_writes_csv_or_parquet(tmp_path, model, monkeypatch, end):
    _frame().drop(columns="id").to_csv(tmp_path / "t.csv")
    out = str(tmp_path / f"scores.{end}")
    argv = ["flow_models", "score", model.place, str(tmp_path / "t.csv"), "--csv", out]
    from flow_models.__main__ import main

    monkeypatch.setattr("sys.argv", argv)
    with pytest.warns(FlowModelsWarning):
        assert status(main) == 0
    found = pd.read_csv(out) if end == "csv" else pd.read_parquet(out)
    assert list(found) == ["name", "nll", "error"] and found.nll.isna().sum() == 5


def test_missing_columns_and_those_to_keep_end_in_one_line(tmp_path, model):
    pd.DataFrame(X, columns=["b", "c"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(UserError, match="no column 'depth, m'; the model has depth, m, b"):
        _scores(model, tmp_path / "t.csv")
    with pytest.raises(UserError, match="no column 'station' to keep; there are b, c"):
        _scores(model, tmp_path / "t.csv", ["station"])


@pytest.mark.parametrize("bad", ["tall", "1_0", "n.d.", "2,5.5", ""])
def test_a_bad_cell_among_decimal_commas_costs_one_row(tmp_path, model, bad):
    cells = [[f"{value:.4f}".replace(".", ",") for value in row] for row in X]
    cells[20][1] = bad
    lines = [";".join(row) for row in cells]
    (tmp_path / "t.csv").write_text("\n".join(['"depth, m";b', *lines]) + "\n")
    with pytest.warns(FlowModelsWarning, match="1 of 500 rows .* row 21: column 'b'"):
        found = _scores(model, tmp_path / "t.csv")
    ok = np.arange(N) != 20
    np.testing.assert_allclose(found["nll"][ok], -model.log_prob(X.round(4)[ok]), rtol=1e-4)


def test_columns_with_other_names_are_taken_by_position_with_a_warning(tmp_path, model):
    pd.DataFrame(X, columns=["Depth", "B"]).to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(FlowModelsWarning, match="by position, 'Depth' as 'depth, m', 'B' as 'b'"):
        found = _scores(model, tmp_path / "t.csv")
    np.testing.assert_allclose(found["nll"], -model.log_prob(X), rtol=1e-5)


def test_a_bad_date_and_a_column_without_values_cost_their_rows(tmp_path):
    frame = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=60), "b": X[:60, 0]})
    columns = fm.Columns.of(frame)
    flow = fm.architectures.mixed("realnvp", columns.cdfs, depth=1, hidden=(4,))
    model = fm.Model(flow, codecs={"x": columns}, jit=False)
    (tmp_path / "t.csv").write_text("b,day\n0.5,2024-01-03\n0.5,soon\n0.5,\n0.5,2024-01-03\n")
    found = _scores(model, tmp_path / "t.csv")
    assert found["error"].tolist() == [
        "",
        "column 'day' holds 'soon', no date",
        "column 'day' is missing",
        "",
    ]
    expected = model.anomaly_score(pd.DataFrame({"day": ["2024-01-03"], "b": [0.5]}))
    np.testing.assert_allclose(found["nll"][[0, 3]], expected[[0, 0]], rtol=1e-5)
    (tmp_path / "t.csv").write_text("b,day\n,2024-01-03\n")
    assert _scores(model, tmp_path / "t.csv")["error"].tolist() == ["column 'b' is missing"]
