"""Applications 6 and 7 as their users run them, and the ways to run them wrongly."""

import csv
import json
import os
from pathlib import Path

import arviz
import mlflow
import numpy as np
import pytest
from in_process import application

import flow_models as fm
import train_flowmodels6 as gravity_script
from flow_models import __main__ as commands
from flow_models.applications.inverse import profile, study, traces
from flow_models.applications.inverse.observed import noise_level
from flow_models.applications.inverse.problem import draw
from flow_models.applications.inverse.views import View
from flow_models.models.problem import Components
from flow_models.runs.config import replace
from flow_models.runs.tracking import serving
from flow_models.simulators.gravity import Gravity
from flow_models.simulators.kinematics import Kinematics
from flow_models.simulators.seismic import Seismograms

TINY = [
    "--steps",
    "30",
    "--depth",
    "1",
    "--hidden",
    "[8]",
    "--bins",
    "4",
    "--batch-size",
    "64",
    "--simulations",
    "1000",
    "--validation-draws",
    "100",
    "--test-draws",
    "30",
    "--posterior-samples",
    "60",
    "--compare",
    "false",
    "--mlflow",
    "false",
    "--references",
    "2",
    "--joint-depth",
    "1",
    "--joint-hidden",
    "[8]",
    "--reference",
    "false",
    "--correct",
    "false",
]
DATA = Path(__file__).parents[1] / "data"


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs an application with a reference folder of its own; gives back the exit status."""
    return lambda number, *arguments: application(
        monkeypatch, number, "--reference-folder", tmp_path / "kept", *arguments
    )


def pyfunc(model):
    served = serving.FlowPyfunc()
    served.model = model
    return served


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def gravity_profile(tmp_path_factory):
    """A profile of its own stations, as a user's file."""
    path = tmp_path_factory.mktemp("profile") / "profile.csv"
    path.write_text(
        "station_km,gravity_mgal\n"
        + "\n".join(f"{s},{-30 * np.sin(np.pi * s / 40):.2f}" for s in (3, 11, 20, 28, 36))
    )
    return path


@pytest.mark.slow
def test_a_profile_of_ones_own_and_the_next_one_of_its_geometry(
    call, tmp_path, gravity_profile, capsys
):
    assert (
        call(
            6,
            *TINY,
            "--correct",
            "true",
            "--output-dir",
            str(tmp_path / "run"),
            "--observed",
            str(gravity_profile),
        )
        == 0
    )
    metrics = metrics_of(tmp_path / "run")
    assert {
        "nll_val",
        "laplace_entropy",
        "nats_above_laplace",
        "coverage_50",
        "coverage_90",
        "sbc_max_deviation",
        "normalised_rms_misfit",
        "seconds_for_10000_samples",
        "ess_fraction",
        "kl_to_posterior",
        "misfit_laplace",
        "misfit_corrected",
        "predictive_p_below_5_percent",
        "observed_p_value",
        "observed_misfit",
        "train_seconds",
    } <= set(metrics)
    assert metrics["predictive_p_below_5_percent"] < 0.2
    assert (
        metrics["nats_above_laplace"] < 1.5
        and metrics["ess_fraction"] > 0.02
        and 0.8 < metrics["normalised_rms_misfit"] < 1.3
    )
    figures = {
        "valley_observed",
        "gravity_observed",
        "valley_test_1",
        "corner",
        "ranks",
        "coverage",
        "contraction",
        "training",
    }
    assert figures <= {
        name.removesuffix(".png") for name in os.listdir(tmp_path / "run" / "figures")
    }
    rows = list(csv.DictReader(open(tmp_path / "run" / "posterior.csv")))
    assert len(rows) == 40 and all(
        float(r["q0.05"]) < float(r["q0.5"]) < float(r["q0.95"]) for r in rows
    )

    found = arviz.from_netcdf(tmp_path / "run" / "posterior_observed.nc").posterior
    means = [float(found[r["parameter"]].mean()) for r in rows]
    np.testing.assert_allclose(means, [float(r["mean"]) for r in rows], rtol=1e-4)
    assert "posterior" in arviz.from_netcdf(tmp_path / "run" / "posteriors.nc").groups()

    text = gravity_profile.read_text().replace("-30.00", "-27.00")
    gravity_profile.write_text(text)
    capsys.readouterr()
    assert (
        call(
            6,
            *TINY,
            "--correct",
            "true",
            "--output-dir",
            str(tmp_path / "next"),
            "--observed",
            str(gravity_profile),
        )
        == 0
    )
    assert "a model of this geometry" in capsys.readouterr().err
    again = {
        r["parameter"]: float(r["q0.5"])
        for r in csv.DictReader(open(tmp_path / "next" / "posterior.csv"))
    }
    assert again[rows[20]["parameter"]] < float(
        rows[20]["q0.5"]
    )  # less gravity, a shallower valley
    (kept,) = (tmp_path / "kept").iterdir()
    (kept / "model.json").write_text("{")
    assert (
        call(
            6,
            *TINY,
            "--correct",
            "true",
            "--output-dir",
            str(tmp_path / "third"),
            "--observed",
            str(gravity_profile),
        )
        == 0
    )
    assert "is damaged and trained anew" in capsys.readouterr().err
    assert (tmp_path / "third" / "posterior.csv").read_bytes() == (
        tmp_path / "next" / "posterior.csv"
    ).read_bytes()
    model = fm.load(str(tmp_path / "next"))
    assert model.simulator.stations == (3.0, 11.0, 20.0, 28.0, 36.0)
    y = np.array([[-5.0, -20, -25, -20, -5]], np.float32)
    served = pyfunc(model)
    np.testing.assert_array_equal(
        served.predict(None, y, {"n": 3, "seed": 1}), model.posterior(y, 3, seed=1)
    )
    np.testing.assert_array_equal(
        served.predict(None, y, {"method": "anomaly_score"}), model.anomaly_score(y)
    )
    with pytest.raises(Exception, match="method must be one of"):
        served.predict(None, y, {"method": "encode"})
    assert serving.example(model).shape == (2, 5)


