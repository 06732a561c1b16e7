"""Pairs that `simulate` makes in parts: the same whatever the parts, and what `infer` makes of
them."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from faulty_store import faulty
from servers import environment, s3  # noqa: F401
from test_infer import TINY, infer
from test_s3_faults import hasty  # noqa: F401
from test_shards import kill_twenty_times

from flow_models.__main__ import main
from flow_models.applications.inverse import own, simulating
from flow_models.commands import infer as commands
from flow_models.core import storage
from flow_models.core.errors import TransientError, UserError
from flow_models.runs.config import parse
from flow_models.simulators.user_problem import UserProblem

CODE = """import numpy as np

prior = {"a": (0, 1), "b": (0, 1)}


def simulate(x, rng):
    if x[0] < 0.2:
        raise ValueError("too small")
    ratio = np.inf if x[1] > 0.9 else x[0] + x[1] ** 2
    return {"sum": x.sum() + rng.normal(0, 0.1), "ratio": ratio}
"""
PAIRS, PARTS = 700, 3


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    path = tmp_path_factory.mktemp("problem") / "pairs_problem.py"
    path.write_text(CODE)
    return f"{path}:simulate"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(simulating, "MOST", 40)


def simulate(problem: str, folder: str, parts=range(PARTS), n=PARTS, *more: str) -> None:
    for part in parts:
        main(["simulate", problem, folder, "--pairs", str(PAIRS), "--part", f"{part}/{n}", *more])


def rows(folder: str, split: str) -> pd.DataFrame:
    uris = [uri for uri in storage.list_prefix(f"{folder}/shards") if f"/{split}-" in uri]
    return pd.concat([pd.read_parquet(storage.open_read(uri)) for uri in uris], ignore_index=True)


@pytest.fixture(scope="module")
def pairs(problem, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("pairs") / "out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulating, "MOST", 40)
        simulate(problem, folder)
    return folder


def test_failures_are_counted_and_left_out(problem, pairs):
    valid, failed = rows(pairs, "train"), rows(pairs, "failed")
    x = UserProblem.read(problem).prior(PAIRS, (0, 0))
    bad = (x[:, 0] < 0.2) | (x[:, 1] > 0.9)
    np.testing.assert_array_equal(valid[["a", "b"]], x[~bad])
    np.testing.assert_array_equal(failed[["a", "b"]], x[bad])
    assert np.isfinite(valid.to_numpy()).all() and list(valid) == ["a", "b", "sum", "ratio"]
    assert set(failed.failed.str.partition(": ")[0]) == {
        "pairs_problem.py, line 8",
        "pairs_problem.py, line 6",
    }
    index = json.loads(storage.read_bytes(f"{pairs}/shards.json"))["rows"]
    assert sum(map(sum, index["train"])) == (~bad).sum()
    assert sum(map(sum, index["failed"])) == bad.sum()


def test_neither_parts_nor_processes_nor_shards_change_a_pair(
    problem, pairs, tmp_path, monkeypatch
):
    monkeypatch.setattr(simulating, "MOST", 333)
    simulate(problem, str(tmp_path / "whole"), [0], 1, "--jobs", "2")
    for split in ("train", "failed"):
        pd.testing.assert_frame_equal(rows(str(tmp_path / "whole"), split), rows(pairs, split))


def test_what_is_there_is_not_simulated_again(problem, tmp_path, monkeypatch, capsys):
    folder, done = str(tmp_path / "out"), []
    real = simulating.ahead.results

    def counted(user, x, wanted, *rest):
        for each in real(user, x, wanted, *rest):
            done.append(each[0])
            if len(done) == 130:
                raise KeyboardInterrupt
            yield each

    monkeypatch.setattr(simulating.ahead, "results", counted)
    with pytest.raises(KeyboardInterrupt):
        simulate(problem, folder, [0])
    simulate(problem, folder)
    assert capsys.readouterr().out.count("all parts are done") == 1
    assert len(done) <= PAIRS + 40 + PARTS * 20
    count = len(done)
    simulate(problem, folder)
    assert len(done) == count and capsys.readouterr().out.count("there already") == PARTS


def test_pairs_and_their_code_in_the_store_with_faults(problem, pairs, s3, hasty):
    s3.client().create_bucket(Bucket="simulated")
    content = storage.read_bytes(problem.rpartition(":")[0])
    storage.write_bytes("s3://simulated/pairs_problem.py", content)
    kinds, asked = ["SlowDown", "drop", "RequestTimeout", "InternalError"] * 2, []

    def plan(method, path):
        asked.append(path)
        return kinds.pop() if kinds and len(asked) % 5 == 0 else None

    with faulty(s3.endpoint, plan) as relay, environment(AWS_ENDPOINT_URL=relay.address):
        simulate("s3://simulated/pairs_problem.py:simulate", "s3://simulated/out")
    assert not kinds
    pd.testing.assert_frame_equal(rows("s3://simulated/out", "train"), rows(pairs, "train"))
    down = faulty(s3.endpoint, lambda *_: "InternalError")
    with down as relay, environment(AWS_ENDPOINT_URL=relay.address, AWS_MAX_ATTEMPTS="2"):
        with pytest.raises(TransientError):
            simulate(problem, "s3://simulated/other", [0])


def test_a_run_has_all_pairs_and_the_failures(problem, pairs):
    flags = ["--problem", problem, "--pairs-from", pairs, "--test-pairs", "60"]
    found = own.load(parse(commands.Config, commands.PRESETS, "", flags))
    valid, failed = rows(pairs, "train"), rows(pairs, "failed")
    y = np.concatenate([found.train.y[found.train.valid], found.test.y])
    np.testing.assert_array_equal(y, valid[["sum", "ratio"]])
    assert (
        len(found.test.x) == 60 and found.test.valid.all() and found.data_names == ("sum", "ratio")
    )
    assert list(found.train.why[~found.train.valid]) == list(failed.failed)
    low, high = found.validity.probability(np.array([[0.05, 0.5], [0.6, 0.5]]))
    assert low < 0.3 < 0.7 < high


@pytest.mark.slow
def test_a_posterior_from_the_pairs(problem, pairs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["flow-models"])
    (tmp_path / "data.csv").write_text("sum,ratio\n1.0,0.7\n")
    flags = ["--pairs-from", pairs, "--observed", tmp_path / "data.csv", *TINY.split()]
    assert infer(problem, *flags, "--output-dir", tmp_path / "run") == 0
    assert "failed simulations are in" in capsys.readouterr().err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    bad = len(rows(pairs, "failed"))
    assert metrics["failed_fraction"] == pytest.approx(bad / (PAIRS - 60), rel=1e-6)
    assert 0 < metrics["observed_valid_fraction"] < 1


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path, s3):
    s3.client().create_bucket(Bucket="killed")
    slow = tmp_path / "slow_problem.py"
    slow.write_text("import time\n" + CODE.replace("    if x", "    time.sleep(2e-3)\n    if x", 1))
    kill_twenty_times(["simulate", f"{slow}:simulate", "--pairs", str(PAIRS)], "s3://killed/out")
    for root in ("s3://killed/out", str(tmp_path / "whole")):
        simulate(f"{slow}:simulate", root, [0, 1], 2)
    for split in ("train", "failed"):
        pd.testing.assert_frame_equal(
            rows("s3://killed/out", split), rows(str(tmp_path / "whole"), split)
        )


def test_mistakes_are_told(problem, pairs, tmp_path, monkeypatch, capsys):
    other = tmp_path / "other.py"
    other.write_text(
        "prior = {'a': (0, 1)}\n\n\ndef simulate(x, rng):\n    return [float('nan')]\n"
    )
    same = tmp_path / "same.py"
    same.write_text("prior = {'a': (0, 1)}\n\n\ndef simulate(x, rng):\n    return {'a': 1.0}\n")
    renamed = tmp_path / "renamed.py"
    renamed.write_text(
        "prior = {'a': (0, 1)}\ndef simulate(x, rng):\n    return {'bc'[int(x[0] > 0.9)]: 1.0}\n"
    )
    unfinished = str(tmp_path / "unfinished")
    simulate(problem, unfinished, [0])
    for call, said in {
        lambda: simulate(f"{renamed}:simulate", str(tmp_path / "w")): "1 data, c, where 1 are",
        lambda: simulating.load(UserProblem.read(problem), unfinished, 9): "simulate with --part 1",
        lambda: simulating.load(UserProblem.read(problem), str(tmp_path), 9): "no shards of pairs",
        lambda: simulate(f"{other}:simulate", str(tmp_path / "x")): "none of 233 simulations gives",
        lambda: simulate(f"{same}:simulate", str(tmp_path / "y")): "'a' is the name of a parameter",
        lambda: simulate(problem, pairs, [0], 4): "give the same N of --part",
        lambda: simulate(problem, pairs, [0], PARTS, "--seed", "1"): "begun with seed 0, and now",
        lambda: simulate(problem, str(tmp_path / "z"), [0], 900): "at least one pair a part",
        lambda: simulating.load(UserProblem.read(f"{same}:simulate"), pairs, 9): "of other code",
        lambda: simulating.load(UserProblem.read(problem), pairs, 400): "too few for 400",
        lambda: main(["prepare", str(tmp_path), pairs, "--part", f"0/{PARTS}"]): "begun with kind",
    }.items():
        with pytest.raises(UserError, match=said):
            call()
