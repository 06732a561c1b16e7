"""Rows of a table: missing cells, bounds with the row of the file, and warnings of what has no
density."""

import warnings

import numpy as np
import pandas as pd
import pytest

import train_flowmodels1
import train_flowmodels4
from flow_models.applications import own_table
from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.data import tables
from flow_models.data.tables.labelled import read_labelled

N = 3000
RNG = np.random.default_rng(7)
X, Y, Z = RNG.normal(size=N), RNG.gamma(2, size=N), RNG.normal(size=N)


def _file(folder, suffix=".csv", **columns) -> str:
    frame = pd.DataFrame({"position": X, "depth": Y} | columns)
    if suffix == ".parquet":
        frame.to_parquet(folder / "t.parquet")
    else:
        frame.to_csv(folder / "t.csv", index=False)
    return str(folder / f"t{suffix}")


def _built(data: str, **options):
    config = train_flowmodels1.Config(data=data, **options)
    problem = train_flowmodels1.load_data(config)
    partition = train_flowmodels1.partitions(config, problem)["density"]
    return train_flowmodels1.build_model(config, problem, partition)


@pytest.mark.parametrize("row", [1, 2, 1500, 2999, N])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_row_on_a_bound_is_named_as_in_the_file(tmp_path, row, suffix):
    depth = Y.copy()
    depth[row - 1] = 0
    data = _file(tmp_path, suffix, depth=depth)
    message = rf"column 'depth', row {row}: 0 is not above the lower bound 0; "
    with pytest.raises(UserError, match=message):
        _built(data, lower={"depth": 0.0})
    with pytest.raises(UserError, match=message):
        _built(data, lower=[None, 0.0])


def test_bounds_above_and_of_columns_far_from_zero(tmp_path):
    when = 1.7e9 + 20 * Z
    data = _file(tmp_path, when=when)
    row = int(np.argmax(when > 1.7e9 + 40)) + 1
    with pytest.raises(UserError, match=rf"column 'when', row {row}: .* below the upper bound"):
        _built(data, upper={"when": 1.7e9 + 40})
    assert (
        _built(data, lower={"depth": 0.0, "when": 1.69e9}, upper={"when": 1.71e9}).event_size == 3
    )


def _gaps(dtype=float):
    position, depth = X.copy(), Y.copy()
    position[[4, 9]], depth[[9, 20]] = np.nan, np.inf
    return {"position": position, "depth": depth}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_with_gaps_are_dropped_and_counted(tmp_path, suffix):
    data = _file(tmp_path, suffix, **_gaps())
    message = r"3 rows of 3,000 left out .*'position' 2 \(first in row 5\), .*'depth' 2 .*row 10\)"
    with pytest.warns(FlowModelsWarning, match=message):
        table = own_table.read(data, missing="drop")
    assert sum(map(len, table.parts)) == N - 3
    assert not {5, 10, 21} & set(table.frame.index) and table.frame.index[-1] == N
    with pytest.raises(UserError, match="position.*row 5"):
        own_table.read(data)
    with pytest.raises(UserError, match="missing is 'keep', must be refuse, drop or model"):
        own_table.read(data, missing="keep")


def test_a_bound_is_named_by_the_row_of_the_file_after_rows_were_dropped(tmp_path):
    columns = _gaps()
    columns["depth"][1499] = 0
    data = _file(tmp_path, **columns)
    told = pytest.warns(FlowModelsWarning, match="3 rows of 3,000 left out")
    with told, pytest.raises(UserError, match="'depth', row 1500: 0 is"):
        _built(data, lower={"depth": 0.0}, missing="drop")


def test_labelled_rows_with_gaps(tmp_path):
    data = _file(tmp_path, kind=np.resize(["NA", "EU"], N), **_gaps())
    with pytest.warns(FlowModelsWarning, match="3 rows of 3,000 left out"):
        table = read_labelled(data, "kind", missing="drop")
    assert table.classes == ("EU", "NA") and len(table.rows) == N - 3
    right = np.delete(np.resize([1, 0], N), [4, 9, 20])
    np.testing.assert_array_equal(table.rows.y, right)
    with pytest.raises(UserError, match="column 'position': 2 values missing"):
        read_labelled(data, "kind")


STEPS = {
    "zeros": (np.where(np.arange(N) % 5 < 3, 0.0, Y), "60% of the values are 0;"),
    "a default": (np.where(np.arange(N) % 10 == 3, -999.0, Z), "10% of the values are -999;"),
    "whole": (np.round(Z * 20), "whole numbers"),
    "rounded": (np.round(2 * Z) / 2, "% of the values are"),
    "wide": (np.round(Z * 500), "whole numbers"),
}


