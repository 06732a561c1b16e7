"""The problems of the comparison of posteriors have the references that belong to them."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from inverse.problems import PROBLEMS
from inverse_problems import keep, kept, markdown, measured, parser


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