@pytest.mark.slow
def test_data_that_no_valley_makes_are_called_out(call, tmp_path, gravity_profile, capsys):
    strange = tmp_path / "strange.csv"
    strange.write_text(
        "station_km,gravity_mgal\n"
        + "\n".join(f"{s},{60 * (-1) ** s:.2f}" for s in (3, 11, 20, 28, 36))
    )
    assert call(6, *TINY, "--output-dir", str(tmp_path / "run"), "--observed", str(strange)) == 0
    assert "outside what the simulator makes" in capsys.readouterr().err
    assert metrics_of(tmp_path / "run")["observed_p_value"] < 0.01
    strange.write_text(
        "station_km,gravity_mgal\n" + "\n".join(f"{s},1e15" for s in (3, 11, 20, 28, 36))
    )
    assert call(6, *TINY, "--output-dir", str(tmp_path / "far"), "--observed", str(strange)) == 0
    assert "prior samples are in their place" in capsys.readouterr().err
    rows = list(csv.DictReader(open(tmp_path / "far" / "posterior.csv")))
    assert all(np.isfinite(float(row["q0.5"])) for row in rows)


def test_stations_in_metres_are_called_out_everywhere(call, tmp_path, capsys):
    """On stderr, in the report's box, in metrics.json and as a tag in MLflow; status 0."""
    file, run = tmp_path / "metres.csv", tmp_path / "run"
    lines = [f"{s},{-30 * np.sin(np.pi * s / 40e3):.2f}" for s in range(1000, 40_000, 2000)]
    file.write_text(table(lines))
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    place = ["--output-dir", str(run), "--mlflow", "true", "--tracking-uri", store]
    more = ["--compare", "true", "--observed", str(file)]
    assert call(6, *TINY, *place, *more) == 0
    asked = "column station_km: stations between 1,000 and 39,000: are these metres?"
    assert f"warning: {asked}" in capsys.readouterr().err
    page = (run / "report.html").read_text()
    assert asked in page.partition('class="warnings"')[2].partition("</div>")[0]
    lines = metrics_of(run)["warnings"]
    assert any(line.startswith(asked) for line in lines)
    left_out = "the joint form is left out of the comparison: the data allow no form 'joint'"
    assert any(line.startswith(left_out) for line in lines)
    (state,) = json.loads((run / "mlflow.json").read_text())["stores"].values()
    found = mlflow.MlflowClient(store).get_run(state["run_id"])
    assert asked in found.data.tags["warnings"] and asked in found.data.tags["mlflow.note.content"]
    training, observed = [each.dataset for each in found.inputs.dataset_inputs]
    assert training.name == "depth of a valley" and json.loads(training.profile)["num_rows"] == 1000
    assert observed.name == "metres.csv" and json.loads(observed.source) == {"uri": str(file)}


STATIONS = [(3, -7), (11, -22), (20, -30), (28, -24), (36, -9)]


