"""Tables as other programs write them: decimal marks, thousands, headers, separators, indices,
labels. Every case has its right values, or one line that names what is wrong."""

import csv
import io
import tracemalloc
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest

from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.data.tables import read_chunks, read_frame, read_table
from flow_models.data.tables.labelled import UNLABELLED, read_labelled

N = 3000


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _grouped(numbers, mark: str) -> list[str]:
    return [f"{number:,d}".replace(",", mark) for number in numbers]


def _lines(*columns, sep: str, header: str = "") -> str:
    rows = (sep.join(map(str, row)) for row in zip(*columns))
    return "\n".join([*([header] if header else []), *rows]) + "\n"


def _read(tmp_path, text: str | bytes, name: str = "t.csv", **options):
    data = text.encode() if isinstance(text, str) else text
    (tmp_path / name).write_bytes(data)
    return read_frame(tmp_path / name, **options)


POPULATION = _rng("population").integers(800, 1597, N)
SHARE = np.round(_rng("share").normal(5, 1, N), 1)
COMMA = [f"{share:.1f}".replace(".", ",") for share in SHARE]
BIG = _rng("big").integers(-5_000_000, 5_000_000, N)
CENTS = np.round(_rng("cents").normal(0, 4000, N), 2)
GERMAN = [f"{cent:,.2f}".translate(str.maketrans(",.", ".,")) for cent in CENTS]
THREE = [f"{value:.3f}".replace(".", ",") for value in _rng("three").normal(0, 3, N)]
NUMBERS = {
    "point groups, decimal comma": (
        _lines(_grouped(POPULATION, "."), COMMA, sep=";", header="population;b"),
        [POPULATION, SHARE],
    ),
    "comma groups, decimal point": (
        _lines(_grouped(POPULATION, ","), SHARE, sep=";", header="population;b"),
        [POPULATION, SHARE],
    ),
    "by tabs": (
        _lines(_grouped(POPULATION, "."), COMMA, sep="\t", header="population\tb"),
        [POPULATION, SHARE],
    ),
    "in quotes": (
        _lines([f'"{p:,d}"' for p in POPULATION], SHARE, sep=",", header="population,b"),
        [POPULATION, SHARE],
    ),
    "decimal commas in quotes": (
        _lines(POPULATION, [f'"{share}"' for share in COMMA], sep=",", header="p,b"),
        [POPULATION, SHARE],
    ),
    "millions": (_lines(_grouped(BIG, "."), COMMA, sep=";", header="p;b"), [BIG, SHARE]),
    "millions alone": (
        _lines(_grouped(BIG, ","), POPULATION, sep=";", header="p;q"),
        [BIG, POPULATION],
    ),
    "both marks in one": (_lines(GERMAN, POPULATION, sep=";", header="p;b"), [CENTS, POPULATION]),
    "no header": (_lines(COMMA, POPULATION, sep=";"), [SHARE, POPULATION]),
    "three decimals": (
        _lines(THREE, POPULATION, sep=";", header="t;p"),
        [[float(t.replace(",", ".")) for t in THREE], POPULATION],
    ),
    "exponents, signs": (
        "a;b\n+1,5e3;-2\n-0,25;+1E-2\n3;,5\n",
        [[1500, -0.25, 3], [-2, 0.01, 0.5]],
    ),
    "digits of float64": (
        _lines(
            [repr(float(1.7e9 + x)) for x in CENTS],
            [repr(float(x / 3)) for x in CENTS],
            sep=",",
            header="t,x",
        ),
        [1.7e9 + CENTS, CENTS / 3],
    ),
    "large integers": ("id,x\n9007199254740993,1.5\n9007199254740995,2\n", None),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_in_all_notations(tmp_path, name):
    text, columns = NUMBERS[name]
    frame = _read(tmp_path, text)
    if columns is None:
        assert list(frame["id"]) == [9007199254740993, 9007199254740995]
        return
    assert frame.shape == (len(columns[0]), len(columns))
    for found, right in zip(frame.to_numpy(np.float64).T, columns):
        np.testing.assert_array_equal(found, right)


REFUSED = {
    "underscore": (["1_000", *map(str, POPULATION)], "row 1: a number is expected, not '1_000'"),
    "apostrophe": ([*map(str, POPULATION), "1'000"], r"row 3001: a number is .* \"1'000\""),
    "blank": (["812", *_grouped(POPULATION, " ")], "column 'p', row .: a number is expected"),
    "narrow blank": (["812", *_grouped(POPULATION, "\u202f")], "column 'p', row .*: a number is"),
    "points among bare": (
        _grouped(POPULATION, "."),
        r"column 'p', row \d: '1.\d{3}' may be 1\d{3}",
    ),
    "mixed marks": (["1.5", "2,5", *map(str, SHARE)], "row 2: a number is expected, not '2,5'"),
    "groups of two": (["1,23,456", *map(str, SHARE)], "row 1: a number is expected"),
}


@pytest.mark.parametrize("sep", [";", "\t"])
@pytest.mark.parametrize("name", REFUSED)
def test_numbers_that_can_be_read_in_two_ways_are_refused(tmp_path, name, sep):
    cells, message = REFUSED[name]
    other = np.arange(len(cells)) * 7 % 13
    with pytest.raises(UserError, match=message) as caught:
        _read(tmp_path, _lines(cells, other, sep=sep, header=f"p{sep}q"))
    assert "column 'p'" in str(caught.value) and "\n" not in str(caught.value)


def test_grouped_thousands_beside_bare_numbers_in_a_file_of_points(tmp_path):
    """The decimal point is sure from another column, and 1.234 among 800 still is not."""
    text = _lines(_grouped(POPULATION, "."), SHARE, sep=",", header="population,b")
    with pytest.raises(UserError, match="column 'population', row .*may be"):
        _read(tmp_path, text)


def test_a_comma_before_three_digits_alone_is_said_to_be_decimal(tmp_path):
    cells = [f"{value:.3f}".replace(".", ",") for value in _rng("one").uniform(1, 9, N)]
    with pytest.warns(FlowModelsWarning, match="taken as the decimal mark"):
        frame = _read(tmp_path, _lines(cells, POPULATION, sep=";", header="a;b"))
    assert frame["a"].between(1, 9).all()


X, Y = _rng("x").normal(size=N), _rng("y").normal(size=N)
HEADERS = [
    "2019,2020",
    "0,1",
    "2019_01,2019_02",
    "east,2020",
    '"7","8"',
    "2020,east",
    "1,2",
    "a b,3",
]


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.filterwarnings("ignore::flow_models.core.errors.FlowModelsWarning")
def test_a_header_of_numbers_is_no_row(tmp_path, header, sep):
    frame = _read(tmp_path, _lines(X, Y, sep=sep, header=header.replace(",", sep)))
    assert list(frame) == header.replace('"', "").split(",")
    np.testing.assert_array_equal(frame.to_numpy(), np.stack([X, Y], 1))


def test_a_header_of_years_over_whole_numbers(tmp_path):
    counts = _rng("counts").integers(0, 300, (2, N))
    with pytest.warns(FlowModelsWarning, match="taken as the names"):
        assert len(_read(tmp_path, _lines(*counts, sep=",", header="2019,2020"))) == N


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("digits", [1, 2, 6])
def test_rows_without_a_header_stay_rows(tmp_path, digits):
    rows = np.round(np.stack([X, Y], 1) * 3, digits)
    assert len(_read(tmp_path, _lines(*rows.T, sep=","))) == N
    whole = _rng("whole").integers(0, 50, (3, N))
    assert len(_read(tmp_path, _lines(*whole, sep=","))) == N or list(whole[:, 0]) == [0, 1, 2]


def test_a_first_row_that_counts_is_a_row_with_a_warning(tmp_path):
    whole = _rng("whole").integers(0, 5, (2, N))
    with pytest.warns(FlowModelsWarning, match="taken as a row of data"):
        assert len(_read(tmp_path, _lines(*whole, sep=",", header="0,1"))) == N + 1


@pytest.mark.parametrize(
    "first, others",
    [
        ("5.1,3.5,setosa", "4.9,3.0,virginica\n4.7,3.2,setosa\n"),
        ("2020-01-01,5.2", "2020-01-02,5.4\n2020-01-03,5.1\n"),
        ("id1,0.2", "id2,0.4\nid3,0.5\n"),
    ],
)
def test_text_in_a_first_row_that_is_like_the_others(tmp_path, first, others):
    frame = _read(tmp_path, f"{first}\n{others}")
    assert list(frame)[0] == "x1" and len(frame) == 3


AGE = _rng("age").integers(18, 90, N)
SEPARATED = {
    "in quotes": (
        _lines(AGE, AGE * 3, sep=",", header='"age; years","count"'),
        ["age; years", "count"],
    ),
    "no quotes": (
        _lines(AGE, AGE * 3, sep=",", header="age; years,count"),
        ["age; years", "count"],
    ),
    "tabs": (_lines(AGE, AGE * 3, sep="\t", header="x\ty; m"), ["x", "y; m"]),
    "tabs and commas": (_lines(AGE, AGE * 3, sep="\t", header="x, m\ty, m"), ["x, m", "y, m"]),
    "semicolons": (_lines(AGE, AGE * 3, sep=";", header='"x, m";y'), ["x, m", "y"]),
    "pipes": (_lines(AGE, AGE * 3, sep="|", header="x|y, m"), ["x", "y, m"]),
    "blanks": (_lines(AGE, AGE * 3, sep="  ", header='"x m"   y'), ["x m", "y"]),
    "Excel": ("sep=;\n" + _lines(AGE, AGE * 3, sep=";", header="a;b, m"), ["a", "b, m"]),
    "Excel, comma": ("sep=,\r\n" + _lines(AGE, AGE * 3, sep=",", header="a; x,b"), ["a; x", "b"]),
    "doubled quotes": (_lines(AGE, AGE * 3, sep=",", header='"a ""x"", m",b'), ['a "x", m', "b"]),
    "line in a name": (_lines(AGE, AGE * 3, sep=",", header='"a\nm",b'), ["a\nm", "b"]),
    "end marks": (_lines(AGE, AGE * 3, [""] * N, sep=",", header="a,b,"), ["a", "b"]),
}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", SEPARATED)
def test_separators_and_line_ends(tmp_path, name, end):
    text, names = SEPARATED[name]
    text = text.replace("\r\n", "\n")
    frame = _read(tmp_path, text if "line in" in name else text.replace("\n", end))
    assert list(frame) == names
    np.testing.assert_array_equal(frame.to_numpy(np.float64), np.stack([AGE, AGE * 3], 1))


NAMES = ["depth, m", 'say "x"', "a;b", "tab\there", "plain", "é", "# note", "2020"]


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("first", NAMES)
def test_what_a_writer_of_csv_wrote_is_read_back(tmp_path, first, sep):
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=sep, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerows([["x", first], *zip(X, Y)])
    frame = _read(tmp_path, buffer.getvalue())
    assert list(frame) == ["x", first] and (frame.to_numpy() == np.stack([X, Y], 1)).all()


INDICES = {
    "pandas": (lambda frame: frame.to_csv(), "has no name"),
    "pandas, shuffled": (lambda frame: frame.sample(frac=1, random_state=0).to_csv(), "no name"),
    "pandas, some rows": (lambda frame: frame[::3].to_csv(), "no name"),
    "pandas, semicolons": (lambda frame: frame.to_csv(sep=";"), "no name"),
    "R": (lambda frame: frame.set_axis(range(1, N + 1)).to_csv(quoting=2), "no name"),
    "names": (lambda frame: frame.set_axis([f"r{i}" for i in range(N)]).to_csv(), "no name"),
    "read and written": (lambda frame: frame.to_csv(index_label="Unnamed: 0"), "'Unnamed: 0'"),
    "reset": (lambda frame: frame.reset_index().to_csv(index=False), "'index'"),
    "numbered columns": (lambda frame: frame.set_axis([0, 1], axis=1).to_csv(), "no name"),
}


@pytest.mark.parametrize("name", INDICES)
def test_an_index_is_left_out_and_said_to_be(tmp_path, name):
    write, words = INDICES[name]
    frame = pd.DataFrame({"x": X, "y": Y})
    with pytest.warns(FlowModelsWarning, match=words):
        found = _read(tmp_path, write(frame))
    assert found.shape[1] == 2 and set(found.iloc[:, 0]) <= set(X)


@pytest.mark.filterwarnings("error")
def test_columns_that_are_no_index_stay(tmp_path):
    assert list(_read(tmp_path, _lines(X, Y, sep=",", header=",y"))) == ["x1", "y"]
    assert list(_read(tmp_path, _lines(AGE, Y, sep=",", header="index,y"))) == ["index", "y"]
    frame = pd.DataFrame({"Unnamed: 0": range(N), "y": Y})
    found = _read(tmp_path, frame.to_csv(index=False), columns=["Unnamed: 0", "y"])
    assert list(found) == ["Unnamed: 0", "y"]


def _saved(save, *arrays, **named) -> bytes:
    buffer = io.BytesIO()
    save(buffer, *arrays, **named)
    return buffer.getvalue()


def test_arrays_of_structured_types(tmp_path):
    array = np.zeros(N, [("pos", ">f8", (2,)), ("m", "i4"), ("t", "f4", (1, 2))])
    array["pos"], array["m"] = np.stack([X, Y], 1), AGE
    for name, data in (("t.npy", _saved(np.save, array)), ("t.npz", _saved(np.savez, a=array))):
        frame = _read(tmp_path, data, name)
        assert list(frame) == ["pos1", "pos2", "m", "t1", "t2"]
        np.testing.assert_array_equal(frame[["pos1", "pos2"]], np.stack([X, Y], 1))
        assert read_table(tmp_path / name, ["pos2", "m"]).values.shape == (N, 2)
    nested = np.zeros(3, [("a", [("b", "f8")])])
    with pytest.raises(UserError, match="field 'a' has fields of its own"):
        _read(tmp_path, _saved(np.save, nested), "t.npy")


def test_archives_with_objects_beside_the_rows(tmp_path):
    rows = np.stack([X, Y], 1)
    meta = np.array({"made": "by hand"}, object)
    data = _saved(np.savez, x=rows, meta=meta, version=np.int64(3))
    with pytest.warns(FlowModelsWarning, match="left out.*: meta, version"):
        frame = _read(tmp_path, data, "t.npz")
    np.testing.assert_array_equal(frame, rows)
    with pytest.raises(UserError, match="meta holds Python objects"):
        read_frame(f"{tmp_path}/t.npz#meta")
    with pytest.raises(UserError, match="meta holds Python objects"):
        _read(tmp_path, _saved(np.savez, meta=meta), "t.npz")


@pytest.mark.parametrize(
    "word", ["NA", "None", "null", "n/a", "nan", "?", "NaN", "N/A", "<NA>", "-"]
)
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_words_of_labels_are_classes(tmp_path, word, suffix, capsys):
    labels = np.resize(["AS", "EU", word, ""], N)
    frame = pd.DataFrame({"x": X, "y": Y, "continent": labels})
    if suffix == ".csv":
        frame.to_csv(tmp_path / "t.csv", index=False)
    else:
        frame.loc[frame.continent == "", "continent"] = None
        frame.to_parquet(tmp_path / "t.parquet", index=False)
    table = read_labelled(tmp_path / f"t{suffix}", "continent")
    assert table.classes == tuple(sorted(["AS", "EU", word]))
    named = np.array([*table.classes, ""])[table.rows.y]
    np.testing.assert_array_equal(named, labels)
    assert f"{N // 4} rows without a label" in capsys.readouterr().out


@pytest.mark.parametrize("classes", [("1", "2"), ("1", "10", "9"), ("0", "1", "NA"), ("yes", "no")])
def test_labels_of_numbers_and_words(tmp_path, classes, capsys):
    labels = np.resize(classes, N)
    (tmp_path / "t.csv").write_text(_lines(X, Y, labels, sep=",", header="x,y,c"))
    table = read_labelled(tmp_path / "t.csv", "c")
    np.testing.assert_array_equal(np.array(table.classes)[table.rows.y], labels)
    assert not (table.rows.y == UNLABELLED).any() and "0 rows without" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["", "NA", "nan", "null", "n/a", "NaN"])
