"""Pairs that are streamed from shards: the same as those in memory, once a pass, and none of those
that are held out."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_infer import TINY, infer
from test_shards import assert_alike, trained

import flow_models as fm
from flow_models.applications import own_problem, own_shards
from flow_models.applications.inverse import simulating
from flow_models.applications.own_shards import PairShards
from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.core.share import Share
from flow_models.data.shards import files, folder
from flow_models.simulators.user_problem import UserProblem
from flow_models.training import batches, devices, prepared
from flow_models.training.trainer import Trainer

CODE = """import numpy as np

prior = {"a": (0, 1), "b": (0, 1)}


def simulate(x, rng):
    if x[0] < 0.2:
        raise ValueError("too small")
    return {"sum": x.sum() + rng.normal(0, 0.1), "ratio": x[0] + x[1] ** 2}
"""
SMALL = 1e-2  # MB: 327 pairs
SETTINGS = fm.FitSettings(steps=40, batch_size=32, eval_every_steps=10, jit=False)
NETWORK = {"depth": 1, "hidden": (8,), "bins": 4, "settings": SETTINGS, "lower": 0, "upper": 1}
QUIET = pytest.mark.filterwarnings("ignore::flow_models.core.errors.FlowModelsWarning")
pytestmark = QUIET


def simulated(code: str, place: Path, pairs: int = 900) -> str:
    path = place / "streamed_problem.py"
    path.write_text(code)
    problem, dest = UserProblem.read(f"{path}:simulate"), str(place / "pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(simulating, "MOST", 40)
        for part in range(2):
            simulating.simulate(problem, dest, pairs, Share(part, 2))
    return dest


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return simulated(CODE, tmp_path_factory.mktemp("streamed"))


def ready(pairs: str, memory: float, **more):
    x, y, names, data_names = own_shards.opened(pairs, memory)
    return own_problem.prepare(x, y, names, data_names, **{**NETWORK, **more})


@pytest.fixture(scope="module")
def streamed(pairs):
    return ready(pairs, SMALL)


def numbers(blocks, model) -> np.ndarray:
    """Parameters [n, P] of whitened blocks, rounded."""
    return np.round(model.codec.decode(np.asarray(blocks["x"])), 5)


def passes(found, start: int, count: int) -> list[dict]:
    return [tuple(batch.values()) for batch in found.train.skip(start).take(count)]


def test_each_training_pair_comes_once_a_pass_and_no_held_out_one(pairs, streamed):
    shards = PairShards(pairs)
    x, y = shards.pairs(0, len(shards))
    per_pass = streamed.rows // 32
    assert streamed.rows + len(streamed.held["x"]) == len(shards) and per_pass > 15
    of_pair = {tuple(row): tuple(data) for row, data in zip(np.round(x, 5), np.round(y, 4))}
    held = {tuple(row) for row in numbers(streamed.held, streamed.model)}
    assert held == {tuple(row) for row in np.round(x[streamed.rows :], 5)}
    for first in (0, per_pass):
        seen = []
        for batch in streamed.train.skip(first).take(per_pass):
            rows = map(tuple, numbers(batch, streamed.model))
            for row, data in zip(rows, np.round(batch["y"].numpy(), 4)):
                np.testing.assert_allclose(of_pair[row], data, atol=2e-4)
                seen.append(row)
        assert len(set(seen)) == len(seen) == 32 * per_pass and not held & set(seen)


def test_batches_go_on_anywhere_bit_by_bit(streamed, pairs):
    whole = passes(streamed, 0, 30)
    for start in (1, 17, 28):
        for left, right in zip(whole[start:], passes(ready(pairs, SMALL), start, 2)):
            for one, other in zip(left, right):
                np.testing.assert_array_equal(one, other)
    other = ready(pairs, SMALL, settings=fm.FitSettings(**{**vars(SETTINGS), "seed": 1}))
    assert not np.array_equal(passes(other, 0, 1)[0][0], whole[0][0])
    for worker in range(4):
        mine = next(iter(streamed.train.skip(17).share(worker, 4)))["x"]
        rows = slice(8 * worker, 8 * worker + 8)
        np.testing.assert_array_equal(mine[rows], whole[17][0][rows])


def test_a_model_is_the_same_as_of_pairs_in_memory(pairs, streamed):
    """Names, bounds, kept data, and what the frame makes of a batch."""
    inside = ready(pairs, 1024)
    assert isinstance(inside.train, dict)
    for found in (inside, streamed):
        assert found.model.simulator.names == ("a", "b")
        assert found.model.simulator.data_names == ("sum", "ratio")
        np.testing.assert_allclose(found.model.simulator.scale, 0.25, atol=0.05)
    batch = next(iter(streamed.train))
    arrays = {name: value.numpy() for name, value in batch.items()}
    one = batches.into_frame(streamed.model)(batch)
    other = batches.through_frame(streamed.model, arrays)
    assert set(one) == set(other)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, atol=1e-5)


def test_the_source_of_a_training_is_in_the_frame(streamed):
    given = streamed.train, streamed.held, streamed.settings, devices.get("single"), None
    found = prepared.PreparedData(streamed.model, *given)
    assert set(found.source.first_rows(32)) == {"x", "context", "log_det"}
    assert set(found.validation) == {"x", "context", "log_det"}


def test_a_run_knows_how_many_failed_and_weighs(pairs, monkeypatch):
    monkeypatch.setattr(own_shards, "SAMPLE", 200)
    problem = UserProblem.read(str(Path(pairs).parent / "streamed_problem.py") + ":simulate")
    found = simulating.load(problem, pairs, 60, SMALL)
    whole = simulating.load(problem, pairs, 60)
    assert whole.streamed is None and whole.valid == whole.train.valid.sum()
    assert (found.valid, found.failed) == (whole.valid, whole.failed) and found.failed > 100
    assert found.valid + found.failed + 60 == 900 and len(found.train.x) <= 202
    np.testing.assert_array_equal(found.test.x, whole.test.x)
    share = found.failed / (found.valid + found.failed)
    assert abs((~found.train.valid).mean() - share) < 0.01
    weights = lambda x: 1 + 3 * (x[:, 0] > 0.5)
    done = own_problem.prepare(
        found.streamed, None, ("a", "b"), ("sum", "ratio"), weights=weights, **NETWORK
    )
    x = numbers(batch := next(iter(done.train)), done.model)
    ratio = batch["weight"].numpy()[:, 0] / weights(x)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert abs(done.held["weight"].mean() - 1) < 0.2
    assert done.rows + len(done.held["x"]) == found.valid
    test = {tuple(row) for row in np.round(found.test.x, 5)}
    assert not test & {tuple(row) for row in numbers(done.held, done.model)}


def test_making_shards_loads_no_tensorflow():
    modules = ("applications.inverse.simulating", "data.images.preparing", "data.tables.preparing")
    code = "".join(f"import flow_models.{name}\n" for name in modules)
    code += "import sys; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def links(pairs: str, made: Path, number: int) -> str:
    """A folder of so many shards, links to a full one of another folder."""
    index = json.loads(Path(pairs, "shards.json").read_text())
    first = folder.place(pairs, Share(0, 2), "train", 0)
    for copy in range(number):
        to = Path(folder.place(str(made), Share(0, 1), "train", copy))
        to.parent.mkdir(parents=True, exist_ok=True)
        os.link(first, to)
    index["rows"] = {"train": [[index["rows"]["train"][0][0]] * number], "failed": [[]]}
    (made / "shards.json").write_text(json.dumps(index))
    return str(made)


def test_what_is_read_does_not_grow_with_the_shards(pairs, tmp_path, monkeypatch):
    """And what is in memory neither: a bounded number of shards."""
    monkeypatch.setattr(own_shards, "SAMPLE", 300)
    monkeypatch.setattr(own_shards, "refuse_copies", lambda *_: None)  # links are copies
    read, real, found = [], files.read, []
    monkeypatch.setattr(
        "flow_models.data.shards.reading.read", lambda *a: read.append(a) or real(*a)
    )
    for number in (300, 2400):
        read.clear()
        done = ready(links(pairs, tmp_path / str(number), number), SMALL)
        opening = len(read)
        passes(done, 500, 4)
        found.append((opening, len(done.held["x"])))
        assert len(read) - opening <= 3 * 16 + 8
    assert found[0] == found[1] and found[0][1] < 100


def test_mistakes_are_told(pairs, tmp_path):
    repeated = links(pairs, tmp_path / "repeated", 30)
    beyond = str(tmp_path / "beyond")
    shutil.copytree(pairs, beyond)
    shard = folder.place(beyond, Share(1, 2), "train", 0)
    table = files.read(shard, PairShards(beyond).valid.rows[1][0])
    files.write(shard, table.set_column(0, "a", [np.full(len(table), 1.5)]))
    support = np.array([[1.0, 1.0]]), np.array([1.2])
    for call, said in {
        lambda: ready(repeated, SMALL): "come again among those of training",
        lambda: passes(ready(beyond, SMALL), 0, 30): "not below the upper bound 1",
        lambda: passes(ready(pairs, SMALL, support=support), 0, 30): "outside the support",
        lambda: fm.fit_posterior([[1.0]], [[1.0]], pairs_from=pairs): "give x and y, or pairs_from",
        lambda: fm.fit_posterior(): "give x and y, or pairs_from",
    }.items():
        with pytest.raises(UserError, match=said):
            call()
    with pytest.warns(FlowModelsWarning, match=r"of 900 simulations of .* failed"):
        own_shards.opened(pairs, SMALL)


def test_a_stopped_training_goes_on_bit_by_bit(pairs, tmp_path):
    def train(place, resume=False, on_epoch=None):
        done = ready(pairs, SMALL)
        rest = {"folder": str(tmp_path / place), "resume": resume}
        trainer = Trainer(done.model, done.train, done.held, done.settings, **rest)
        return done.model, trainer.run(on_epoch, progress=False)

    def stop(row):
        if row["step"] == 20:
            raise KeyboardInterrupt

    model, whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("stopped", on_epoch=stop)
    again, found = train("stopped", resume=True)
    assert len(whole.history["step"]) == 4
    for name in set(whole.history) - {"seconds"}:
        assert whole.history[name] == found.history[name], name
    y = [[1.2, 0.9], [0.8, 0.5]]
    np.testing.assert_array_equal(model.posterior(y, 30), again.posterior(y, 30))
    drawn = model.posterior([1.2, 0.9], 200)
    assert ((drawn > 0) & (drawn < 1)).all() and len(model.codecs["y"].kept) > 400


@pytest.mark.slow
def test_infer_streams(pairs, tmp_path):
    problem = str(Path(pairs).parent / "streamed_problem.py") + ":simulate"
    (tmp_path / "data.csv").write_text("sum,ratio\n1.2,0.9\n")
    flags = [
        "--pairs-from",
        pairs,
        "--memory-limit-mb",
        "0.02",
        "--observed",
        tmp_path / "data.csv",
    ]
    flags += [*TINY.split(), "--output-dir", tmp_path / "run", "--failures", "numerical"]
    assert infer(problem, *flags) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0.1 < metrics["failed_fraction"] < 0.3 and metrics["observed_p_value"] > 0.01
    report = (tmp_path / "run" / "report.html").read_text()
    assert abs(metrics["nll_test"]) < 5 and "simulations failed and are left out" in report


TRAINS = """
import dataclasses, json, sys
from flow_models.runs.program import join_workers
folder, strategy, place = sys.argv[1:]
join_workers(strategy)
import flow_models as fm
from flow_models.applications import own_problem, own_shards
from flow_models.training.trainer import Trainer
settings = fm.FitSettings(steps=60, batch_size=32, eval_every_steps=15, jit=False)
settings = dataclasses.replace(settings, strategy=strategy, checkpoint_seconds=0)
x, y, *names = own_shards.opened(folder, 1e-2)
ready = own_problem.prepare(x, y, *names, settings=settings, depth=1, hidden=(8,), bins=4)
trainer = Trainer(ready.model, ready.train, ready.held, ready.settings, folder=place, resume=True)
print(json.dumps(trainer.run(progress=False).history))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_two_and_four_workers_agree(pairs, tmp_path):
    (alone,) = trained(pairs, str(tmp_path / "1"), 1, TRAINS)
    for number in (2, 4):
        for found in trained(pairs, str(tmp_path / str(number)), number, TRAINS):
            assert_alike(found, alone, 2e-5)