@pytest.mark.parametrize(
    "length, gravity, said",
    [
        (1, 1, None),
        (1000, 1, "stations between 3,000 and 36,000: are these metres? Expected km from the left"),
        (10, 1, "stations between 30 and 360: are these metres?"),
        (1e6, 1, "stations between 3e+06 and 3.6e+07: is this right? Expected km"),
        (-1, 1, "stations between -36 and -3: is this right?"),
        (1, 1000, "gravity of at most 3e+04 mGal: are these microgal? Expected mGal, 0.5 to 671"),
        (1, 1e-5, "gravity of at most 0.0003 mGal: are these m/s^2?"),
        (1, 0, "gravity of at most 0 mGal: is this right?"),
    ],
)
def test_units_of_a_profile_are_doubted_at_the_door(tmp_path, recwarn, length, gravity, said):
    file = tmp_path / "profile.csv"
    file.write_text(table([f"{length * s:g},{gravity * g:g}" for s, g in STATIONS]))
    config = replace(gravity_script.Config(), observed=str(file))
    simulator, y = profile.read(config)
    assert y.shape == (1, 5) and simulator.stations[0] == length * 3
    told = [str(each.message) for each in recwarn]
    assert told == [] if said is None else len(told) == 1 and said in told[0]


@pytest.mark.parametrize(
    "sigma, said", [(0.02, None), (20, "are these m/s?"), (0.5, "is this right?")]
)
def test_noise_that_no_network_is_trained_for_is_doubted(recwarn, sigma, said):
    assert noise_level({}, sigma, (0.005, 0.05), {"m/s": 1e-3}) == sigma
    told = [str(each.message) for each in recwarn]
    expected = f"the noise has the standard deviation {sigma:g}: {said} Expected 0.005 to 0.05"
    assert told == [] if said is None else len(told) == 1 and told[0].startswith(expected)


@pytest.mark.slow
def test_seismograms_with_the_example_of_the_folder_data(call, tmp_path):
    assert (
        call(
            7,
            *TINY,
            "--components",
            "12",
            "--summary",
            "6",
            "--summary-hidden",
            "[16]",
            "--output-dir",
            str(tmp_path / "run"),
            "--observed",
            str(DATA / "traces.csv"),
        )
        == 0
    )
    metrics = metrics_of(tmp_path / "run")
    assert metrics["nats_above_laplace"] < 1.5 and 0.8 < metrics["observed_misfit"] < 1.25
    assert {"velocity_observed", "traces_observed"} <= {
        n.removesuffix(".png") for n in os.listdir(tmp_path / "run" / "figures")
    }
    rows = list(csv.DictReader(open(tmp_path / "run" / "posterior.csv")))
    assert [r["parameter"] for r in rows][:1] == ["velocity_1_km_s"] and len(rows) == 20


@pytest.mark.parametrize(
    "thickness, axis, last",
    [(0.0, "two-way time (s)", 20 * 0.034), (0.035, "depth (km)", 20 * 0.035)],
)
def test_velocities_stand_over_what_the_layers_are_made_of(thickness, axis, last):
    simulator, rng = Seismograms(layer_thickness=thickness), np.random.default_rng(0)
    view = View(
        "one",
        "one",
        rng.normal(size=193),
        rng.uniform(1.8, 2.4, (30, 20)),
        rng.normal(size=(30, 192)),
    )
    axes = traces.show(simulator, [view])[0][1].axes[0]
    assert axes.get_ylabel() == axis and max(axes.get_ylim()) == pytest.approx(last)


@pytest.mark.parametrize("number, inputs", [(6, {"x"}), (7, {"x", "eps"})])
@pytest.mark.slow
def test_the_joint_form(call, tmp_path, number, inputs):
    terms = ("mmd_latents", "mmd_parameters", "reconstruction")
    weights = [text for term in terms for text in (f"--{term.replace('_', '-')}", "0.1")]
    assert (
        call(number, *TINY, "--form", "joint", *weights, "--output-dir", str(tmp_path / "run")) == 0
    )
    header = (tmp_path / "run" / "history.csv").read_text().splitlines()[0]
    assert all(f"train_{term}" in header and f"val_{term}" in header for term in terms)
    assert 0 < metrics_of(tmp_path / "run")["coverage_90"] <= 1
    model = fm.load(str(tmp_path / "run"))
    assert set(model.partition.inputs) == inputs and "y" in model.partition.outputs
    y = np.append(np.zeros(192), np.log(0.01)) if number == 7 else np.full(20, -20.0)
    np.testing.assert_array_equal(model.posterior(y, 4, seed=1), model.posterior(y, 4, seed=1))
    assert model.posterior(y, 4).shape == (4, model.simulator.size)
    x = model.posterior(y, 2)
    predicted = model.predict(x, 500, seed=1)
    assert predicted.shape == (2, 500, len(y)) and np.isfinite(predicted).all()
    np.testing.assert_array_equal(predicted, model.predict(x, 500, seed=np.int64(1)))
    if number == 6:  # what the network says of x, give or take the width that it was trained with
        partition = model.partition
        said = partition.split("outputs", model.encode(x))["y"]
        again = model.codecs["y"].components(predicted.reshape(1000, -1)).reshape(2, 500, -1)
        np.testing.assert_allclose(again.mean(1), said, atol=5 * partition.sigma_y / np.sqrt(500))
        np.testing.assert_allclose(again.std(1), partition.sigma_y, rtol=0.2)
    else:
        assert (
            -5.6 < predicted[..., -1].min() < predicted[..., -1].max() < -3.2
        )  # log sigma as the prior has it
    with pytest.raises(fm.UserError, match="whole number of at least 1"):
        model.predict(x, 0)
    for command in (["sample"], ["score", str(DATA / "end_points.csv")]):
        with pytest.raises(
            fm.UserError, match="parameters given data.*--observed|no density of the data"
        ):
            commands.main([command[0], str(tmp_path / "run"), *command[1:]])


