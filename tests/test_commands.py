"""Every command on every kind of model: the right value, or one line that says what to do."""

import os
import shutil
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from command_models import every
from PIL import Image

import flow_models as fm
from flow_models.__main__ import main
from flow_models.commands import sample, writing
from flow_models.core.errors import FlowModelsWarning
from flow_models.data import tables
from flow_models.models import detector

ROWS = ["table", "bounded", "kinds", "missing", "classes", "joint classes"]
PICTURES = ["pictures", "class pictures"]
CLASSES = ["classes", "joint classes", "class pictures"]
POSTERIORS = ["posterior", "joint posterior", "own problem"]


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    return every(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    """Commands load models that run at once; what they do is the same."""
    load = detector.load
    monkeypatch.setattr(fm, "load", lambda place: load(place, jit=False))
    monkeypatch.setattr(detector, "load", lambda place, jit: load(place, jit=False))


def written(tmp_path, command: str, *arguments, name="out.csv") -> pd.DataFrame:
    """What a command writes."""
    out = tmp_path / name
    main([command, *map(str, arguments), "--csv", str(out)])
    return pd.read_parquet(out) if name.endswith("parquet") else pd.read_csv(out)


def rows_of(kind, frame):
    """Rows of the kind's table, as its model takes them."""
    return frame[kind.model.columns].to_numpy(float)


# score


@pytest.mark.parametrize("name", [*ROWS, *PICTURES])
def test_score(kinds, tmp_path, name):
    kind = kinds[name]
    found = written(tmp_path, "score", kind.place, kind.data)
    assert found.error.isna().all() and np.isfinite(found.nll).all()
    if name in PICTURES:
        assert [os.path.basename(each) for each in found.name] == ["night.png", "snow.png"]
    elif name == "kinds":
        table = pd.read_csv(kind.data, parse_dates=["day"])
        np.testing.assert_allclose(found.nll, -kind.model.log_prob(table), rtol=1e-4)
    else:
        x = rows_of(kind, pd.read_csv(kind.data))
        np.testing.assert_allclose(found.nll, -kind.model.log_prob(x), rtol=1e-4)


def test_score_of_a_posterior_is_of_the_data(kinds, tmp_path):
    kind = kinds["posterior"]
    found = written(tmp_path, "score", kind.place, kind.data)
    y = pd.read_csv(kind.data)[["y1", "y2"]].to_numpy()
    np.testing.assert_allclose(found.nll, kind.model.anomaly_score(y), rtol=1e-4)
    own, joint = kinds["own problem"], kinds["joint posterior"]
    y = pd.read_csv(own.data)[list(own.model.codecs["y"].columns)].to_numpy()
    nll = written(tmp_path, "score", own.place, own.data).nll
    np.testing.assert_allclose(nll, own.model.anomaly_score(y), rtol=1e-4)
    kept = own.model.codecs["y"].kept.astype(np.float64)
    gaussian = scipy.stats.multivariate_normal(kept.mean(0), np.cov(kept.T, bias=True))
    np.testing.assert_allclose(nll, -gaussian.logpdf(y), rtol=1e-3, atol=1e-3)
    with pytest.raises(fm.UserError, match="neither has a density of the data"):
        written(tmp_path, "score", joint.place, joint.data)


# sample


@pytest.mark.parametrize("end", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("name", ROWS)
def test_sample_of_rows(kinds, tmp_path, monkeypatch, name, end):
    kind, place = kinds[name], tmp_path / f"out.{end}"
    monkeypatch.setattr(writing, "PART", 40)
    main(["sample", kind.place, "-n", "100", "--csv", str(place)])
    found = tables.read_frame(place, text=["class"])
    names = [*kind.model.columns, *(["class"] if name in CLASSES else [])]
    assert list(found) == names and len(found) == 100
    first = kind.model.sample(40)
    if name == "kinds":
        assert list(found.alarms[:40]) == list(first.alarms)
        assert list(found.station[:40]) == list(first.station)
    else:
        np.testing.assert_allclose(found[kind.model.columns][:40], first, rtol=1e-5, atol=1e-6)
    drawn = found[kind.model.columns].iloc[:, -1]
    assert drawn.nunique() > 50 or name == "kinds", "parts have seeds of their own"
    scored = written(tmp_path, "score", kind.place, place, name="scores.csv")
    assert scored.error.isna().all()


@pytest.mark.parametrize("name", ["classes", "joint classes"])
def test_sample_of_one_class(kinds, tmp_path, name):
    kind = kinds[name]
    found = written(tmp_path, "sample", kind.place, "-n", 30, "--class", "deep")
    assert set(found["class"]) == {"deep"}
    x = rows_of(kind, found)
    np.testing.assert_allclose(x, kind.model.sample(30, np.array(["deep"] * 30)), rtol=1e-5)
    every_class = written(tmp_path, "sample", kind.place, "-n", 400)["class"]
    assert abs((every_class == "deep").mean() - 0.25) < 0.1


@pytest.mark.parametrize("name", PICTURES)
def test_sample_of_pictures(kinds, tmp_path, name):
    kind, of_class = kinds[name], ["--class", "deep"] if name in CLASSES else []
    main(["sample", kind.place, "-n", "5", "--png", str(tmp_path / "s.png"), *of_class])
    with Image.open(tmp_path / "s.png") as sheet:
        assert sheet.size == (3 * 8 + 2, 2 * 8 + 1)
    main(["sample", kind.place, "-n", "70", "--folder", str(tmp_path / "many"), *of_class])
    names = sorted(os.listdir(tmp_path / "many"))
    ending = "_deep.png" if of_class else ".png"
    assert names == [f"{i:05d}{ending}" for i in range(1, 71)]
    first = kind.model.sample(70, "deep" if of_class else None)
    seen = np.stack([np.asarray(Image.open(tmp_path / "many" / each)) for each in names])
    assert np.array_equal(seen, first[..., 0])
    with pytest.raises(fm.UserError, match="too many for one sheet"):
        main(["sample", kind.place, "-n", "2000000", "--png", str(tmp_path / "large.png")])


@pytest.mark.parametrize("name", POSTERIORS)
def test_sample_of_posteriors(kinds, tmp_path, monkeypatch, name):
    """Samples of each observation, by the names of the data, in any number of parts."""
    kind = kinds[name]
    arguments = ["sample", kind.place, "--observed", kind.data, "-n", 50]
    found = written(tmp_path, *arguments)
    names = list(kind.model.simulator.parameter_names)
    assert list(found) == ["observation", *names]
    assert list(found.observation) == [i for i in (1, 2, 3) for _ in range(50)]
    y = pd.read_csv(kind.data)[list(kind.model.simulator.data_names)].to_numpy()
    posterior = kind.model.posterior(y, 50).reshape(150, -1)
    np.testing.assert_allclose(found[names], posterior, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(writing, "PART", 20)
    parts = written(tmp_path, *arguments, name="out.parquet")
    assert len(parts) == 150 and parts[names[0]].nunique() == 150
    with pytest.raises(fm.UserError, match="--observed, with the columns"):
        main(["sample", kind.place])


# interpolate


@pytest.mark.parametrize("name", ROWS)
def test_interpolate_rows(kinds, tmp_path, name):
    kind = kinds[name]
    arguments = ["interpolate", kind.place, kind.first, kind.last, "--steps", 5, "--kind", "both"]
    found = written(tmp_path, *arguments)
    assert list(found) == ["fraction", *kind.model.columns, "kind"] and len(found) == 10
    assert list(found.fraction[:5]) == [0, 0.25, 0.5, 0.75, 1]
    ends = pd.read_csv(kind.data)[kind.model.columns].iloc[[0, 2]]
    for column in kind.model.columns:
        got, given = found[column].iloc[[0, 4]], ends[column]
        if name == "kinds" and column != "depth, m":
            assert [str(each)[:10] for each in got] == [str(each)[:10] for each in given]
        else:
            np.testing.assert_allclose(got, given, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["classes", "joint classes"])
def test_interpolate_within_a_class(kinds, tmp_path, name):
    kind = kinds[name]
    ends = [kind.first, kind.last, "--class", "shallow", "--steps", 3, "--kind", "linear"]
    found = rows_of(kind, written(tmp_path, "interpolate", kind.place, *ends))
    x = rows_of(kind, pd.read_csv(kind.data))[[0, 2]]
    z = kind.model.encode(x, np.array(["shallow"] * 2))
    middle = kind.model.decode(z.mean(0), "shallow")
    np.testing.assert_allclose(found[1], middle, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", PICTURES)
def test_interpolate_pictures(kinds, tmp_path, name):
    kind, place = kinds[name], str(tmp_path / "way.png")
    main(["interpolate", kind.place, kind.first, kind.last, "--png", place, "--steps", "4"])
    strip = np.asarray(Image.open(place)).astype(int)
    assert strip.shape == (8, 4 * 8 + 3)
    (_, ends), *_ = kind.model.codec.read(os.path.dirname(kind.first))
    for picture, part in zip(ends[..., 0], (strip[:, :8], strip[:, 27:])):
        assert np.abs(part - picture).max() <= 255 / 7


@pytest.mark.parametrize("name", POSTERIORS)
def test_interpolate_says_what_posteriors_have_instead(kinds, name):
    kind = kinds[name]
    with pytest.raises(fm.UserError, match="draw from it with sample MODEL --observed FILE"):
        main(["interpolate", kind.place, kind.first, kind.last])


# classify


@pytest.mark.parametrize("name", CLASSES)
def test_classify(kinds, tmp_path, name):
    kind = kinds[name]
    found = written(tmp_path, "classify", kind.place, kind.data)
    if name in PICTURES:
        x = next(iter(kind.model.codec.read(kind.data)))[1]
    else:
        x = rows_of(kind, pd.read_csv(kind.data))
    np.testing.assert_allclose(found[["deep", "shallow"]], kind.model.classify(x), atol=1e-5)
    assert list(found.predicted) == [
        ("deep", "shallow")[k] for k in kind.model.classify(x).argmax(1)
    ]


@pytest.mark.parametrize("name", ["table", "bounded", "kinds", "missing", "pictures", *POSTERIORS])
def test_classify_needs_classes(kinds, tmp_path, name):
    with pytest.raises(fm.UserError, match="has no classes"):
        written(tmp_path, "classify", kinds[name].place, kinds[name].data)


# mistakes


def test_mistakes_are_one_line(kinds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table, missing, of_class = kinds["table"], kinds["missing"], kinds["classes"]
    posterior, photos = kinds["posterior"], kinds["pictures"]
    (tmp_path / "bad.csv").write_text("depth,position\n1,2\n3,tall\n")
    (tmp_path / "data.csv").write_text("y1,y2\n1,2\n,3\n")
    wrong = {
        "another format": (["sample", table.place, "--csv", "x.npy"], "as .csv, .tsv or .parquet"),
        "no Parquet": (["sample", table.place, "--parquet", "x.csv"], "ends in .parquet"),
        "no class": (["sample", of_class.place, "--class", "dep"], "no class 'dep'; there are"),
        "no classes": (["sample", table.place, "--class", "deep"], "no class 'deep'; it has none"),
        "no data": (["sample", table.place, "--observed", "x.csv"], "leave out --observed"),
        "a gap in data": (
            ["sample", posterior.place, "--observed", "data.csv"],
            "row 2: column 'y1' is missing",
        ),
        "half of the data": (
            ["sample", posterior.place, "--observed", posterior.data.replace("rows", "none")],
            "no such file",
        ),
        "no row": (
            ["interpolate", table.place, f"{table.data}:99", table.last],
            "no row 99; the table has 40 rows",
        ),
        "which row": (["interpolate", table.place, table.data, table.last], "rows.csv:1"),
        "a word": (
            ["interpolate", table.place, "bad.csv:2", table.last],
            "row 2: column 'position'",
        ),
        "a gap": (
            ["interpolate", missing.place, f"{missing.data}:4", missing.last],
            "row 4: column 'depth' is missing: impute it first",
        ),
        "a strip of rows": (
            ["interpolate", table.place, table.first, table.last, "--png", "x.png"],
            "give --csv",
        ),
        "rows of pictures": (
            ["interpolate", photos.place, photos.first, photos.last, "--csv", "x.csv"],
            "give --png",
        ),
        "kept of pictures": (
            ["score", photos.place, photos.data, "--keep", "id"],
            "--keep names columns of a table",
        ),
    }
    for case, (arguments, message) in wrong.items():
        with pytest.raises(fm.UserError) as told:
            main(arguments)
        assert message in str(told.value) and "\n" not in str(told.value), (case, str(told.value))
    assert not (tmp_path / "samples.csv").exists()


def test_seeds_of_parts_differ():
    assert len({sample._later(3, number) for number in range(1000)}) == 1000
    assert sample._later(3, 0) == 3


# rows and pictures that no model takes


def test_rows_that_have_no_density_say_why(kinds, tmp_path):
    table = tmp_path / "rows.csv"
    table.write_text(
        "position,depth,name,nll\n0,-9,a,7\n1,-10,b,8\n,1,c,9\ntall,1,d,10\n1,1,e,11\n"
    )
    keep = ["--keep", "name", "nll"]
    with pytest.warns(
        FlowModelsWarning, match="4 of 5 rows have no finite score; the first: row 1"
    ):
        found = written(tmp_path, "score", kinds["bounded"].place, table, *keep)
    assert list(found) == ["name", "name_", "nll_", "nll", "error"]
    assert "".join(found.name_) == "abcde" and list(found.nll_) == [7, 8, 9, 10, 11]
    assert list(found.error.fillna("")) == [
        "column 'depth' is on its lower bound",
        "column 'depth' is below its lower bound",
        "column 'position' is missing",
        "column 'position' holds 'tall', no finite number",
        "",
    ]
    assert np.isinf(found.nll[:2]).all() and found.nll[2:4].isna().all() and found.nll[4] < np.inf


@pytest.mark.parametrize("name", ["classes", "joint classes"])
def test_rows_without_a_class_say_why(kinds, tmp_path, name):
    table = tmp_path / "rows.csv"
    table.write_text("position,depth\n0,1\n,1\n1e30,-1e30\n")
    with pytest.warns(FlowModelsWarning, match="2 of 3 rows: see the column `error`; row 2"):
        found = written(tmp_path, "classify", kinds[name].place, table)
    assert found[["deep", "shallow"]].isna().all(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(found.loc[2, ["deep", "shallow"]].astype(float), [0.25, 0.75])
    assert found.error[1] == "column 'position' is missing" and pd.isna(found.predicted[1])
    assert "too far from the training data" in found.error[2] and pd.isna(found.error[0])


@pytest.mark.parametrize("name", ["classes", "joint classes"])
def test_models_with_classes_name_rows_that_lack_a_number(kinds, name):
    model, x = kinds[name].model, np.array([[0.0, 1.0], [np.nan, 1.0], [1e30, -1e30]])
    for method in (model.log_prob, model.classify, model.encode, model.anomaly_score):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = np.asarray(method(x)).reshape(3, -1)
        assert np.isfinite(found[0]).all() and np.isnan(found[1]).any(), method.__name__
        assert not [each for each in told if issubclass(each.category, RuntimeWarning)]
        lines = [str(each.message) for each in told]
        assert "log p of rows 1 is NaN: no value of 'depth'" in lines, method.__name__


@pytest.mark.parametrize("command", ["score", "classify"])
def test_pictures_that_cannot_be_read_have_a_row(kinds, tmp_path, command):
    photos = tmp_path / "photos"
    shutil.copytree(kinds["pictures"].data, photos)
    (photos / "a.png").write_text("text")
    (photos / "z.png").write_bytes(b"")
    with pytest.warns(FlowModelsWarning, match="2 of 4 pictures could not be read"):
        found = written(tmp_path, command, kinds["class pictures"].place, photos)
    found = found.assign(name=found.name.map(os.path.basename)).set_index("name")
    assert set(found.index) == {"a.png", "night.png", "snow.png", "z.png"}
    assert "not a readable picture" in found.error["a.png"]
    assert "an empty file" in found.error["z.png"]
    numbers = found.select_dtypes("number")
    assert numbers.loc[["a.png", "z.png"]].isna().all(axis=None)
    assert numbers.loc[["night.png", "snow.png"]].notna().all(axis=None)
    with pytest.raises(fm.UserError, match="more than --max-bad 1"):
        written(tmp_path, command, kinds["class pictures"].place, photos, "--max-bad", 1)


def test_kept_columns_by_commas_or_as_they_are_named(kinds, tmp_path):
    table = pd.read_csv(kinds["classes"].data).assign(**{"a,b": 1.5, "site": "x"})
    table.to_csv(tmp_path / "rows.csv", index=False)
    for keep in (["id,site", "a,b"], ["id", "site", "a,b"]):
        for command in ("score", "classify"):
            place = kinds["classes"].place
            found = written(tmp_path, command, place, tmp_path / "rows.csv", "--keep", *keep)
            assert list(found)[1:4] == ["id", "site", "a,b"] and found["a,b"][0] == 1.5
            assert list(found.id) == list(table.id)