@pytest.mark.parametrize("name", STEPS)
def test_values_without_a_density_are_warned_of(tmp_path, name):
    column, message = STEPS[name]
    data = _file(tmp_path, odd=column, kind=np.resize(["a", "b"], N))
    with pytest.warns(FlowModelsWarning, match=f"column 'odd'.*{message}"):
        labelled = read_labelled(data, "kind")
    np.testing.assert_allclose(labelled.rows.x[:, labelled.columns.index("odd")], column, rtol=1e-6)
    with pytest.warns(FlowModelsWarning, match=f"column 'odd'.*{message}"):
        table = own_table.read(data, kinds={"odd": "continuous"})
    np.testing.assert_allclose(table.frame["odd"], column, rtol=1e-6)


def test_test_rows_that_training_has_are_warned_of(tmp_path):
    frame = pd.DataFrame({"a": np.repeat(X, 10), "b": np.repeat(Y, 10)})
    frame.to_csv(tmp_path / "t.csv", index=False)
    with pytest.warns(FlowModelsWarning, match="90% of the rows are copies of others") as found:
        table = own_table.read(str(tmp_path / "t.csv"))
    assert len(found) == 1, "no test row is a training row"
    assert list(map(len, table.parts)) == [8 * N, N, N]
    parts = [set(map(tuple, part)) for part in table.parts]
    assert sum(map(len, parts)) == len(set.union(*parts)) == N
    train, test = np.stack([X, Y], 1), RNG.normal(size=(200, 2))
    test[:50] = train[:50]
    with pytest.warns(FlowModelsWarning, match="25% of the test rows"):
        tables.warn_of_copies(train, test, "t")


def test_copies_stay_in_one_part_and_frequent_rows_in_all():
    values = np.concatenate([np.repeat(np.arange(300), 2), np.full(400, -1)])
    groups = tables.groups_of_copies(values[:, None], "t")
    parts = tables.split(values, seed=1, groups=groups)
    assert [abs(len(part) - size) <= 1 for part, size in zip(parts, (800, 100, 100))] == [True] * 3
    assert all((part == -1).any() for part in parts)
    rare = [set(part) - {-1} for part in parts]
    assert sum(map(len, rare)) == 300
    few = tables.split(np.arange(9), seed=0, groups=np.array([0] * 7 + [1, 2]))
    assert sorted(map(len, few)) == [1, 1, 7]
    with pytest.raises(UserError, match="2 different rows cannot be split into three parts"):
        tables.split(np.arange(9), groups=np.array([0] * 7 + [1, 1]))
    assert tables.groups_of_copies(np.arange(9.0)[:, None], "t") is None


def test_copies_of_a_class_stay_in_one_part(tmp_path):
    frame = pd.DataFrame({"a": X[:60], "b": Y[:60], "kind": np.resize(["s", "t"], 60)})
    pd.concat([frame] * 3).to_csv(tmp_path / "t.csv", index=False)
    config = train_flowmodels4.Config(data=str(tmp_path / "t.csv"), label_column="kind")
    with pytest.warns(FlowModelsWarning, match="67% of the rows are copies"):
        problem = train_flowmodels4.load_data(config)
    parts = problem.train, problem.validation, problem.test
    assert sum(len({tuple(row) for row in part.x}) for part in parts) == 60
    assert sum(map(len, parts)) == 180 and min(map(len, parts)) >= 24


def test_rows_of_weight_0_are_left_out_so_that_every_part_has_weight(tmp_path, capsys):
    weight = np.where(np.arange(N) < 40, 2.0, 0.0)
    table = own_table.read(_file(tmp_path, w=weight), weights="w")
    assert [len(part) for part in table.parts] == [32, 4, 4]
    assert all((shares == 1).all() for shares in table.weights)
    assert "2,960 of 3,000 rows have weight 0 and are left out" in capsys.readouterr().out
    gap = np.where(np.arange(N) == 6, np.nan, 1.0)
    with pytest.raises(UserError, match="column 'w': 1 value missing.*row 7"):
        own_table.read(_file(tmp_path, w=gap), weights="w")


def test_plain_tables_cause_no_warning(tmp_path):
    data = _file(tmp_path, kind=np.resize(["a", "b"], N))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FlowModelsWarning)
        own_table.read(data)
        read_labelled(data, "kind")


@pytest.mark.parametrize("offset, sd", [(1.7e9, 20.0), (5.57e6, 2.0), (0.0, 1e-9)])
def test_digits_survive(tmp_path, offset, sd):
    """Of epoch seconds, of coordinates, of tiny scales."""
    odd = offset + sd * Z
    table = own_table.read(_file(tmp_path, odd=odd))
    parts = tables.split(np.arange(N), seed=0)
    for rows, part in zip(table.parts, parts):
        prepared = np.float64(table.columns.prepare(rows)[:, 2])
        right = odd[part] - odd[part].mean()
        found = (prepared - prepared.mean()) / prepared.std() * odd[part].std()
        assert np.abs(found - right).max() < 1e-5 * sd
