"""Posteriors of whole numbers, categories and numbers together, beside the exact ones."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import flow_models as fm
from flow_models import __main__ as commands
from flow_models.applications.own_pairs import own_pairs

KINDS = {"layers": "integer", "colour": "categorical", "depth": "continuous"}


def _pairs(n, seed):
    """A whole number 1 .. 5 and a number whose sign in the data a category turns."""
    rng = np.random.default_rng(seed)
    layers, depth = rng.integers(1, 6, n), rng.normal(size=n)
    colour = np.where(rng.random(n) < 0.3, "red", "blue")
    y2 = np.where(colour == "red", depth, -depth) + 0.5 * rng.normal(size=n)
    y = np.stack([layers + 0.7 * rng.normal(size=n), y2], 1)
    return pd.DataFrame({"layers": layers, "colour": colour, "depth": depth}), y


@pytest.fixture(scope="module")
def mixed():
    x, y = _pairs(3000, 0)
    settings = fm.FitSettings(steps=250, batch_size=256, learning_rate=8e-3, jit=False)
    options = {"settings": settings, "hidden": (32,), "depth": 1, "bins": 4}
    sides = {"lower": {"layers": 0.5, "depth": -1000}, "upper": {"layers": 5}}
    return fm.fit_posterior(x, y, kinds=KINDS, **sides, **options)


def _shares(y1):
    weights = stats.norm.pdf(y1, np.arange(1, 6), 0.7)
    return weights / weights.sum()


def test_probabilities_of_whole_numbers_are_the_exact_ones(mixed):
    drawn = mixed.posterior([2.4, 1.0], 4000)
    assert list(drawn) == ["layers", "colour", "depth"] and drawn.layers.dtype.kind == "i"
    found = (drawn.layers.to_numpy()[:, None] == np.arange(1, 6)).mean(0)
    np.testing.assert_allclose(found, _shares(2.4), atol=0.06)
    assert (drawn.colour == "red").mean() == pytest.approx(0.3, abs=0.06)
    by_colour = drawn.groupby("colour").depth.mean()
    assert by_colour["red"] == pytest.approx(0.8, abs=0.15)
    assert by_colour["blue"] == pytest.approx(-0.8, abs=0.15)


def test_log_p_counts_probabilities_and_sums_to_one(mixed):
    grid = np.linspace(-5, 5, 51)
    rows = [(k, c, d) for k in range(7) for c in ("red", "blue") for d in grid]
    x = pd.DataFrame(rows, columns=["layers", "colour", "depth"])
    log_p = mixed.log_prob(x, [2.4, 1.0])
    p = np.exp(log_p).reshape(7, 2, -1).sum(-1) * (grid[1] - grid[0])
    assert p.sum() == pytest.approx(1, abs=0.02) and not p[[0, 6]].any()
    assert set(mixed.posterior([8.0, 1.0], 2000).layers) <= set(range(1, 6))
    np.testing.assert_allclose(p.sum(1)[1:6], _shares(2.4), atol=0.06)
    one = mixed.log_prob([2, "red", 0.5], [2.4, 1.0])
    exact = np.log(_shares(2.4)[1] * 0.3) + stats.norm.logpdf(0.5, 0.8, 0.2**0.5)
    assert one == pytest.approx(exact, abs=0.3)
    again = mixed.log_prob([2, "red", 0.5], [2.4, 1.0], seed=5)
    assert again == pytest.approx(one, abs=1e-5)  # whatever the noise of whole numbers


@pytest.mark.slow
def test_it_predicts_is_saved_and_is_sampled_for_a_table(mixed, tmp_path):
    predicted = mixed.predict([4, "red", 1.0], 500)
    assert predicted.mean(0) == pytest.approx([4, 1], abs=0.3)
    mixed.save(str(tmp_path))
    again = fm.load(str(tmp_path), jit=False)
    y = [[2.4, 1.0], [4.0, -1.0]]
    found = again.posterior(y, 3)
    assert found.shape == (2, 3, 3) and set(found[..., 1].ravel()) <= {"red", "blue"}
    np.testing.assert_array_equal(found, mixed.posterior(y, 3))
    pd.DataFrame(y, columns=["y1", "y2"]).to_csv(tmp_path / "y.csv", index=False)
    files = [str(tmp_path / name) for name in ("y.csv", "x.csv")]
    commands.main(["sample", str(tmp_path), "--observed", files[0], "-n", "3", "--csv", files[1]])
    written = pd.read_csv(files[1])
    assert list(written) == ["observation", "layers", "colour", "depth"]
    assert written.colour.tolist() == found[..., 1].ravel().tolist()


def test_kinds_are_found_told_and_refused():
    x, y = _pairs(300, 1)
    found = own_pairs(x, y, kinds={"layers": "integer"})
    assert [kind.name for kind in found.table.kinds] == ["integer", "categorical", "continuous"]
    assert own_pairs(x, y).table.kinds[1].name == "categorical"  # text is looked at
    assert own_pairs(x[["depth"]], y).table is None
    with pytest.raises(fm.UserError, match="kinds={'layers': 'integer'}"):
        own_pairs(x[["layers", "depth"]], y)
    with pytest.raises(fm.UserError, match="kinds go by name"):
        own_pairs(x[["layers"]].to_numpy(), y, kinds={"layers": "integer"})
    with pytest.raises(fm.UserError, match="'name' looks like an identifier"):
        own_pairs(x.assign(name=[f"n{i}" for i in range(300)]), y)
    with pytest.raises(fm.UserError, match="column 'depth'.* lower bound 0"):
        own_pairs(x, y, lower={"depth": 0})
    whole = {"kinds": {"layers": "integer"}}
    with pytest.raises(fm.UserError, match="column 'layers', row .*: 5 is not at most 4"):
        own_pairs(x, y, **whole, upper={"layers": 4.5})
    with pytest.raises(fm.UserError, match="column 'layers': no whole number is between"):
        own_pairs(x, y, **whole, lower={"layers": 0.2}, upper={"layers": 0.8})


def test_a_category_alone_is_a_classifier():
    x, y = _pairs(600, 2)
    settings = fm.FitSettings(steps=150, batch_size=64, learning_rate=8e-3, jit=False)
    options = {"settings": settings, "hidden": (16,), "kinds": {"layers": "categorical"}}
    model = fm.fit_posterior(x[["layers"]], y[:, 0], **options)
    p = np.exp(model.log_prob(np.arange(1, 6)[:, None], [3.0]))
    assert p.sum() == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(p, _shares(3.0), atol=0.15)
