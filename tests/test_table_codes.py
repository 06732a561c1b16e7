"""Digits that are codes, thousands in groups, and values that differ in their spelling alone."""

import numpy as np
import pandas as pd
import pytest

import flow_models as fm
from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.data.tables import read_chunks, read_frame
from flow_models.data.tables.labelled import read_labelled

N = 60
X = np.random.default_rng(0).normal(size=N)


def _write(tmp_path, cells, name="t.csv"):
    place = tmp_path / name
    lines = [f"{cell};{x:.4f}" for cell, x in zip(cells, X)]
    place.write_text("\n".join(["c;x", *lines]) + "\n")
    return str(place)


def test_digits_with_zeros_in_front_are_codes_and_do_not_merge(tmp_path):
    frame = read_frame(_write(tmp_path, np.resize(["007", "7", "", "7"], N)))
    assert list(frame["c"][:2]) == ["007", "7"] and frame["c"].isna().sum() == N // 4
    with pytest.warns(FlowModelsWarning, match="column 'c' is taken as text, for '007'"):
        columns = fm.Columns.of(frame)
    assert columns.kinds[0].categories == ("007", "7")
    np.testing.assert_allclose(columns.kinds[0].shares, [1 / 3, 2 / 3])
    (chunk,) = read_chunks(_write(tmp_path, ["7"] * N))  # of a table to score
    assert set(columns.prepare(chunk)[:, 0]) == {1.0}
    with pytest.warns(FlowModelsWarning, match="its zero in front"):
        different = read_frame(_write(tmp_path, [f"{i:05d}" for i in range(N)]))
        assert fm.Columns.of(different).identifiers == ("c",)
    assert fm.Columns.of(frame, {"c": "count"}).kinds[0].name == "count"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "cells", [["0", "7", "10"], ["0.5", "0", "-0.3"], ["007.50", "012.25", "7"], ["-07", "1", "2"]]
)
def test_other_zeros_are_those_of_numbers(tmp_path, cells):
    frame = read_frame(_write(tmp_path, np.resize(cells, N)))
    np.testing.assert_array_equal(frame["c"], np.resize(list(map(float, cells)), N))
    texts = pd.DataFrame({"c": np.resize(cells, N), "x": X})
    assert fm.Columns.of(texts).kinds[0].name != "identifier"


def test_codes_of_frames_in_python_are_text_too():
    frame = pd.DataFrame({"zip": np.resize(["01067", "10115", "80331"], N), "x": X})
    with pytest.warns(FlowModelsWarning, match="'01067'"):
        columns = fm.Columns.of(frame)
    assert columns.kinds[0].categories == ("01067", "10115", "80331")


MILLIONS = np.random.default_rng(1).integers(1_000, 5_000_000, N)
GROUPED = [f"{number:,d}".replace(",", ".") for number in MILLIONS]


@pytest.mark.filterwarnings("error")
def test_points_of_millions_group_thousands_beside_decimal_points(tmp_path):
    """x has decimal points in the same file."""
    frame = read_frame(_write(tmp_path, GROUPED))
    np.testing.assert_array_equal(frame["c"], MILLIONS)
    np.testing.assert_allclose(frame["x"], X, atol=1e-4)


@pytest.mark.filterwarnings("error")
def test_three_decimals_alone_stay_decimals(tmp_path):
    cells = [f"{1 + abs(x):.3f}" for x in X]
    np.testing.assert_array_equal(read_frame(_write(tmp_path, cells))["c"], list(map(float, cells)))


def test_millions_that_the_head_of_a_column_did_not_tell_are_refused():
    from flow_models.data.tables import numerals

    for share in (3, 40, N):
        cells = pd.Series(["1.063"] * (N - share) + ["1.063.000"] * share)
        with pytest.raises(UserError, match=rf"c, row {N - share + 1}: .*'1.063.000'"):
            numerals.convert(cells, ".", "c", 1)


def test_equal_numbers_are_one_class_and_texts_are_as_they_are_written(tmp_path, capsys):
    cases = {
        ("1.5", "1.50", "2", "2.0", " 2 "): ("1.5", "2"),
        ("1e1", "10", "7"): ("7", "10"),
        ("a", "1.50", "1.5", "1.0", "1"): ("1", "1.5", "1.50", "a"),
    }
    for cells, classes in cases.items():
        table = read_labelled(_write(tmp_path, np.resize(cells, N)), "c")
        assert table.classes == classes
    with pytest.warns(FlowModelsWarning, match="'007' and '7' are two classes"):
        table = read_labelled(_write(tmp_path, np.resize(["007", "7", "8"], N)), "c")
    assert table.classes == ("007", "7", "8")


def test_categories_that_differ_in_type_or_blanks_alone_are_one():
    mixed = pd.Series(np.resize(np.array([1, "1", "a", "a ", 2.5, "2.5"], object), N))
    kind = fm.Columns.of(pd.DataFrame({"c": mixed}), {"c": "categorical"}).kinds[0]
    assert kind.categories == ("1", "2.5", "a")
    np.testing.assert_array_equal(kind.prepare([1, "1", 1.0, " a", "b", None])[:5], [0, 0, 0, 2, 3])
    numbers = fm.Columns.of(pd.DataFrame({"c": np.resize([1.5, 2.0], N)})).kinds[0]
    np.testing.assert_array_equal(numbers.prepare(["1.50", "2", 2, "x"]), [0, 1, 1, 2])
