"""The problems of the comparison of posteriors have the references that belong to them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from inverse.applications import ALL
from inverse.problems import PROBLEMS
from inverse_problems import fits, keep, kept, markdown, measured, parser


@pytest.mark.parametrize("name", ["two_moons", "gaussian_linear"])
def test_parameters_rank_uniformly_among_their_reference(name):
    """As they do where the reference is the posterior (Talts et al. 2018)."""
    problem = PROBLEMS[name]
    x, y = problem.pairs(200, 0)
    rng = np.random.default_rng(1)
    drawn = np.stack([problem.reference(row, 99, rng) for row in y], 1)
    ranks = (drawn < x).mean(0)
    assert ranks.mean() == pytest.approx(0.5, abs=0.07)
    assert ranks.std() == pytest.approx(12**-0.5, abs=0.05)
    assert problem.outside(drawn) == 0


def test_references_of_the_arm_reach_the_data_and_its_pairs_are_of_parts():
    arm = ALL["kinematics"]
    (x, y), (_, again), (_, others) = (arm.pairs(3, (7, part)) for part in (3000, 1000, 1))
    np.testing.assert_array_equal(y, again)
    assert x.shape == (3, 4) and not np.isclose(y, others).any()
    both = arm.references(y, 50, np.random.default_rng(0))
    assert both[0].shape == (3, 50, 4) and not np.array_equal(*both)
    reached = np.stack([np.asarray(arm.simulator().forward(each)) for each in both[0]])
    np.testing.assert_allclose(reached, np.repeat(y[:, None], 50, 1), atol=1e-4)


def test_a_method_is_left_out_where_the_problem_has_not_what_it_is_of():
    assert fits("ours:frame", ALL["gravity"]) and not fits("ours:frame", ALL["kinematics"])
    assert fits("ours:trials", ALL["slcp"]) and not fits("ours:trials", ALL["two_moons"])
    assert fits("sbi:nsf", ALL["gravity"])


def test_leakage_is_the_share_outside_the_prior():
    assert PROBLEMS["slcp"].outside(np.array([[0.0] * 5, [0, 0, 3.1, 0, 0]])) == 0.5


def test_a_failure_is_a_cell_of_the_table():
    found = {"c2st": 0.55, "nll": -3.5, "cpu_seconds": 11.2, "samples_per_second": 2e4}
    row = {"null": 0.5, "ours:default": {**found, "outside": 0.0}, "sbi:maf": {"failed": "no end"}}
    table = markdown({"two_moons 1000": row})
    cells = "| two_moons 1,000 | 0.500 | 0.550 (-3.50, 11 s; 20,000/s) | failed: no end | 0.725 |"
    assert cells in table


def test_cells_are_on_disk_at_once_and_not_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr("inverse_problems.RESULTS", tmp_path)
    keep("slcp 1000", "null", 0.5)
    keep("slcp 1000", "sbi:maf", {"failed": "no end"})
    assert kept() == {"slcp 1000": {"null": 0.5, "sbi:maf": {"failed": "no end"}}}
    flags = ["--problems", "slcp", "--pairs", "1000", "--methods", "sbi:maf"]
    assert measured(parser().parse_args(flags)) == kept()
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_trials_are_the_data_of_a_simulation():
    problem = PROBLEMS["slcp"]
    x, y = problem.pairs(50_000, 0)
    draws = y.reshape(-1, *problem.trials)
    np.testing.assert_allclose((draws - x[:, None, :2]).mean((0, 1)), 0, atol=0.1)
    assert np.corrcoef(*np.abs(draws - x[:, None, :2])[:, :2, 0].T)[0, 1] > 0.2
