"""Tables as shards: every row once, copies together, and a training that streams what one in memory
sees."""

import itertools
import json
import sys

import numpy as np
import pandas as pd
import pytest
from in_process import status
from servers import s3  # noqa: F401
from test_shards import kill_twenty_times

import flow_models as fm
from flow_models.__main__ import main
from flow_models.applications import own_table
from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.tables import preparing
from flow_models.data.tables.prepared import TableShards

ROWS, FILES = 900, 4
SMALL = 0.02  # MB


def table(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Sorted by x, with a rare category in one row, copies, a code and missing cells."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.normal(50, 5, rows))
    frame = pd.DataFrame({"x": x, "y": 2 * x + rng.normal(0, 3, rows)})
    frame["n"] = rng.poisson(3, rows)
    frame["rock"] = rng.choice(["clay", "sand"], rows)
    frame.loc[rows // 3, "rock"] = "rare"
    frame["station"] = [f"{k:03d}" for k in rng.integers(5, size=rows)]
    frame.iloc[rows // 2 : rows // 2 + 20] = frame.iloc[:20].to_numpy()
    return frame


def write(frame: pd.DataFrame, root: str, files: int = FILES) -> None:
    for number, rows in enumerate(np.array_split(np.arange(len(frame)), files)):
        part = frame.iloc[rows]
        text = part.to_csv(index=False).encode()
        data = text if number % 2 == 0 else part.to_parquet(index=False)
        name = f"{number}.{'parquet' if number % 2 else 'csv'}"
        storage.write_bytes(storage.join(root, name), data)


def prepare(source: str, dest: str, n: int = 2, *more: str) -> str:
    for part in range(n):
        main(["prepare", source, dest, "--part", f"{part}/{n}", *more])
    return dest


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(preparing, "SHARD_BYTES", 6000)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    root = str(tmp_path_factory.mktemp("tables"))
    write(table(), root)
    return root


@pytest.fixture(scope="module")
def shards(source, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preparing, "SHARD_BYTES", 6000)
        return prepare(source, str(tmp_path_factory.mktemp("shards") / "out"))


def everything(dest: str) -> tuple[pd.DataFrame, np.ndarray]:
    return TableShards(dest).frame(1024)


def assert_all(frame: pd.DataFrame, expected: pd.DataFrame) -> None:
    order = list(expected.columns)
    one, other = (each.sort_values(order).reset_index(drop=True) for each in (frame, expected))
    pd.testing.assert_frame_equal(one, other, check_dtype=False, check_names=False)


@pytest.mark.parametrize("place", ["files", "rows", "S3"])
def test_every_row_is_there_once(source, tmp_path, s3, place, monkeypatch):
    if place == "files":
        monkeypatch.setattr(preparing, "FILES", 1)
    root, dest, n = source, str(tmp_path / "out"), {"files": 3, "rows": 5, "S3": 1}[place]
    if place == "S3":
        s3.client().create_bucket(Bucket="tables")
        root, dest = "s3://tables/in", "s3://tables/out"
        write(table(), root)
    frame, label = everything(prepare(root, dest, n))
    assert_all(frame, table())
    assert frame.index.is_unique and {name.partition(":")[0] for name in frame.index} == {
        f"{k}.{'parquet' if k % 2 else 'csv'}" for k in range(FILES)
    }
    counts = pd.Series(label).value_counts()
    assert abs(counts["train"] - 720) < 60 and min(counts) > 45
    copies = frame.assign(label=label).groupby(["x", "y"]).label.nunique()
    assert (copies == 1).all() and len(copies) == ROWS - 20
    x = frame[label == "train"].x.to_numpy()
    halves = [x[::2].mean(), x[1::2].mean(), x[: len(x) // 2].mean()]
    assert max(halves) - min(halves) < 2 or n == 3  # by file, parts are of its rows alone


def test_parts_by_rows_split_alike(source, tmp_path, shards):
    """The split follows from seed and content, not from parts."""
    frame, label = everything(shards)
    other, also = everything(prepare(source, str(tmp_path / "other"), 3))
    both = pd.Series(label, frame.index), pd.Series(also, other.index)
    assert (both[0] == both[1][frame.index]).all()
    seeded = everything(prepare(source, str(tmp_path / "seeded"), 1, "--seed", "1"))
    assert not (both[0] == pd.Series(seeded[1], seeded[0].index)[frame.index]).all()


def test_what_is_there_is_not_made_again(source, tmp_path, shards, monkeypatch, capsys):
    contents = lambda root: {
        storage.below(uri, root): storage.read_bytes(uri) for uri in storage.list_prefix(root)
    }
    dest, written = str(tmp_path / "out"), []
    real = preparing.Part.add

    def stopping(part, split, number, *rest):
        written.append((part.share.number, split, number))
        if len(written) == 3:
            raise KeyboardInterrupt
        real(part, split, number, *rest)

    monkeypatch.setattr(preparing.Part, "add", stopping)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, dest)
    prepare(source, dest)
    same = contents(shards)
    assert contents(dest) == same and len(same) > 12
    assert len(written) == len(set(written)) + 1  # the one that was not finished
    prepare(source, dest)
    assert capsys.readouterr().out.count("is there already") == 2


def test_a_table_in_shards_is_the_table(source, shards):
    """Kinds, and the categories that one row alone has."""
    found = own_table.read(shards)
    kinds = found.columns.described()
    assert found.stream is None and kinds["n"] == "count"
    assert kinds["station"].startswith("categorical, 5 values (000")
    assert found.columns.kinds[3].categories == ("clay", "rare", "sand")
    assert sum(map(len, found.parts)) == ROWS


def streamed(shards: str, memory: float = SMALL, **more):
    return own_table.read(shards, memory_limit_mb=memory, **more)


def test_a_stream_has_each_training_row_once_a_pass(shards):
    found = streamed(shards)
    frame, label = everything(shards)
    expected = frame[label == "train"]
    per_pass = found.rows // 16
    assert found.rows == len(expected) and sum(map(len, found.parts)) < ROWS / 2
    assert found.columns.kinds[3].categories == ("clay", "rare", "sand")
    known = {tuple(row) for row in found.columns.prepare(expected)}
    batches = found.stream(16, 0)
    seen = [row for batch in batches.take(per_pass) for row in map(tuple, batch["x"].numpy())]
    assert len(seen) == 16 * per_pass and set(seen) <= known
    copies = len(expected) - len(known)
    assert len(set(seen)) >= len(seen) - copies
    again = streamed(shards).stream(16, 0).skip(7)
    for left, right in zip(batches.skip(7).take(5), again.take(5)):
        np.testing.assert_array_equal(left["x"], right["x"])


def test_weights_bounds_and_gaps_of_a_stream(tmp_path):
    frame = table(600)[["x", "y"]].assign(w=np.arange(600) % 3)
    write(frame, str(tmp_path / "in"))
    dest = prepare(str(tmp_path / "in"), str(tmp_path / "out"), 1)
    found = streamed(dest, 0.01, weights="w")
    weights = np.concatenate([b["weight"].numpy() for b in found.stream(8, 0).take(40)])
    assert set(np.unique(np.round(weights / weights.max(), 3))) == {0.0, 0.5, 1.0}
    assert abs(weights.mean() - 1) < 0.2
    frame.loc[200, "x"] = 1e4
    frame.loc[300, "y"] = np.nan
    write(frame, str(tmp_path / "in2"))
    gaps = prepare(str(tmp_path / "in2"), str(tmp_path / "gaps"), 1)
    full = prepare(str(tmp_path / "in2"), str(tmp_path / "full"), 1, "--missing", "drop")
    assert len(everything(full)[0]) == 599
    run = lambda found: list(itertools.islice(found.stream(8, 0), 80))
    for call, said in {
        lambda: run(streamed(gaps, 0.008)): "column 'y': 1 missing, the first in row 2.csv:1",
        lambda: streamed(
            gaps, 0.008, missing="drop"
        ): "is streamed: leave rows out when it is prepared",
        lambda: run(
            streamed(full, 0.008, upper={"x": 100})
        ): "x.*10000 is not below the upper bound 100",
    }.items():
        with pytest.raises(UserError, match=said):
            call()
    kept = np.concatenate([b["x"] for b in run(streamed(gaps, 0.008, missing="model"))])
    assert np.isnan(kept).sum() <= 2 and np.isfinite(kept[:, 0]).all()


def test_mistakes_are_told(tmp_path):
    frame = table(200)
    lost = str(tmp_path / "lost")
    late = frame.astype({"n": object})
    late.loc[150, "n"] = 2.5
    tables = {"a": frame, "b": late, "lost/a": frame, "lost/c": frame.drop(columns="y")}
    for name, each in tables.items():
        storage.write_bytes(f"{tmp_path}/{name}.csv", each.to_csv(index=False).encode())
    dest = iter(f"{tmp_path}/out{k}" for k in range(20))
    patch = pytest.MonkeyPatch.context
    more = str(tmp_path / "more")
    write(frame, more, 2)
    main(["prepare", more, f"{tmp_path}/more-out", "--part", "0/2"])
    storage.write_bytes(f"{more}/late.csv", frame.to_csv(index=False).encode())
    for call, said in {
        lambda: prepare(more, f"{tmp_path}/more-out"): "files came or went",
        lambda: prepare(more, f"{more}/rows"): "among the tables",
        lambda: prepare(f"{tmp_path}/a.csv", next(dest), 1, "--size", "8"): "--size is for pict",
        lambda: prepare(f"{tmp_path}/a.csv", next(dest), 1, "--columns", "z"): "no column",
        lambda: prepare(f"{tmp_path}/a.csv", next(dest), 1, "--text", "z"): "no column 'z'",
        lambda: prepare(lost, next(dest), 1): "no column 'y', which a.csv has",
        lambda: own_table.read(str(tmp_path)): "this is a folder: make shards of its tables",
    }.items():
        with pytest.raises(UserError, match=said):
            call()
    with patch() as heads:
        heads.setattr(preparing, "HEAD", 100)
        with pytest.raises(UserError, match="column 'n', row 151: '2.5' is no int64.*--real n"):
            prepare(f"{tmp_path}/b.csv", next(dest), 1)
        there = prepare(f"{tmp_path}/b.csv", next(dest), 1, "--real", "n")
    assert 2.5 in set(everything(there)[0].n)


def test_pictures_with_a_list_beside_them_are_no_tables(tmp_path):
    root = str(tmp_path)
    storage.write_bytes(f"{root}/README.txt", b"what this is")
    assert preparing.is_table(root) and preparing.is_table(f"{root}/any.csv")
    storage.write_bytes(f"{root}/cats/1.png", b"a picture")
    assert not preparing.is_table(root) and not preparing.is_table(f"{root}/none")


@pytest.mark.slow
def test_application_1_trains_from_a_stream(shards, tmp_path):
    import train_flowmodels1 as script

    flags = [
        "--data",
        shards,
        "--memory-limit-mb",
        str(SMALL),
        "--preset",
        "smoke",
        "--steps",
        "30",
    ]
    flags += ["--mlflow", "false", "--jit", "false", "--depth", "1", "--hidden", "[8]"]
    flags += ["--batch-size", "64", "--output-dir", str(tmp_path / "run")]
    argv, sys.argv = sys.argv, ["train_flowmodels1.py", *flags]
    try:
        assert status(lambda: fm.run(script.APPLICATION)) == 0
    finally:
        sys.argv = argv
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert np.isfinite(metrics["nll_test"]) and np.isfinite(metrics["nll_val"])
    strangest = pd.read_csv(tmp_path / "run" / "strangest.csv")
    assert strangest.row.str.contains(r"\d\.(?:csv|parquet):\d").all()
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path, s3):
    s3.client().create_bucket(Bucket="killed-rows")
    write(table(4000), str(tmp_path / "in"))
    command = ["prepare", str(tmp_path / "in")]
    kill_twenty_times(command, "s3://killed-rows/out")
    for dest in ("s3://killed-rows/out", str(tmp_path / "whole")):
        prepare(str(tmp_path / "in"), dest)
    same = lambda root: {
        storage.below(uri, root): storage.read_bytes(uri) for uri in storage.list_prefix(root)
    }
    assert same("s3://killed-rows/out") == same(str(tmp_path / "whole"))
