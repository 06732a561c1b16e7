"""Application 5: training draws, errors against exact posteriors, the figure of arms, and the
script as a user runs it."""

import csv
import json
import os

import arviz
import numpy as np
import pytest
import tensorflow as tf
from in_process import application
from posterior_models import measured, new

import flow_models as fm
from flow_models import plots
from flow_models.applications.inverse import exact, onto_data
from flow_models.applications.inverse.annealing import annealed_draw
from flow_models.architectures.registry import build
from flow_models.bijectors.frames import PriorFrame
from flow_models.core.errors import UserError
from flow_models.models import posteriors
from flow_models.simulators import kinematics
from flow_models.simulators.kinematics import Kinematics

TINY = [
    "--preset",
    "smoke",
    "--steps",
    "20",
    "--depth",
    "1",
    "--hidden",
    "[8]",
    "--mlflow",
    "false",
    "--simulations",
    "1000",
    "--validation-draws",
    "100",
    "--test-draws",
    "20",
    "--references",
    "3",
    "--corrected",
    "2",
    "--posterior-samples",
    "60",
    "--joint-depth",
    "1",
    "--joint-hidden",
    "[8]",
]
ARM = Kinematics(tolerance=0.01)


def not_called(*_):
    raise AssertionError("samples that are on disk are drawn again")


not_called.__module__ = kinematics.__name__  # by which samples are told apart


@pytest.fixture(scope="module")
def model():
    theta, y = (a.numpy() for a in ARM.simulate(5000, (0, 1)))
    return measured(PriorFrame(ARM, fourier_features=2), theta, y, flow_of(depth=2))


def flow_of(depth):
    return lambda size, width: build(
        "realnvp", size, depth=depth, hidden=(16,), condition_size=width, standardise=False
    )


def drawn(model, step, n=20_000, **options):
    draw = tf.function(
        annealed_draw(model, 1000, first=25.0, share=0.5, **options),
        jit_compile=True,
        autograph=False,
    )
    rows = draw(n, tf.constant([3, step]))
    assert rows["x"].shape == (n, 4) and rows["y"].shape == (n, 2)
    return rows, (ARM.forward(rows["x"]) - rows["y"]).numpy()


@pytest.mark.parametrize("step, noise", [(-1, 0.25), (250, 0.05), (999, 0.01)])
def test_noise_falls_to_the_tolerance(model, step, noise):
    np.testing.assert_allclose(
        drawn(model, step, rare_oversampling=0.0)[1].std(0), noise, rtol=0.03
    )


def test_oversampled_draws_are_rarer_and_keep_the_posterior(model):
    both = [drawn(model, step, rare_oversampling=share) for step, share in ((999, 0.5), (998, 0.0))]
    np.testing.assert_allclose(both[0][1].std(0), 0.01, rtol=0.03)
    contexts = [posteriors.contexts(model, rows["y"]) for rows, _ in both]
    assert contexts[0].shape == (20_000, 12)
    oversampled, plain = (model.frame.scores(context).std() for context in contexts)
    assert abs(plain - 1) < 0.05 < 0.15 < oversampled - 1
    near = [np.square(rows["y"] - (1.9, -0.5)).sum(1) < 0.08**2 for rows, _ in both]
    means = [rows["x"].numpy()[k].mean(0) for (rows, _), k in zip(both, near)]
    assert min(k.sum() for k in near) > 150
    np.testing.assert_allclose(*means, atol=0.35)  # four standard errors of the difference


def test_a_training_is_not_resumed_with_noise_that_falls_otherwise(model, tmp_path):
    settings = fm.FitSettings(steps=4, batch_size=32)
    fm.fit(model, annealed_draw(model, 4, share=0.5), settings=settings, folder=str(tmp_path))
    with pytest.raises(UserError, match="draws was {'share': 0.5} and is now {'share': 0.6}"):
        fm.fit(
            model,
            annealed_draw(model, 4, share=0.6),
            settings=settings,
            folder=str(tmp_path),
            resume=True,
        )
    with pytest.raises(UserError, match="training data are others: settings of the problem"):
        fm.fit(
            model,
            annealed_draw(model, 4, first=3.0, share=0.5),
            settings=settings,
            folder=str(tmp_path),
            resume=True,
        )
    with pytest.raises(UserError, match="layer is another one: settings of the network differ"):
        fm.fit(
            new(model.frame, flow_of(depth=3)),
            annealed_draw(model, 4, share=0.5),
            settings=settings,
            folder=str(tmp_path),
            resume=True,
        )