@pytest.mark.parametrize("simulator", [Seismograms(), Gravity(), Kinematics()])
def test_data_come_back_from_all_their_components(simulator):
    y = draw(simulator, 400, 0).y
    codec = Components.measured(simulator, y, most=y.shape[1])
    unit = (
        y
        if not simulator.noise_varies
        else np.concatenate([y[:, :-1], np.zeros((400, 1), y.dtype)], 1)
    )
    clean = unit[:, : y.shape[1] - simulator.noise_varies]
    np.testing.assert_allclose(
        codec.decode(codec.components(unit)), clean, atol=1e-4 * np.abs(clean).max()
    )


def table(rows, header="station_km,gravity_mgal"):
    return "\n".join([header, *rows])


TRACES = (DATA / "traces.csv").read_text()


@pytest.mark.parametrize(
    "number, text, more, message",
    [
        (
            6,
            table(["1,2"], "km,gravity_mgal"),
            [],
            "no column 'station_km'; columns are station_km, gravity_mgal, [tolerance_mgal]",
        ),
        (6, table(["1,-20", "2,nan"]), [], "gravity_mgal"),
        (6, table(["1,-20", "2,low"]), [], "gravity_mgal"),
        (6, table([]), [], "no row"),
        (
            6,
            table(["1,-20,0.5", "2,-21,0"], "station_km,gravity_mgal,tolerance_mgal"),
            [],
            "must be above 0 (mGal)",
        ),
        (6, None, ["--observed", "nowhere.csv"], "nowhere.csv"),
        (6, None, ["--tolerance", "-1"], "tolerance is -1"),
        (6, None, ["--form", "both"], "no form 'both'; there are conditional, joint"),
        (6, None, ["--simulations", "10"], "simulations is 10, must be at least 1000"),
        (6, None, ["--mmd-latents", "-1"], "mmd_latents is -1"),
        (6, None, ["--architecture", "nice"], "no architecture 'nice'"),
        (
            7,
            TRACES.replace(",0.01\n", "\n").replace(",sigma", ""),
            [],
            "give the noise as one number above 0: --sigma",
        ),
        (
            7,
            TRACES.replace("0.18", "0.19"),
            [],
            "column ray_s_per_km: 0.19 where the network was made for 0.18",
        ),
        (
            7,
            TRACES[: TRACES.rindex("0.1800")],
            [],
            "191 rows of traces, expected 4 rays of 48 samples",
        ),
        (7, TRACES.replace("0.94", "0.95"), [], "column time_s: 0.95 where"),
        (7, None, ["--components", "0"], "components is 0"),
        (7, None, ["--sigma", "-1"], "sigma is -1"),
        (7, None, ["--components", "300"], "components is 300; the traces have 192 samples"),
        (6, table(["1,-20", "2,1e300"]), [], "too large for 32-bit numbers"),
        (6, None, ["--tolerance", "1e-7"], "the tolerance is too small beside the data"),
        (7, None, ["--newton-steps", "-1"], "newton_steps is -1"),
    ],
)
def test_wrong_input_is_one_clear_line_and_leaves_no_folder(
    call, tmp_path, capsys, number, text, more, message
):
    if text is not None:
        (tmp_path / "mine.csv").write_text(text)
        more = [*more, "--observed", str(tmp_path / "mine.csv")]
    assert call(number, *TINY, "--output-dir", str(tmp_path / "run"), *more) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "Traceback" not in error and len(error.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_outliers_alone_are_replaced_by_draws_of_the_prior():
    theta = np.random.default_rng(0).normal(size=(3, 50, 2)).astype(np.float32)
    assert study.replace_outliers(theta) == (theta, 0.0)
    wrong = theta.copy()
    wrong[0, 3, 1], wrong[2, 4, 0], wrong[2, 5] = np.nan, -30.0, np.inf
    found, share = study.replace_outliers(wrong)
    assert share == pytest.approx(3 / 150) and np.abs(found).max() < 6
    same = np.isfinite(wrong).all(-1) & (np.abs(wrong) < 12).all(-1)
    np.testing.assert_array_equal(found[same], theta[same])
    assert np.isnan(wrong[0, 3, 1])  # those given stay as they are
