"""Figures need only callables and arrays, show the truth, leave matplotlib alone and accept awkward
input."""

import io
import sys

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats

from flow_models import plots
from flow_models.core.errors import UserError
from flow_models.plots.style import Shown

RNG = np.random.default_rng(0)


def law(dimensions: int):
    return stats.multivariate_normal(np.arange(dimensions), np.diag(1.0 + np.arange(dimensions)))


def draw(dimensions: int, size: int = 600) -> np.ndarray:
    return law(dimensions).rvs(size, random_state=0).reshape(size, dimensions).astype(np.float32)


def pixels(figure: Figure) -> np.ndarray:
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=50)
    return np.asarray(Image.open(buffer).convert("RGB"))


def titles(figure: Figure) -> str:
    return " | ".join(
        axes.get_title(loc=side) for axes in figure.axes for side in ("left", "center")
    )


def history(rows: int = 40) -> dict[str, np.ndarray]:
    step = 50.0 * np.arange(1, rows + 1)
    latent, log_det = 2.84 + 40.0 * np.exp(-step / 60.0), -1.4 - 9.0 * np.exp(-step / 80.0)
    table = {
        "epoch": np.arange(rows),
        "step": step,
        "seconds": step / 100.0,
        "learning_rate": 1e-3 / step,
    }
    for kind, above in (("train", 0.0), ("val", 0.01)):
        parts = {
            "objective": latent - log_det + above,
            "latent": latent + above,
            "log_det": log_det,
        }
        table |= {f"{kind}_{part}": values for part, values in parts.items()}
    return table


def all_figures() -> dict[str, Figure]:
    x = draw(2)
    return {
        "density": plots.density(x, x, law(2).logpdf),
        "latents": plots.latents(RNG.standard_normal((500, 2))),
        "training_curves": plots.training_curves(history()),
        "mapping": plots.mapping(lambda z: z @ np.array([[2.0, 1.0], [0.0, 1.0]]), 2),
        "anomalies": plots.anomalies(x, -law(2).logpdf(x)),
        "trials": plots.trials(
            [({"depth": "3", "seed": "0"}, 0.5), ({"depth": "10", "seed": "0"}, np.nan)], "nll_val"
        ),
    }


def test_every_figure_draws_and_touches_nothing_global():
    before = dict(matplotlib.rcParams)
    for name, figure in all_figures().items():
        assert type(figure) is Shown, name
        assert pixels(figure).std() > 5, f"{name} is blank"
        assert figure.get_layout_engine() is not None, name
        for axes in figure.axes:
            if axes.get_label() != "<colorbar>" and axes.get_subplotspec() is not None:
                assert axes.get_ylabel(), f"{name}: a panel without a label"
    assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_a_notebook_shows_a_figure_without_pyplot():
    figure = plots.latents(draw(1))
    shown = Image.open(io.BytesIO(figure._repr_png_()))
    assert shown.format == "PNG" and np.asarray(shown.convert("L")).std() > 5
    assert shown.size == tuple(round(side * figure.dpi) for side in figure.get_size_inches())


@pytest.mark.parametrize("dimensions, panels", [(1, 1), (2, 4), (3, 9), (5, 25), (9, 64)])
def test_density_in_each_dimension(dimensions, panels):
    x = draw(dimensions)
    figure = plots.density(
        x, x[::-1], law(dimensions).logpdf, columns=[f"c_{d}, km" for d in range(dimensions)]
    )
    drawn = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert len(drawn) == panels
    assert {"c_0, km"} <= {axes.get_xlabel() for axes in drawn}
    assert pixels(figure).std() > 5


def test_density_panels_share_their_limits_and_the_true_density_its_colours():
    x = draw(2)
    figure = plots.density(x, x, lambda point: law(2).logpdf(point) + 0.1, law(2).logpdf)
    drawn = figure.axes[:4]
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in drawn}) == 1
    model, truth = (axes.collections[0] for axes in drawn[2:])
    assert model.get_clim() == truth.get_clim()
    assert np.allclose(np.asarray(model.get_array()) / np.asarray(truth.get_array()), np.exp(0.1))
    assert "True density" in titles(figure) and "log-density" not in titles(figure)
    assert "log-density" in titles(plots.density(x, x, law(2).logpdf))


def test_the_grid_is_evaluated_where_it_is_drawn_and_in_batches_of_one_size():
    sizes = []

    def log_prob(x):
        sizes.append(len(x))
        assert x.dtype == np.float32
        return -np.square(x[:, 0] - 3.0) - np.square(x[:, 1])

    x = np.stack([RNG.uniform(0, 6, 500), RNG.uniform(-2, 2, 500)], axis=1)
    mesh = plots.density(x, x, log_prob).axes[2].collections[0]
    assert len(set(sizes)) == 1 and sum(sizes) >= 40_000
    values, corners = np.asarray(mesh.get_array()).reshape(200, 200), mesh.get_coordinates()
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert np.allclose(corners[row, column], [3.0, 0.0], atol=0.05)


def test_a_stray_point_does_not_rule_the_view_and_is_told():
    x = draw(2, 1000)
    x[0] = 1e6
    figure = plots.density(x, x, law(2).logpdf)
    assert figure.axes[0].get_xlim()[1] < 20
    assert "outside this view" in titles(figure)


def test_points_the_model_cannot_place_do_not_stop_a_figure():
    x = draw(2)
    x[3, 1], x[4, 0] = np.nan, np.inf
    assert "598 data points" in titles(plots.density(x, x, lambda p: np.full(len(p), np.nan)))
    assert pixels(plots.density(x, x, lambda p: np.full(len(p), -np.inf), law(2).logpdf)).std() > 1
    assert pixels(plots.density(draw(3), draw(3), lambda p: np.full(len(p), -np.inf))).std() > 1
    assert pixels(plots.density(np.ones((9, 2)), np.ones((9, 2)), law(2).logpdf)).std() > 1


