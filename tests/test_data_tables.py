"""Reading, checking and splitting tables: every format, and a table of wrong inputs with the
expected message."""

import io
import pickle

import numpy as np
import pandas as pd
import pytest

from flow_models.core.errors import UserError
from flow_models.data.tables import check_table, read_frame, read_table, split

VALUES = np.array([[1.5, -2.0], [0.25, 1e3], [3.0, 7.0]])
ROWS = "1.5{0}-2\n0.25{0}1e3\n3{0}7\n"


def _npy(array) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _npz(**arrays) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def _parquet(**columns) -> bytes:
    file = io.BytesIO()
    pd.DataFrame(columns).to_parquet(file)
    return file.getvalue()


def _savetxt(**options) -> bytes:
    file = io.BytesIO()
    np.savetxt(file, VALUES, **options)
    return file.getvalue()


GOOD = {
    "comma.csv": ("a,b\n" + ROWS.format(",")).encode(),
    "windows.csv": ("\ufeffa,b\r\n" + ROWS.format(",").replace("\n", "\r\n")).encode(),
    "semicolon.csv": ("a;b\n" + ROWS.format(";")).encode(),
    "decimal_comma.csv": b"a;b\n1,5;-2\n0,25;1e3\n3;7\n",
    "utf16.csv": ("a\tb\n" + ROWS.format("\t")).encode("utf-16"),
    "tab.tsv": ("a\tb\n" + ROWS.format("\t")).encode(),
    "UPPER.CSV": ("a,b\n" + ROWS.format(",")).encode(),
    "quoted.csv": ('"a", "b"\n' + ROWS.format(", ")).encode(),
    "no_end.csv": ("a,b\n" + ROWS.format(",")).rstrip().encode(),
    "savetxt.txt": _savetxt(header="made by hand, once\na b"),
    "fields.npy": _npy(np.array([tuple(row) for row in VALUES], [("a", "f8"), ("b", "f4")])),
    "columns.npz": _npz(a=VALUES[:, 0], b=VALUES[:, 1]),
    "table.parquet": _parquet(a=VALUES[:, 0], b=VALUES[:, 1].astype(int)),
}
NAMELESS = {
    "plain.csv": ROWS.format(",").encode(),
    "blanks.txt": ROWS.format("   ").encode(),
    "savetxt.csv": _savetxt(delimiter=","),
    "one.npy": _npy(VALUES),
    "fortran.npy": _npy(np.asfortranarray(VALUES.astype("f4"))),
    "one.npz": _npz(anything=VALUES),
}


@pytest.mark.parametrize("name", GOOD)
def test_formats_with_names(tmp_path, name):
    (tmp_path / name).write_bytes(GOOD[name])
    table = read_table(tmp_path / name)
    assert table.columns == ("a", "b") and table.source == str(tmp_path / name)
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, VALUES.astype(np.float32))
    second = read_table(str(tmp_path / name), columns=["b"])
    assert second.columns == ("b",)
    np.testing.assert_array_equal(second.values[:, 0], VALUES[:, 1].astype(np.float32))
    np.testing.assert_array_equal(
        read_table(tmp_path / name, ["b", "a"]).values, table.values[:, ::-1]
    )


@pytest.mark.parametrize("name", NAMELESS)
def test_formats_without_names(tmp_path, name):
    (tmp_path / name).write_bytes(NAMELESS[name])
    table = read_table(tmp_path / name)
    assert table.columns == ("x1", "x2")
    np.testing.assert_array_equal(table.values, VALUES.astype(np.float32))
    np.testing.assert_array_equal(
        read_table(tmp_path / name, ["x2"]).values[:, 0], table.values[:, 1]
    )


def test_one_dimension_and_named_arrays(tmp_path):
    (tmp_path / "line.npy").write_bytes(_npy(VALUES[:, 0]))
    assert read_table(tmp_path / "line.npy").values.shape == (3, 1)
    (tmp_path / "two.npz").write_bytes(_npz(train=VALUES, test=2 * VALUES[:2]))
    np.testing.assert_array_equal(
        read_table(f"{tmp_path}/two.npz#train").values, VALUES.astype(np.float32)
    )


def test_text_columns_stay_in_the_frame_and_may_be_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("kind,a,b\ncat,1,2\ndog,2,1\ncat,4,5\n")
    assert list(read_frame(tmp_path / "t.csv")["kind"]) == ["cat", "dog", "cat"]
    assert read_table(tmp_path / "t.csv", ["a", "b"]).values.shape == (3, 2)