def test_missing_words_in_columns_of_numbers(tmp_path, word):
    frame = _read(tmp_path, f"a,b\n1,2\n{word},3.5\n3,{word}\n")
    np.testing.assert_array_equal(frame.to_numpy(float), [[1, 2], [np.nan, 3.5], [3, np.nan]])


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.npy"])
def test_chunks_are_the_table(tmp_path, name):
    frame = pd.DataFrame({"x1": X, "x2": Y})
    place = tmp_path / name
    {
        "t.csv": lambda: frame.to_csv(place, index=False),
        "t.parquet": lambda: frame.to_parquet(place),
        "t.npy": lambda: np.save(place, frame.to_numpy()),
    }[name]()
    chunks = list(read_chunks(place, rows=700))
    assert [len(chunk) for chunk in chunks] == [700, 700, 700, 700, 200]
    whole = pd.concat(chunks)
    assert list(whole.index) == list(range(1, N + 1))
    np.testing.assert_array_equal(whole, read_frame(place))


def test_chunks_of_text_and_numbers_are_aligned(tmp_path):
    frame = pd.DataFrame(
        {"x": X, "code": [f"{i:04d}" for i in range(N)], "k": ["a", "b"] * (N // 2)}
    )
    frame.to_csv(tmp_path / "t.csv", index=False)
    whole = pd.concat(read_chunks(tmp_path / "t.csv", text=["code"], rows=700))
    assert len(whole) == N and not whole.isna().any().any()
    assert list(whole["code"]) == list(frame["code"]) and (whole["x"] == X).all()


def test_marks_that_only_a_later_part_of_a_long_file_tells(tmp_path):
    """Sorted populations: the first megabyte has none of a thousand or more, and no comma."""
    small, large = np.arange(100_000) % 1000, 1000 + np.arange(60_000) % 700
    numbers = np.concatenate([small, large])
    halves = ["5"] * 100_000 + ["5,5"] * 60_000
    pads = ["x" * 8] * 160_000
    text = _lines(_grouped(numbers, "."), halves, pads, sep=";", header="p;b;c")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = _read(tmp_path, text)
    np.testing.assert_array_equal(frame["p"], numbers)
    assert frame["b"].max() == 5.5


@pytest.mark.parametrize("name", ["a.npy", "f.npy", "s.npy", "a.npz", "z.npz", "n.npz", "f.npz"])
def test_parts_of_arrays_are_the_table_in_the_memory_of_a_part(tmp_path, name):
    x = np.arange(400_000.0).reshape(-1, 4)
    fields = np.rec.fromarrays(list(x.T), names=["a", "Höhe", "c", "d"])
    place = str(tmp_path / name)
    if name.endswith("npy"):
        np.save(place, {"a": x, "f": np.asfortranarray(x), "s": fields}[name[0]])
    elif name == "z.npz":
        np.savez_compressed(place, x=x)
    else:
        np.savez(place, **(dict(zip("abcd", x.T)) if name == "n.npz" else {"x": x}))
    if name == "f.npz":
        np.savez(place, x=np.asfortranarray(x))
    parts, whole = list(read_chunks(place, rows=7000)), read_frame(place)
    assert [len(part) for part in parts] == [7000] * 14 + [2000]
    np.testing.assert_array_equal(np.concatenate(parts), x)
    np.testing.assert_array_equal(whole, x)
    assert list(parts[-1]) == list(whole) and parts[-1].index[-1] == len(x)
    assert "Höhe" in whole or name != "s.npy"
    if name[0] in "asf":
        tracemalloc.start()
        for _ in read_chunks(place, rows=7000):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes / 2


def test_arrays_that_end_too_early(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((1000, 2)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-100])
    for rows in (None, 300):
        with pytest.raises(UserError, match="not an NPY array, or damaged: .* bytes are expected"):
            list(read_chunks(tmp_path / "a.npy", rows=rows))


def test_labels_of_any_type_may_be_missing(tmp_path):
    kinds = {
        "flags": pd.array([True, None, False, True], dtype="boolean"),
        "categories": pd.Categorical(["x", None, "y", "x"]),
        "texts": pd.array(["x", pd.NA, "NA", "x"], dtype="string"),
        "whole": pd.array([1, None, 2, 1], dtype="Int64"),
    }
    for name, labels in kinds.items():
        frame = pd.DataFrame({"a": np.arange(40.0) ** 2, "c": list(labels) * 10})
        frame["c"] = frame["c"].astype(labels.dtype)
        frame.to_parquet(tmp_path / "t.parquet")
        found = read_labelled(tmp_path / "t.parquet", "c")
        assert len(found.classes) == 2, name
        assert (found.rows.y == UNLABELLED).tolist() == [False, True, False, False] * 10, name


def test_names_of_rows_in_parquet_are_a_column(tmp_path):
    frame = pd.DataFrame({"a": [1.5, 2.5, 3.5], "b": [2.0, 1.0, 0.5]})
    frame.set_index("a").to_parquet(tmp_path / "t.parquet")
    assert read_frame(tmp_path / "t.parquet")[["a", "b"]].to_numpy().tolist() == (
        frame.to_numpy().tolist()
    )
    frame[frame.a > 2].to_parquet(tmp_path / "t.parquet")  # an index without a name is none
    assert list(read_frame(tmp_path / "t.parquet")) == ["a", "b"]


def test_whole_numbers_of_19_digits_are_kept(tmp_path):
    found = _read(tmp_path, "id,b\n1152921504606846977,1.5\n1152921504606846978,2.5\n")
    assert found["id"].tolist() == [2**60 + 1, 2**60 + 2]
    large = _read(tmp_path, "id,b\n99999999999999999999,1.5\n1,2.5\n")
    assert large["id"].tolist() == [1e20, 1.0]


def test_minus_signs_of_typography_are_read(tmp_path):
    found = _read(tmp_path, "a;b\n\u22121,5;2\n2,5;\u22123\n0,5;\u22124\n")
    assert found["a"].tolist() == [-1.5, 2.5, 0.5]
    assert found["b"].tolist() == [2, -3, -4]


def test_fields_of_bytes_are_text(tmp_path):
    np.save(tmp_path / "t.npy", np.array([(1.0, b"a"), (2.0, b"b")], [("x", "f8"), ("c", "S1")]))
    assert read_frame(tmp_path / "t.npy")["c"].tolist() == ["a", "b"]


@pytest.mark.parametrize("index", [[*range(100)] * 2, [float(i) for i in range(200)]])
def test_index_of_joined_tables_is_left_out(tmp_path, index):
    frame = pd.DataFrame({"a": _rng("joined").normal(size=200)}, index=index)
    with pytest.warns(FlowModelsWarning, match="left out"):
        assert list(_read(tmp_path, frame.to_csv())) == ["a"]
