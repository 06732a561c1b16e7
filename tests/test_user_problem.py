"""The user's own file of prior and simulator, and simulations ahead of the training."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from flow_models.core.errors import FlowModelsWarning, UserError
from flow_models.simulators.ahead import Ahead, told
from flow_models.simulators.user_problem import UserProblem, simulate

ROOT = Path(__file__).parents[1]
FILE = '''"""A line."""

from scipy import stats

prior = {"slope": (-1.0, 2.0), "start": stats.norm(3.0, 0.5)}
data_names = ["first", "second"]


def line(x, rng):
    slope, start = x
    return start + slope * rng.normal(size=2)


def breaks(x, rng):
    if x[0] < 0:
        raise RuntimeError(f"slope {x[0]:.3f}")
    return [x[1], float("nan") if x[0] > 1.5 else 1.0]


def named(x, rng):
    return {"a": x[0], "b": x[1], "c": 0.0}


def table(x, rng):
    return [[1.0, 2.0]]


def longer(x, rng):
    return [1.0] * (2 if x[0] < 1.8 else 3)
'''


@pytest.fixture
def problem(tmp_path):
    """A function that reads a file of the given text."""

    def read(function="line", text=FILE, name="mine.py"):
        (tmp_path / name).write_text(text)
        return UserProblem.read(f"{tmp_path / name}:{function}")

    return read


def test_independent_priors_are_drawn_within_their_bounds_and_boxes(problem):
    mine = problem()
    assert mine.names == ("slope", "start") and mine.data_names == ("first", "second")
    assert (mine.lower, mine.upper) == ((-1.0, None), (2.0, None))
    x = mine.prior(2500, (7,))
    np.testing.assert_array_equal(x[:1200], mine.prior(1200, (7,)))
    assert (
        x[:, 0].min() > -1 and x[:, 0].max() < 2 and x[:, 0].mean() == pytest.approx(0.5, abs=0.1)
    )
    assert x[:, 1].std() == pytest.approx(0.5, abs=0.05)
    box = np.array([[0.0, 3.0], [0.5, np.inf]])
    inside = mine.prior(2000, (7,), box)
    assert ((inside >= box[0]) & (inside <= box[1])).all()
    half_normal = 3 + 0.5 * np.sqrt(2 / np.pi)
    assert inside.mean(0) == pytest.approx([0.25, half_normal], abs=0.03)


def test_a_prior_may_be_a_function_with_bounds(problem):
    text = (
        "import numpy as np\nbounds = {'b': (0, None)}\n"
        "def prior(n, rng):\n    b = rng.exponential(size=n)\n    return {'a': -b, 'b': b}\n"
        "def f(x, rng):\n    return x\n"
    )
    mine = problem("f", text)
    assert mine.names == ("a", "b") and (mine.lower, mine.upper) == ((None, 0.0), (None, None))
    x = mine.prior(1500, (0,))
    np.testing.assert_array_equal(x[:, 0], -x[:, 1])
    np.testing.assert_array_equal(x[:300], mine.prior(300, (0,)))


WHOLE = """from scipy import stats

prior = {"layers": (1, 5), "rock": stats.randint(0, 2), "faults": stats.poisson(1), "depth": (0, 3)}
kinds = {"layers": "integer", "rock": "categorical"}


def f(x, rng):
    layers, rock, faults, depth = x
    noise = 0.5 * rng.normal(size=3)
    return [layers + noise[0], faults + noise[1], (1 if rock else -1) * depth + noise[2]]