WRONG = {
    "missing": ("x.csv", None, r"no such file or folder$"),
    "nearly": ("data.csv", {"date.csv": b"a\n1\n2\n"}, r"no such file.*did you mean date\.csv\?"),
    "no folder": ("far/x.csv", None, r"no such file or folder; there is no folder .*far$"),
    "folder": ("d.csv", {"d.csv/x": b""}, "a file is expected; this is a folder"),
    "unknown ending": ("t.xlsx", b"PK", r"name ends in \.csv \.tsv \.txt \.npy \.npz \.parquet"),
    "no ending": ("table", b"1,2", "name ends in"),
    "empty": ("t.csv", b"", "the file is empty"),
    "blank": ("t.csv", b" \n\n", "the file is empty"),
    "empty npy": ("t.npy", b"", "the file is empty"),
    "only header": ("t.csv", b"a,b\n", "0 rows; at least 2 are expected"),
    "only comments": ("t.txt", b"# nothing\n", "the file has no rows"),
    "one row": ("t.csv", b"a,b\n1,2\n", "1 row; at least 2"),
    "binary": ("t.csv", bytes(range(256)) * 8, "not a table of text.*binary data"),
    "image": (
        "t.csv",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00",
        "not a table of text.*binary data",
    ),
    "text": (
        "t.csv",
        b"a,b\n1,2\n3,tall\n5,6\n",
        r"column 'b', row 2: a number is expected, not 'tall'",
    ),
    "text in headless": (
        "t.csv",
        b"1,2\n3,tall\n",
        r"column 'x2', row 2: a number is expected, not 'tall'",
    ),
    "half a header": ("t.csv", b"a,2\n3,4\n", "1 row; at least 2 are expected"),
    "truth": (
        "t.csv",
        b"a,b\n1,True\n2,False\n",
        r"column 'b', row 1: a number is expected, not 'True'",
    ),
    "dates": (
        "t.parquet",
        _parquet(when=pd.to_datetime(["2020", "2021"])),
        "column 'when' holds datetime64",
    ),
    "long row": (
        "t.csv",
        b"a,b\n1,2\n1,2,3\n3,4\n",
        "rows of equal length are expected: .* 2 fields in line 3, saw 3",
    ),
    "all rows long": (
        "t.csv",
        b"a,b\n1,2,3\n4,5,6\n",
        r"the rows have more fields than the header has names \(2\)",
    ),
    "open quote": ("t.csv", b'a,b\n1,"2\n3,4\n', "rows of equal length are expected"),
    "short row": (
        "t.csv",
        b"a,b\n1,2\n3\n5,6\n",
        r"column 'b': 1 value missing, NaN or infinite \(first in row 2\)",
    ),
    "nan": (
        "t.csv",
        b"a,b\n1,2\n3,nan\n5,\n",
        r"column 'b': 2 values missing, NaN or infinite \(first in row 2\)",
    ),
    "infinite": (
        "t.npy",
        _npy([[1, 2], [np.inf, 3], [-np.inf, 4]]),
        r"'x1': 2 values .* \(first in row 2\)",
    ),
    "constant": (
        "t.csv",
        b"a,b\n1,7\n2,7\n3,7\n",
        r"column 'b' is constant \(7\): its likelihood would be unbounded",
    ),
    "repeated": (
        "t.csv",
        b"a,b,c\n1,5,2.5\n2,7,4.5\n3,1,6.5\n4,1,8.5\n",
        "column 'c' is a multiple of column 'a'",
    ),
    "duplicate names": ("t.csv", b"a,a\n1,2\n2,3\n", "column name used more than once: 'a'"),
    "too large": ("t.csv", b"a\n1e39\n2\n", r"1e\+39 is too large for 32-bit numbers"),
    "offset": (
        "t.csv",
        b"a\n6000000000000.01\n6000000000000.02\n6000000000000.05\n",
        r"varies by .* around 6e\+12.*subtract",
    ),
    "3-D": (
        "t.npy",
        _npy(np.ones((2, 3, 4))),
        r"\[rows, columns\] is expected; this one has shape \(2, 3, 4\)",
    ),
    "scalar": ("t.npy", _npy(np.float64(3)), r"has shape \(\)"),
    "complex": (
        "t.npy",
        _npy(np.ones((3, 2), complex)),
        "the array holds complex128, not real numbers",
    ),
    "objects": (
        "t.npy",
        _npy(np.array([{}, None], object)),
        "not an NPY array, or damaged: Object arrays",
    ),
    "not npy": ("t.npy", b"1,2\n3,4\n", "not an NPY file"),
    "cut npy": ("t.npy", _npy(VALUES)[:-9], "not an NPY array, or damaged"),
    "not npz": ("t.npz", b"1,2\n3,4\n", "not an NPZ file, or damaged"),
    "which array": (
        "t.npz",
        _npz(p=VALUES, q=VALUES[0]),
        r"which array\? There are p \[3, 2\], q \[2\]; .*npz#name",
    ),
    "not parquet": ("t.parquet", b"1,2\n3,4\n" * 9, "not a Parquet file, or damaged"),
    "nested": (
        "t.parquet",
        _parquet(a=[1.0, 2], b=[[1], [2]]),
        "column 'b', row 1: a number is expected",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_end_in_one_clear_line(tmp_path, case):
    name, content, message = WRONG[case]
    for place, data in (
        content if isinstance(content, dict) else {} if content is None else {name: content}
    ).items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(data)
    with pytest.raises(UserError, match=message) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value) and name.split("/")[-1] in str(caught.value)


@pytest.mark.parametrize(
    "columns, message",
    [
        (["a", "z"], "no column 'z'; there are 'a', 'b'"),
        (["y", "z"], "no columns 'y', 'z'; there are"),
        (["a", "a"], "each only once"),
        ([], "at least one is expected"),
    ],
)
@pytest.mark.parametrize("name", ["comma.csv", "table.parquet", "fields.npy"])
def test_columns_that_are_not_there(tmp_path, name, columns, message):
    (tmp_path / name).write_bytes(GOOD[name])
    with pytest.raises(UserError, match=message):
        read_table(tmp_path / name, columns)


def test_missing_array_of_an_archive(tmp_path):
    (tmp_path / "t.npz").write_bytes(_npz(p=VALUES))
    with pytest.raises(UserError, match="no array 'q'; there are p"):
        read_table(f"{tmp_path}/t.npz#q")


def test_a_pickle_is_never_loaded(tmp_path):
    """Neither in an NPY of objects nor under an NPY name: what it would do is not done."""

    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    for data in (
        _npy(np.array([Trap()], object)),
        pickle.dumps(Trap()),
        _npz(a=np.array([Trap()], object)),
    ):
        for suffix in (".npy", ".npz", ".parquet", ".csv"):
            (tmp_path / f"t{suffix}").write_bytes(data)
            with pytest.raises(UserError):
                read_table(tmp_path / f"t{suffix}")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    "values, options, message",
    [
        ([[1, 2], [3]], {}, "rows of equal length"),
        (np.ones((2, 2, 2)), {}, "shape"),
        (np.zeros((3, 0)), {}, "no column"),
        ([[1.0, 2], [3, 5]], {"columns": ["a"]}, "1 column names given for 2 columns"),
        ([[1.0, 2], [3, 5]], {"min_rows": 10}, "2 rows; at least 10"),
        (
            [[1.0, 2], [3, 2]],
            {"columns": ["a", "b"], "source": "mine"},
            "^mine: column 'b' is constant",
        ),
        ([[1.0, None], [3, 2]], {}, "column 'x2': 1 value missing"),
    ],
)
def test_wrong_arrays(values, options, message):
    with pytest.raises(UserError, match=message):
        check_table(values, **options)


