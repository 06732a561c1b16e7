"""Commands on part i of n of a folder or prefix: nothing is lost, nothing done twice."""

import argparse
import itertools
import os
import signal

import numpy as np
import pandas as pd
import pytest
from faulty_store import faulty
from PIL import Image
from servers import environment, s3  # noqa: F401
from test_s3_faults import hasty  # noqa: F401
from test_shards import ended

import flow_models as fm
from flow_models.__main__ import main
from flow_models.commands import sample
from flow_models.core import storage
from flow_models.core.share import Share
from flow_models.models import detector

PARTS, FILES, KILLS = 3, 8, 20


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """A model of two columns, saved."""
    place = str(tmp_path_factory.mktemp("model"))
    fm.Model(fm.realnvp(2, depth=1, hidden=(4,)), jit=False).save(place)
    return place


@pytest.fixture(autouse=True)
def uncompiled(monkeypatch):
    load = detector.load
    monkeypatch.setattr(fm, "load", lambda place: load(place, jit=False))
    monkeypatch.setattr(detector, "load", lambda place, jit: load(place, jit=False))


def tables(folder: str) -> dict[str, np.ndarray]:
    """Tables of 1 to 8 rows below a folder or prefix, in folders of their own, by name."""
    rng, made = np.random.default_rng(0), {}
    for number in range(1, FILES + 1):
        name = f"{'ab'[number % 2]}/day{number}.csv"
        made[name] = rng.normal(size=(number, 2)).round(4)
        text = pd.DataFrame(made[name], columns=["x1", "x2"]).to_csv(index=False)
        storage.write_bytes(storage.join(folder, name), text.encode())
    storage.write_bytes(storage.join(folder, "readme.md"), b"no table")
    return made


def all_parts(*command: str, n: int = PARTS) -> None:
    for index in range(n):
        main([*command, "--part", f"{index}/{n}"])


def read(folder: str) -> pd.DataFrame:
    frames = [pd.read_parquet(storage.open_read(uri)) for uri in storage.list_prefix(folder)]
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("place", ["disk", "S3"])
def test_scores_of_tables(vectors, tmp_path, s3, place):
    s3.client().create_bucket(Bucket=f"parts-{place.lower()}")
    root = str(tmp_path) if place == "disk" else f"s3://parts-{place.lower()}"
    made = tables(f"{root}/tables")
    all_parts("score", vectors, f"{root}/tables", "--csv", f"{root}/scores")
    found = read(f"{root}/scores").set_index("name")
    names = [f"{name}:{row + 1}" for name, rows in made.items() for row in range(len(rows))]
    assert sorted(found.index) == sorted(names) and (found.error == "").all()
    right = fm.load(vectors).log_prob(np.concatenate(list(made.values())).astype(np.float32))
    np.testing.assert_allclose(found.nll[names], -right, rtol=1e-5)


def test_twenty_faults_of_the_store_change_no_score(vectors, tmp_path, s3, hasty):
    s3.client().create_bucket(Bucket="faulty")
    tables("s3://faulty/tables")
    tables(str(tmp_path / "tables"))
    kinds, requests = ["InternalError", "RequestTimeout", "drop", "cut"] * 5, itertools.count()
    plan = lambda method, path: kinds.pop() if kinds and next(requests) % 2 else None
    with faulty(s3.endpoint, plan) as relay, environment(AWS_ENDPOINT_URL=relay.address):
        all_parts("score", vectors, "s3://faulty/tables", "--csv", "s3://faulty/scores", n=5)
    assert not kinds and len(relay.planted) == 20
    all_parts("score", vectors, str(tmp_path / "tables"), "--csv", str(tmp_path / "scores"), n=5)
    pd.testing.assert_frame_equal(read("s3://faulty/scores"), read(str(tmp_path / "scores")))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_change_no_score(vectors, tmp_path, s3):
    s3.client().create_bucket(Bucket="killed")
    tables("s3://killed/tables")
    tables(str(tmp_path / "tables"))
    command = ["score", vectors, "s3://killed/tables", "--csv", "s3://killed/scores"]
    rng, kills = np.random.default_rng(0), 0
    while kills < KILLS:
        sent = signal.SIGTERM if kills % 3 else signal.SIGKILL
        kills += ended([*command, "--part", f"{kills % 2}/2"], rng.uniform(0.5, 12), sent)
        if len(storage.names("s3://killed/scores")) == 2:
            for name in storage.names("s3://killed/scores"):
                storage.delete(f"s3://killed/scores/{name}")
    all_parts(*command, n=2)
    all_parts("score", vectors, str(tmp_path / "tables"), "--csv", str(tmp_path / "scores"), n=2)
    pd.testing.assert_frame_equal(read("s3://killed/scores"), read(str(tmp_path / "scores")))