def test_context_has_fourier_features_of_the_scores(model):
    context = posteriors.contexts(model, [[1.9, 0.0], [1.0, 1.5], [-1.0, -3.0]])
    scores = context[:, 2:4]
    waves = [wave(k * scores) for k in (1, 2) for wave in (np.sin, np.cos)]
    np.testing.assert_allclose(context[:, 4:], np.concatenate(waves, 1), atol=1e-5)


def test_errors_are_none_for_exact_samples_and_large_for_the_prior(tmp_path):
    y = ARM.forward(ARM.prior(6, (4, 4))).numpy()
    truth = exact.exact_samples(ARM, kinematics.exact_posterior, y, 400, 0, str(tmp_path))
    again = exact.exact_samples(ARM, not_called, y, 400, 0, str(tmp_path))
    np.testing.assert_array_equal(again.x, truth.x)
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"half a file")
    np.testing.assert_array_equal(
        exact.exact_samples(ARM, kinematics.exact_posterior, y, 400, 0, str(tmp_path)).x, truth.x
    )
    theta = (
        ARM.whiten(tf.constant(kinematics.exact_posterior(y, 400, 99)[0].reshape(-1, 4)))[0]
        .numpy()
        .reshape(6, 400, 4)
    )
    right = exact.errors(ARM, theta.astype(np.float32), again)
    wrong = exact.errors(
        ARM, np.random.default_rng(0).normal(size=theta.shape).astype(np.float32), truth
    )
    assert abs(right.mmd.mean()) < 0.003 and right.resimulation.max() < 1e-10
    assert wrong.mmd.mean() > 0.1 and wrong.resimulation.mean() > 0.3
    assert (
        exact._compiled_forward(ARM).experimental_get_tracing_count() == 1
    )  # or TensorFlow warns of tracing
    metrics = right.metrics("_x")
    assert (
        metrics["posterior_mmd_low_x"]
        <= metrics["posterior_mmd_x"]
        <= metrics["posterior_mmd_high_x"]
    )
    heading, columns, rows = wrong.tail(ARM.data_names, y, truth.x.std(1).mean(1))
    assert len(rows) == 6 and len(columns) == len(rows[0])
    assert rows[0][2] == wrong.mmd.max() and sum(row[3] for row in rows) == pytest.approx(1)
    assert len(exact.COLUMNS) == len(wrong.row("prior", 0.0))


def test_samples_of_observations_that_the_network_misses_are_brought_onto_the_data(model):
    theta = ARM.prior(4, (0, 3))
    y = np.concatenate([ARM.forward(theta).numpy(), [[1e17, 0.0]]]).astype(np.float32)
    drawn = posteriors.whitened_samples(model, y, 300, 0)
    found = onto_data.correct(model, drawn, y)
    assert found.corrected.all() and (found.shares < 0.05).all() and found.shares[4] == 0
    before, after = (
        np.square(ARM.forward(rows[:4].reshape(-1, 4)).numpy() - np.repeat(y[:4], 300, 0)).mean()
        for rows in (drawn, found.theta)
    )
    assert after < 1e-3 * before and np.abs(found.theta[:4]).max() < 12
    assert len(np.unique(found.theta[:4].round(4), axis=1)[0]) > 150, "most arrive by themselves"
    np.testing.assert_array_equal(found.theta[4], drawn[4])
    alone = onto_data.correct(model, drawn, y, "never")
    np.testing.assert_array_equal(alone.theta, drawn)
    assert (
        not alone.corrected.any() and onto_data.correct(model, drawn, y, "always").corrected.all()
    )


def test_figure_of_arms():
    theta = ARM.prior(60, (0, 8))
    joints = ARM.joints(theta).numpy().reshape(2, 30, 4, 2)
    figure = plots.arms(joints, joints[:, :10], joints[:, 0, -1], ["a", "b"])
    assert [axes.get_title("left") for axes in figure.axes[:2]] == ["a", "b"]
    above = figure.axes[0].collections
    assert len(above[0].get_paths()) == 10 and len(above[1].get_paths()) == 30
    np.testing.assert_allclose(above[1].get_paths()[3].vertices, joints[0, 3])
    with pytest.raises(UserError, match="ends"):
        plots.arms(joints, None, joints[0, 0])


def call(monkeypatch, *arguments) -> int:
    return application(monkeypatch, 5, *arguments)