def test_latents_count_what_the_circles_hold():
    z = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    z = np.column_stack([z, np.random.default_rng(1).permutation(z)])
    legend = [text.get_text() for text in plots.latents(z).axes[0].get_legend().get_texts()]
    assert [text.split(":")[0] for text in legend] == ["50%", "90%", "99%"]
    found = [float(text.split()[1].rstrip("%")) for text in legend]
    assert np.allclose(found, [50, 90, 99], atol=2.5)


@pytest.mark.parametrize("dimensions, plotted", [(1, 1), (2, 2), (9, 6), (784, 6)])
def test_latents_have_a_quantile_plot_for_each_of_six_dimensions(dimensions, plotted):
    figure = plots.latents(np.random.default_rng(2).standard_normal((400, dimensions)))
    assert len(figure.axes) == 2 + 2 * plotted
    assert f"expected {dimensions}" in titles(figure)
    assert pixels(figure).std() > 5


def test_the_band_holds_right_latents_and_not_wide_ones():
    def share(z):
        texts = [axes.get_title(loc="left") for axes in plots.latents(z).axes]
        return [float(text.split("%")[0]) for text in texts if "outside the 95% band" in text]

    right = [share(np.random.default_rng(seed).standard_normal((500, 3))) for seed in range(8)]
    assert np.mean(right) < 15
    assert min(share(1.4 * RNG.standard_normal((2000, 2)))) > 50


@pytest.mark.parametrize("form", [dict, pd.DataFrame])
def test_curves_show_the_end_and_the_line_of_a_perfect_fit(form):
    perfect = {"objective": 4.22, "latent": 2.838, "log_det": -1.382}
    figure = plots.training_curves(form(history()), perfect)
    latent, log_det, objective, rate = figure.axes
    assert latent.get_ylim()[1] < 10, "the first spike rules the view"
    for axes, part in ((latent, "latent"), (log_det, "log_det"), (objective, "objective")):
        line = next(line for line in axes.lines if "perfect" in str(line.get_label()))
        assert set(line.get_ydata()) == {perfect[part]}
        low, high = axes.get_ylim()
        assert low < perfect[part] < high
    assert "best 4.2" in objective.get_title(loc="left") and rate.get_yscale() == "log"


def test_curves_of_one_row_of_a_diverged_run_and_without_validation():
    assert (
        pixels(
            plots.training_curves({name: column[:1] for name, column in history().items()})
        ).std()
        > 1
    )
    bad = history()
    for name in ("train_objective", "val_objective", "train_latent", "val_latent"):
        bad[name] = np.where(np.arange(40) < 20, bad[name], np.nan)
    assert pixels(plots.training_curves(bad)).std() > 5
    nothing = {
        name: np.full(40, np.nan) if name != "step" else column
        for name, column in history().items()
    }
    assert pixels(plots.training_curves(nothing, {"objective": 1.0})).std() > 1
    train = {name: column for name, column in history().items() if not name.startswith("val_")}
    assert "best" not in titles(plots.training_curves(train))


def test_mapping_carries_the_circles():
    matrix = np.array([[2.0, 1.0], [0.0, 0.5]])
    figure = plots.mapping(lambda z: z @ matrix, 2, columns=["east, m", "north, m"])
    assert figure.axes[1].get_ylabel() == "north, m"
    latent, data = (np.concatenate(axes.collections[-1].get_segments()) for axes in figure.axes)
    assert np.allclose(np.linalg.norm(latent, axis=1), np.sqrt(-2 * np.log(0.01)), atol=1e-5)
    assert np.allclose(data, latent @ matrix, atol=1e-4)


def test_anomalies_marks_and_numbers_the_strangest():
    x = draw(2)
    score = -law(2).logpdf(x)
    score[17], score[40] = np.inf, 1e9
    figure = plots.anomalies(x, score, columns=["east, m", "north, m"], top=3)
    rings = next(line for line in figure.axes[1].lines if line.get_marker() == "o")
    assert np.allclose(rings.get_xydata()[:2], x[[17, 40]])
    assert [text.get_text() for text in figure.axes[1].texts] == ["1", "2", "3"]
    assert any("2 beyond" in text.get_text() for text in figure.axes[0].texts)
    assert figure.axes[1].get_xlabel() == "east, m"
    assert pixels(plots.anomalies(draw(1), np.ones(600))).std() > 1


@pytest.mark.parametrize(
    "draw_it, message",
    [
        (
            lambda: plots.density(np.zeros((5, 2, 2)), draw(2), None),
            r"data must be an array \[N, D\]",
        ),
        (lambda: plots.density(draw(2), draw(3), None), r"samples must be an array \[N, 2\]"),
        (lambda: plots.density(draw(2), draw(2), None, columns=["x"]), "must name the 2 columns"),
        (
            lambda: plots.density(np.full((5, 2), np.nan), draw(2), None),
            "at least two rows of finite numbers",
        ),
        (lambda: plots.latents(np.zeros((0, 2))), "at least two rows"),
        (lambda: plots.training_curves({"loss": [1.0]}), "a column step"),
        (lambda: plots.training_curves({"step": []}), "at least one row"),
        (lambda: plots.mapping(lambda z: z, 3), "2 dimensions only; this one has 3"),
        (lambda: plots.anomalies(draw(2), np.zeros(5)), "a score"),
    ],
)
def test_a_wrong_input_is_told_in_one_line(draw_it, message):
    with pytest.raises(UserError, match=message) as caught:
        draw_it()
    assert "\n" not in str(caught.value)