"""


def test_parameters_may_be_whole_numbers_and_categories(problem):
    mine = problem("f", WHOLE)
    assert mine.kinds == {"layers": "integer", "rock": "categorical", "faults": "integer"}
    assert mine.lower == (1, 0, 0, 0) and mine.upper == (5, 1, None, 3)
    x = mine.prior(3000, (0,))
    assert set(x[:, 0]) == {1, 2, 3, 4, 5} and set(x[:, 1]) == {0, 1}
    box = np.array([[2, 0, 0.5, 0], [3, 0, 1.2, 1.5]])
    inside = mine.prior(1000, (0,), box)
    assert set(inside[:, 0]) == {2, 3} and set(inside[:, 1]) == {0} and set(inside[:, 2]) == {1}
    assert mine.mass(box) == pytest.approx(2 / 5 * 1 / 2 * np.exp(-1) * 1 / 2)


@pytest.mark.parametrize(
    "text, function, message",
    [
        (WHOLE.replace("(1, 5)", "(0.5, 5)"), "f", "its ends must be whole numbers"),
        (WHOLE.replace('"rock": "cat', '"rocks": "cat'), "f", "a kind of 'rocks'"),
        (WHOLE.replace("kinds = {", "kinds = {1, "), "f", "SyntaxError"),
        (WHOLE.replace('{"layers": "integer", "rock": "categorical"}', "3"), "f", "kinds must be"),
        ("prior = {\n", "f", "mine.py, line 1: SyntaxError"),
        ("import nothing_of_this_name\n", "f", "mine.py, line 1: ModuleNotFoundError"),
        ("def f(x, rng):\n    return x\n", "f", "has no prior"),
        (FILE, "lime", "has no function lime"),
        ("prior = {'a': (1, 0)}\ndef f(x, rng):\n    return x\n", "f", "prior of a is"),
        ("prior = {'a': 3}\ndef f(x, rng):\n    return x\n", "f", "prior of a is"),
        (
            "def prior(n, rng):\n    return 1 / 0\ndef f(x, rng):\n    return x\n",
            "f",
            "line 2: Zero",
        ),
        (
            "bounds = {'b': (0, 1)}\ndef prior(n, rng):\n    return {'a': rng.normal(size=n)}\n"
            "def f(x, rng):\n    return x\n",
            "f",
            "bounds of 'b'",
        ),
    ],
)
def test_mistakes_in_the_file_are_one_line_with_its_name(problem, text, function, message):
    with pytest.raises(UserError, match=message) as found:
        problem(function, text, "mine.py")
    assert "\n" not in str(found.value)


def test_failed_simulations_are_counted_by_kind_and_left_as_gaps(problem, tmp_path):
    mine = problem("breaks")
    x = mine.prior(600, (0,))
    pairs = Ahead(mine, str(tmp_path / "kept"), (0,)).pairs(x)
    expected = (x[:, 0] >= 0) & (x[:, 0] <= 1.5)
    np.testing.assert_array_equal(pairs.valid, expected)
    assert np.isnan(pairs.y[~expected]).all() and np.isfinite(pairs.y[expected]).all()
    kinds, counts = pairs.failures(), (int(expected.sum()), int(np.sum(~expected)))
    assert [n for _, n in kinds] == [np.sum(x[:, 0] < 0), np.sum(x[:, 0] > 1.5)]
    assert "mine.py, line 16: RuntimeError: slope -" in kinds[0][0]
    assert f"{np.sum(~expected):,} of 600 simulations failed" in told(pairs, counts)
    row, why, _ = simulate(mine.path, "table", x[0], (0, 0))
    assert not len(row) and "line 24: table gives [1, 2], one row [M] is expected" in why


def test_a_problem_that_never_gives_data_or_changes_its_width_is_refused(problem, tmp_path):
    never = problem("f", "prior = {'a': (0, 1)}\ndef f(x, rng):\n    return x[1]\n")
    with pytest.raises(UserError, match="none of 20 simulations gives data.*line 3: IndexError"):
        Ahead(never, str(tmp_path / "a"), (0,)).pairs(never.prior(300, (0,)))
    mine = problem("longer")
    with pytest.raises(UserError, match="gives 3 data where 2 are expected"):
        Ahead(mine, str(tmp_path / "b"), (0,)).pairs(mine.prior(300, (0,)))
    code = "prior = {'a': (0, 1)}\ndef f(x, rng):\n    return {'bc'[int(x[0] > 0.9)]: 1.0}\n"
    renamed = problem("f", code)
    with pytest.raises(UserError, match="1 data, c, where 1 are expected: b|1 data, b, .*: c"):
        Ahead(renamed, str(tmp_path / "c"), (0,)).pairs(renamed.prior(300, (0,)))


def test_processes_and_interruptions_change_nothing(problem, tmp_path, capsys):
    mine = problem()
    x = mine.prior(400, (1,))
    once = Ahead(mine, str(tmp_path / "once"), (5,)).pairs(x)
    in_parts = Ahead(mine, str(tmp_path / "parts"), (5,))
    in_parts.pairs(x[:150])
    damaged = max((tmp_path / "parts").glob("part-*.npz"))
    in_parts = Ahead(mine, str(tmp_path / "parts"), (5,))
    assert len(in_parts.done) == 150
    np.testing.assert_array_equal(in_parts.pairs(x).y, once.y)
    assert "150 of 400 simulations are in" in capsys.readouterr().err
    damaged.write_bytes(b"half a file")
    with pytest.warns(FlowModelsWarning, match="damaged"):
        again = Ahead(mine, str(tmp_path / "parts"), (5,), jobs=2)
    np.testing.assert_array_equal(again.pairs(x).y, once.y)
    named = problem("named", FILE.replace("data_names", "other"), "named.py")
    assert Ahead(named, str(tmp_path / "named"), (0,)).pairs(x).data_names == ("a", "b", "c")


def test_simulations_of_an_earlier_state_of_the_problem_are_told(problem, tmp_path):
    mine = problem()
    x = mine.prior(50, (1,))
    Ahead(mine, str(tmp_path / "kept"), (5,)).pairs(x)
    other = problem("line", FILE.replace("start + slope", "start - slope"), "other.py")
    assert other.key != mine.key
    with pytest.warns(FlowModelsWarning, match="gives other data now"):
        Ahead(other, str(tmp_path / "kept"), (5,)).pairs(x)


def test_a_killed_process_loses_nothing_that_was_written(tmp_path):
    (tmp_path / "slow.py").write_text(
        "import time\nprior = {'a': (0, 1)}\n"
        "def f(x, rng):\n    time.sleep(0.02)\n    return x + rng.normal()\n"
    )
    code = (
        "from flow_models.simulators import ahead\n"
        "from flow_models.simulators.user_problem import UserProblem\n"
        "ahead.SECONDS = 0.1\n"
        "mine = UserProblem.read('slow.py:f')\n"
        "ahead.Ahead(mine, 'kept', (0,)).pairs(mine.prior(1000, (0,)))\n"
    )
    place = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=place)
    until = time.monotonic() + 60
    while len(list(tmp_path.glob("kept/part-*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = Ahead(UserProblem.read(f"{tmp_path}/slow.py:f"), str(tmp_path / "kept"), (0,))
    assert 5 <= len(kept.done) < 1000
    x = kept.problem.prior(max(kept.done) + 1, (0,))
    kept.jobs, before = 1, dict(kept.done)
    assert len(kept.pairs(x).y) == len(x) and set(before) <= set(kept.done)