@pytest.mark.parametrize(
    "problem, columns, figure",
    [
        ("kinematics", "end_horizontal,end_vertical\n1.8,0.3\n1.2,1.4", "arms"),
        pytest.param("ballistics", "landing_m\n6.5", "corner", marks=pytest.mark.slow),
    ],
)
def test_a_run_with_data_of_ones_own(tmp_path, monkeypatch, problem, columns, figure):
    (tmp_path / "mine.csv").write_text(columns + "\n")
    folder = tmp_path / "run"
    assert (
        call(
            monkeypatch,
            *TINY,
            "--problem",
            problem,
            "--compare",
            "true",
            "--observed",
            str(tmp_path / "mine.csv"),
            "--reference-folder",
            str(tmp_path),
            "--output-dir",
            str(folder),
        )
        == 0
    )
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in ("posterior_mmd", "posterior_mmd_low", "posterior_mmd_high", "resimulation_mse"):
        assert {name, f"{name}_newton", f"{name}_corrected", f"{name}_joint"} <= set(metrics)
    assert metrics["resimulation_mse_newton"] < metrics["resimulation_mse_alone"]
    assert metrics["resimulation_mse"] < 0.1 * metrics["resimulation_mse_alone"]
    assert metrics["observations_corrected"] == 3, "of a network that has learned nothing"
    assert {f"{figure}.png", "observed.png", "training.png"} <= set(os.listdir(folder / "figures"))
    rows = (folder / "posterior.csv").read_text().splitlines()
    assert len(rows) == 1 + 4 * (len(columns.split("\n")) - 1)
    test, mine = (
        arviz.from_netcdf(folder / name) for name in ("posteriors.nc", "posterior_observed.nc")
    )
    assert set(test.groups()) == {"posterior", "reference", "observed_data"}
    mean = float(mine.posterior[rows[1].split(",")[-10]].isel(observation=0).mean())
    assert mean == pytest.approx(float(rows[1].split(",")[-9]), rel=1e-4, abs=1e-5)
    model = fm.load(str(folder))
    y = [1.8, 0.3] if problem == "kinematics" else [6.5]
    assert (
        model.posterior(y, 50).shape == (50, 4)
        and np.isfinite(model.log_prob(model.posterior(y, 50), y)).all()
    )


@pytest.mark.parametrize(
    "problem, columns",
    [
        ("kinematics", "end_horizontal,end_vertical\n1.8,0.3\n9,9\n1e17,1e17"),
        pytest.param("ballistics", "landing_m\n6.5\n1e6\n1e17", marks=pytest.mark.slow),
    ],
)
def test_data_that_nothing_makes_are_called_out_and_no_exact_posteriors_are_drawn(
    tmp_path, monkeypatch, capsys, problem, columns
):
    (tmp_path / "mine.csv").write_text(columns + "\n")
    folder = tmp_path / "run"
    assert (
        call(
            monkeypatch,
            *TINY,
            "--problem",
            problem,
            "--reference",
            "false",
            "--observed",
            str(tmp_path / "mine.csv"),
            "--reference-folder",
            str(tmp_path / "kept"),
            "--output-dir",
            str(folder),
        )
        == 0
    )
    told = capsys.readouterr().err
    assert (
        "the data of rows 2, 3 lie outside what the simulator makes" in told
        and "prior samples are in their place" in told
    )
    rows = list(csv.DictReader((folder / "posterior.csv").open()))
    assert len(rows) == 12 and all(abs(float(row["mean"])) < 100 for row in rows)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert (
        {"nll_val", "coverage_90"} <= set(metrics)
        and "posterior_mmd" not in metrics
        and not (tmp_path / "kept").exists()
    )
    model = fm.load(str(folder))
    assert np.isfinite(model.anomaly_score(np.ones((3, model.simulator.data_size)))).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--problem", "billiards"], "problem is 'billiards'"),
        (["--rare-oversampling", "1"], "rare_oversampling is 1.0"),
        (["--fourier-features", "-1"], "fourier_features is -1"),
        (["--noise-share", "0"], "noise_share is 0.0"),
        (["--onto-data", "perhaps"], "onto_data is 'perhaps'"),
        (
            ["--simulations", "1000", "--batch-size", "1001"],
            "batch_size is 1001, more than the 1000 simulations",
        ),
        (["--tolerance", ".inf"], "tolerance is inf"),
        (["--first-noise", ".nan"], "first_noise is nan"),
        (["--joint-sigma", ".inf"], "joint_sigma is inf"),
        (["--references", "0"], "references is 0, must be at least 1"),
        (["--observed", "nowhere.csv"], "nowhere.csv"),
        (["--reference-folder", "/dev/null/kept"], "name another --reference-folder"),
        (["--reference-folder", "s3://bucket/kept"], "is a local folder"),
    ],
)
def test_wrong_settings_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    assert call(monkeypatch, *TINY, "--output-dir", str(tmp_path / "run"), *arguments) == 2
    assert message in capsys.readouterr().err.strip() and not (tmp_path / "run").exists()