def test_arrays_from_python():
    assert check_table([1.0, 2, 4]).shape == (3, 1)
    frame = pd.DataFrame({"a": [1, 2, 4], "b": ["1.5", "2", "0"]})
    np.testing.assert_array_equal(check_table(frame), np.float32([[1, 1.5], [2, 2], [4, 0]]))
    assert check_table(np.float16([[1, 2], [3, 4.5], [5, 1]])).dtype == np.float32


@pytest.mark.parametrize("rows, sizes", [(3, (1, 1, 1)), (10, (8, 1, 1)), (1001, (801, 100, 100))])
def test_split_is_seeded_and_disjoint(rows, sizes):
    values = np.arange(rows, dtype=np.float32)[:, None]
    parts = split(values, seed=3)
    assert tuple(map(len, parts)) == sizes
    np.testing.assert_array_equal(np.sort(np.concatenate(parts), 0), values)
    for part, again in zip(parts, split(values, seed=3)):
        np.testing.assert_array_equal(part, again)
    if rows > 100:
        assert not np.array_equal(parts[0], split(values, seed=4)[0])


@pytest.mark.parametrize(
    "rows, fractions, message",
    [
        (2, (0.8, 0.1, 0.1), "2 rows cannot be split"),
        (0, (0.8, 0.1, 0.1), "0 rows cannot be split"),
        (10, (0.8, 0.2), "three positive numbers"),
        (10, (0.9, 0.1, 0.0), "three positive numbers"),
        (10, (0.8, 0.3, 0.1), "sum to 1"),
    ],
)
def test_wrong_splits(rows, fractions, message):
    with pytest.raises(UserError, match=message):
        split(np.zeros((rows, 2)), fractions)