def test_a_part_that_is_there_is_left_and_a_lost_one_is_made_again(vectors, tmp_path, capsys):
    tables(str(tmp_path / "tables"))
    command = ["score", vectors, str(tmp_path / "tables"), "--csv", str(tmp_path / "scores")]
    all_parts(*command)
    files = sorted((tmp_path / "scores").iterdir())
    before = {path: path.read_bytes() for path in files}
    times = {path: path.stat().st_mtime_ns for path in files}
    files[0].unlink()
    all_parts(*command)
    assert capsys.readouterr().out.count("is there already") == len(files) - 1
    assert {path: path.read_bytes() for path in sorted((tmp_path / "scores").iterdir())} == before
    assert all(path.stat().st_mtime_ns == times[path] for path in files[1:])


def test_a_file_stays_in_its_part_when_others_come(tmp_path, monkeypatch):
    tables(str(tmp_path))
    of = lambda index: set(Share(index, PARTS).of_files(str(tmp_path), (".csv",)))
    before = [of(index) for index in range(PARTS)]
    assert sum(map(len, before)) == FILES and min(map(len, before)) > 0
    (tmp_path / "a" / "day0.csv").write_text("x1,x2\n1,2\n")
    assert all(old <= of(index) for index, old in enumerate(before))
    monkeypatch.chdir(tmp_path.parent)
    there = {os.path.abspath(uri) for uri in Share(1, PARTS).of_files(tmp_path.name, (".csv",))}
    assert before[1] <= there


def test_a_part_without_a_file_writes_none(vectors, tmp_path, capsys):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "x.csv").write_text("x1,x2\n1,2\n")
    all_parts("score", vectors, str(tmp_path / "one"), "--csv", str(tmp_path / "scores"))
    assert capsys.readouterr().out.count("has no file") == PARTS - 1
    assert len(list((tmp_path / "scores").iterdir())) == 1


def test_pictures(tmp_path):
    pixels = fm.Pixels(8, 8, 1, bits=3, multiple=2)
    flow = fm.glow_image(pixels.padded_shape, levels=1, depth=1, hidden=(4,))
    fm.Model(flow, codecs={"x": pixels}, jit=False).save(str(tmp_path / "model"))
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for number in range(FILES):
        image = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
        image.save(tmp_path / "photos" / f"{number}.png")
    command = ["score", str(tmp_path / "model"), str(tmp_path / "photos")]
    main([*command, "--csv", str(tmp_path / "whole.csv")])
    all_parts(*command, "--csv", str(tmp_path / "scores"))
    whole = pd.read_csv(tmp_path / "whole.csv").sort_values("name")
    found = read(str(tmp_path / "scores")).sort_values("name")
    assert list(found.name) == list(whole.name)
    assert found.nll.to_numpy() == pytest.approx(whole.nll.to_numpy(), rel=0.05)  # pixels' noise


def test_samples_are_of_equal_parts_and_differ(vectors, tmp_path):
    all_parts("sample", vectors, "-n", "8", "--csv", str(tmp_path / "drawn"))
    sizes = [len(pd.read_parquet(path)) for path in sorted((tmp_path / "drawn").iterdir())]
    assert sizes == [3, 3, 2]
    assert read(str(tmp_path / "drawn")).x1.nunique() == 8


def test_observations_of_a_folder_have_the_names_of_their_files(tmp_path):
    x = np.random.default_rng(0).normal(size=(400, 1))
    settings = fm.FitSettings(steps=2, batch_size=100, jit=False)
    model = fm.fit_posterior(x, np.repeat(x, 2, 1), settings=settings, hidden=(4,), depth=1)
    model.save(str(tmp_path / "model"))
    for name in ("one", "two"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{name}.csv").write_text("y1,y2\n0.5,0.5\n0.1,0.1\n")
    command = ["sample", str(tmp_path / "model"), "--observed", str(tmp_path / "data"), "-n", "5"]
    all_parts(*command, "--csv", str(tmp_path / "drawn"), n=2)
    found = read(str(tmp_path / "drawn"))
    names = {f"{file}.csv:{row}" for file in ("one", "two") for row in (1, 2)}
    assert set(found.observation) == names and len(found) == 20


@pytest.mark.parametrize("text", ["3/3", "1", "-1/3", "a/b", "1/0", "²/3"])
def test_parts_that_are_none(text):
    with pytest.raises(fm.UserError, match="give I/N"):
        Share.parsed(text)


def test_mistakes_are_told(vectors, tmp_path):
    (tmp_path / "x.csv").write_text("x1,x2\n1,2\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "x.md").write_text("")
    of = lambda data, *more: ["score", vectors, str(tmp_path / data), "--part", "0/2", *more]
    for command, said in {
        ("x.csv",): "x.csv is no folder",
        ("empty",): "no file here whose name ends in .csv",
        ("none",): "none is no folder",
    }.items():
        with pytest.raises(fm.UserError, match=said):
            main(of(*command, "--csv", str(tmp_path / "out")))
    with pytest.raises(fm.UserError, match="give the folder as --csv"):
        main(["sample", vectors, "--part", "0/2"])


def test_a_part_has_its_own_seed():
    given = [argparse.Namespace(n=10, seed=1, observed=None, share=Share(i, 4)) for i in range(4)]
    found = [sample._of_part(each) for each in given]
    assert [n for n, _ in found] == [3, 3, 2, 2] and len({seed for _, seed in found}) == 4
