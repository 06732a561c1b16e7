"""Figures of posteriors show the truth, touch nothing global and refuse what they cannot draw."""

import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from test_plots import pixels, titles

from flow_models import plots
from flow_models.core.errors import UserError
from flow_models.diagnostics import calibration, posterior
from flow_models.plots.style import Shown

RNG = np.random.default_rng(0)
DRAWS = RNG.standard_normal((300, 100, 3))  # the truth is one more of them
TRUTHS, SAMPLES, NAMES = DRAWS[:, 0], DRAWS[:, 1:], ["depth, km", "cost, $", "angle"]
RANKS = calibration.sbc_ranks(TRUTHS, SAMPLES)
LEVELS = np.linspace(0.02, 0.98, 25)
TIME = np.arange(20) * 0.02


def all_figures() -> dict[str, Figure]:
    edges = np.linspace(0, 3, 4)
    log_q = -0.5 * np.square(DRAWS).sum(-1)
    curve = plots.coverage_curve(
        calibration.coverage(TRUTHS, SAMPLES, LEVELS),
        calibration.tarp(TRUTHS, SAMPLES),
        calibration.hdr_coverage(log_q[:, 0], log_q[:, 1:], LEVELS),
        NAMES,
    )
    return {
        "rank_histograms": plots.rank_histograms(RANKS, 99, NAMES),
        "rank_differences": plots.rank_differences(RANKS, 99),
        "coverage_curve": curve,
        "contraction": plots.contraction(*posterior.contraction_and_z(TRUTHS, SAMPLES, 2.0), NAMES),
        "corner": plots.corner(SAMPLES[0], TRUTHS[0], SAMPLES[1], NAMES),
        "profile_bands": plots.profile_bands(
            edges, SAMPLES[0], TRUTHS[0], SAMPLES[1], "distance, km", "depth, km"
        ),
        "predicted_data": plots.predicted_data(
            TIME, np.sin(TIME), RNG.normal(np.sin(TIME), 0.1, (50, 20)), 0.1
        ),
    }


def test_every_figure_draws_and_touches_nothing_global():
    before = dict(matplotlib.rcParams)
    for name, figure in all_figures().items():
        assert type(figure) is Shown, name
        assert pixels(figure).std() > 5, f"{name} is blank"
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def marked(figure: Figure) -> int:
    """Number of points outside a band, over all panels."""
    return sum(
        len(line.get_xdata())
        for axes in figure.axes
        for line in axes.lines
        if line.get_marker() in ("o", ".")
    )


def test_ranks_leave_the_band_where_the_posterior_is_wrong_and_only_there():
    narrow = calibration.sbc_ranks(TRUTHS * np.array([1.0, 1.0, 2.0]), SAMPLES)
    for draw in (plots.rank_histograms, plots.rank_differences):
        assert marked(draw(RANKS, 99)) == 0
        figure = draw(narrow, 99, NAMES)
        assert marked(figure) > 1
        colours = [
            axes.title.get_color() if axes.get_title() else axes._left_title.get_color()
            for axes in figure.axes
        ]
        assert colours[0] == colours[1] != colours[2]
        assert r"cost, \$" in titles(figure)


def test_many_parameters_show_the_worst_forty():
    ranks = RNG.integers(0, 100, (200, 50))
    ranks[:, 49] = np.minimum(ranks[:, 49], 50)
    figure = plots.rank_histograms(ranks, 99)
    assert len(figure.axes) == 40 and "$x_{50}$, p < 1e-12" in titles(figure)


def test_contraction_states_what_it_shows_and_coverage_draws_alone():
    figure = plots.contraction(np.full((50, 2), 0.9), np.tile([[-1.0, 5.0]], (50, 1)))
    assert "mean +2.00" in titles(figure) and "50.0% beyond 2" in titles(figure)
    assert len(plots.coverage_curve(calibration.coverage(TRUTHS, SAMPLES, LEVELS)).axes) == 1
    with pytest.raises(UserError, match="contraction and z-scores"):
        plots.contraction(np.zeros((5, 2)), np.zeros((5, 3)))


def test_corner_shows_eight_of_many_parameters_and_all_of_a_truth_outside():
    samples = RNG.standard_normal((500, 12))
    assert len(plots.corner(samples).axes) == 64
    figure = plots.corner(samples, truth=np.full(12, 9.0), columns=[0, 5, 7])
    assert len(figure.axes) == 9 and figure.axes[3].get_ylabel() == "$x_{6}$"
    assert figure.axes[0].get_xlim()[1] > 9.0
    with pytest.raises(UserError, match="reference samples"):
        plots.corner(samples, reference=samples[:, :3])


def test_a_constant_parameter_and_a_reference_of_another_length_are_drawn():
    samples = np.column_stack([RNG.standard_normal(400), np.full(400, 2.0)])
    assert (
        pixels(
            plots.corner(samples, reference=np.column_stack([RNG.standard_normal((900, 2))]))
        ).std()
        > 5
    )


def test_profiles_run_along_or_down_in_points_or_cells():
    samples = np.array([[1.0, 2.0], [2.0, 3.0], [3.0, 4.0]])
    cells = plots.profile_bands(
        np.array([0.0, 1.0, 5.0]), samples, None, None, "depth", "velocity", upright=True
    )
    axes = cells.axes[0]
    assert axes.get_ylabel() == "depth" and axes.get_ylim() == (5.0, 0.0)
    line = next(line for line in axes.lines if line.get_label() == "median")
    assert line.get_ydata().tolist() == [0.0, 1.0, 1.0, 5.0] and line.get_xdata().tolist() == [
        2.0,
        2.0,
        3.0,
        3.0,
    ]
    valley = plots.profile_bands(np.array([0.5, 1.5]), samples, falling=True).axes[0]
    assert valley.get_ylim()[1] == 0.0 < valley.get_ylim()[0]
    line = next(line for line in valley.lines if line.get_label() == "median")
    assert line.get_xdata().tolist() == [0.5, 1.5] and line.get_ydata().tolist() == [2.0, 3.0]
    with pytest.raises(UserError, match="edges"):
        plots.profile_bands(np.zeros(5), samples)


def test_traces_have_residuals_of_their_own():
    observed = np.sin(TIME) * np.ones((3, 1))
    predicted = np.tile(observed - 0.2 * np.arange(3)[:, None], (40, 1, 1))
    figure = plots.predicted_data(
        TIME, observed, predicted, 0.1, ["a", "b", "c"], "time, s", "amplitude", observed
    )
    assert len(figure.axes) == 6
    for text in ("a: rms residual 0.00 sd", "b: rms residual 2.00 sd", "c: rms residual 4.00 sd"):
        assert text in titles(figure)
    with pytest.raises(UserError, match=r"data \[T, N\]"):
        plots.predicted_data(TIME, observed, predicted[:, :2], 0.1)
