"""The command `classify`, and `score` of models with classes, on a table and on pictures."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import flow_models as fm
from flow_models.__main__ import main

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def of_table(tmp_path_factory):
    """A model of two classes of rows, its place, and a table in another column order."""
    place = tmp_path_factory.mktemp("table")
    flow = fm.realnvp(2, depth=2, hidden=(8,), condition_size=2)
    codecs = {"x": ["depth", "position"], "y": fm.Labels(("deep", "shallow"), (0.5, 0.5))}
    model = fm.Model(flow, fm.Partition({"x": 2}, {"z": 2}, given={"y": 2}), codecs, jit=False)
    frame = pd.DataFrame({"position": RNG.normal(100, 2, 300), "depth": RNG.normal(6, 1, 300)})
    settings = fm.FitSettings(steps=60, batch_size=100, learning_rate=1e-2, jit=False)
    labels = np.where(frame.depth > 6, "deep", "shallow")
    fm.fit(model, {"x": frame, "y": labels}, settings=settings, progress=False)
    model.save(str(place / "model"))
    frame[:20].assign(site=[f"s{i}" for i in range(20)]).to_csv(place / "rows.csv", index=False)
    return model, place, frame[:20]


@pytest.fixture(scope="module")
def of_pictures(tmp_path_factory):
    """A model of two classes of pictures, its place, and a folder of larger pictures in colour."""
    place = tmp_path_factory.mktemp("pictures")
    pixels = fm.Pixels(8, 8, 1, bits=3, multiple=2)
    options = {"levels": 1, "depth": 1, "hidden": (4,), "condition_size": 2}
    flow = fm.glow_image(pixels.padded_shape, **options)
    codecs = {"x": pixels, "y": fm.Labels(("black", "white"), (0.5, 0.5))}
    model = fm.Model(flow, fm.Partition({"x": 64}, {"z": 64}, given={"y": 2}), codecs, jit=False)
    images = RNG.integers(0, 60, (64, 8, 8, 1)) + 190 * (np.arange(64) % 2)[:, None, None, None]
    data = {"x": images.astype(np.uint8), "y": np.arange(64) % 2}
    settings = fm.FitSettings(steps=60, batch_size=32, learning_rate=1e-2, jit=False)
    fm.fit(model, data, settings=settings, progress=False)
    model.save(str(place / "model"))
    for name, level in (("night", 20), ("snow", 230)):
        values = RNG.integers(level - 20, level + 20, (16, 16, 3)).astype(np.uint8)
        (place / "photos").mkdir(exist_ok=True)
        Image.fromarray(values).save(place / "photos" / f"{name}.png")
    return model, place


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_of_a_table_by_name_with_kept_columns(of_table, capsys):
    model, place, frame = of_table
    found = place / "classes.csv"
    main(["classify", str(place), str(place / "rows.csv"), "--csv", str(found), "--keep", "site"])
    rows, shares = rows_of(found), model.classify(frame)
    assert list(rows[0]) == ["name", "site", "predicted", "deep", "shallow", "error"]
    assert [row["site"] for row in rows] == [f"s{i}" for i in range(20)]
    np.testing.assert_allclose([float(row["deep"]) for row in rows], shares[:, 0], rtol=1e-4)
    names = np.array(model.classes)[shares.argmax(1)]
    assert [row["predicted"] for row in rows] == names.tolist()
    assert "20 rows in" in capsys.readouterr().out


def test_pictures_are_resized_and_named(of_pictures):
    _, place = of_pictures
    main(["classify", str(place), str(place / "photos"), "--csv", str(place / "out.csv")])
    rows = rows_of(place / "out.csv")
    predicted = {row["name"].rpartition("/")[2]: row["predicted"] for row in rows}
    assert predicted == {"night.png": "black", "snow.png": "white"}
    assert all(abs(float(row["black"]) + float(row["white"]) - 1) < 1e-4 for row in rows)


def test_models_with_classes_are_scored(of_table, of_pictures):
    _, place = of_pictures
    main(["score", str(place), str(place / "photos"), "--csv", str(place / "scores.csv")])
    assert all(np.isfinite(float(row["nll"])) for row in rows_of(place / "scores.csv"))
    model, place, frame = of_table
    main(["score", str(place), str(place / "rows.csv"), "--csv", str(place / "scores.csv")])
    scores = [float(row["nll"]) for row in rows_of(place / "scores.csv")]
    np.testing.assert_allclose(scores, -model.log_prob(frame), rtol=1e-4)


def test_mistakes_in_one_line(of_table, of_pictures, tmp_path):
    place, pictures = of_table[1], of_pictures[1]
    table, out = str(place / "rows.csv"), ["--csv", str(tmp_path / "out.csv")]
    with pytest.raises(fm.UserError, match="no column 'year' to keep"):
        main(["classify", str(place), table, "--keep", "year", *out])
    with pytest.raises(fm.UserError, match="--keep names columns of a table"):
        main(["classify", str(pictures), str(pictures / "photos"), "--keep", "a", *out])
    (tmp_path / "other.csv").write_text("depth,size\n1,2\n3,4\n")
    with pytest.raises(fm.UserError, match="no column 'position'"):
        main(["classify", str(place), str(tmp_path / "other.csv"), *out])
    fm.Model(fm.realnvp(2, depth=2, hidden=(8,)), jit=False).save(str(tmp_path / "model"))
    with pytest.raises(fm.UserError, match="has no classes"):
        main(["classify", str(tmp_path), table, *out])


def test_a_model_says_what_it_is_on_one_screen(of_table, of_pictures):
    text = repr(of_table[0])
    assert "Model, trained" in text and "weights, float32" in text
    assert "x [2] Columns: depth, position" in text and "y [2] Labels: deep, shallow" in text
    names = [f"column_number_{i}" for i in range(60)]
    flow = fm.realnvp(60, depth=2, hidden=(8,), lower=[0.0] * 60, upper=[None] * 60)
    wide = repr(fm.Model(flow, codecs={"x": names}, jit=False))
    assert "not trained" in wide and "column_number_0 in (0, inf)" in wide
    for each in (text, wide, repr(of_pictures[0])):
        assert len(each.splitlines()) <= 30 and max(map(len, each.splitlines())) <= 100
