"""Posteriors under recorded noise: seismograms of application 7 plus the noise of a real
seismometer.

    pip install -r requirements-demo.txt
    python benchmarks/real_noise.py      # prints a table, writes benchmarks/results/real_noise.png

A demonstration. The waves are simulated. The noise is what station PB01 in Chile recorded before
the P waves of 13 distant earthquakes (package rf, three components at 5 Hz, without a window that
has a spike); a sample of the record stands for a sample of a trace. Every other event gives the
estimate of the autocorrelation. The noise comes from the events between them, each segment divided
by the standard deviation of its window, times sigma. One network is trained for the noise model of
application 7, one for the estimated autocorrelation; both see simulated and recorded noise.

It shows whether coverage survives noise that is not Gaussian, not stationary, and has an estimated
covariance; and what happens, and is noticed, if the covariance is merely assumed. It does not show
an inversion of these records: they are no reflections, and the layers below the station are
unknown.
"""

import dataclasses
import importlib.util
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from flow_models.core.startup import load_tensorflow

load_tensorflow()

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from scipy.linalg import toeplitz  # noqa: E402

from flow_models.applications.application import trainer_of  # noqa: E402
from flow_models.applications.inverse import study  # noqa: E402
from flow_models.applications.inverse.problem import InverseProblem, draw  # noqa: E402
from flow_models.bijectors.frames import LaplaceFrame  # noqa: E402
from flow_models.diagnostics import calibration  # noqa: E402
from flow_models.models.posteriors import whitened_samples  # noqa: E402
from flow_models.plots.style import DATA, FAINT, INK, MODEL, new_figure, styled  # noqa: E402
from flow_models.runs.config import replace  # noqa: E402
from flow_models.simulators.seismic import NOISE_CORRELATION, Seismograms  # noqa: E402
from train_flowmodels7 import APPLICATION, Config  # noqa: E402

FIGURE = Path(__file__).parent / "results" / "real_noise.png"
BEFORE_P = 10.0  # s between the end of a window and the P wave of the model iasp91
SPIKY = 10.0  # windows of a higher kurtosis are left out; Gaussian noise has 3
OBSERVATIONS, SAMPLES = 500, 500
CONFIG = replace(Config(), steps=1500, simulations=40_000, validation_draws=4000)


@dataclasses.dataclass(frozen=True)
class EstimatedNoise(Seismograms):
    """Seismograms whose noise has a given autocorrelation at lags 0, 1, ... samples."""

    autocorrelation: tuple[float, ...] = ()

    @property
    def _noise_factor(self):
        return np.linalg.cholesky(toeplitz(self.autocorrelation[: self.samples]))

    @property
    def _whitener(self):
        return np.linalg.inv(self._noise_factor)


def windows() -> list[list[np.ndarray]]:
    """Records of each event before its P wave, without trend, unit variance; spiky ones are left
    out."""
    import obspy
    from obspy.geodetics import locations2degrees
    from obspy.taup import TauPyModel

    folder = Path(importlib.util.find_spec("rf").submodule_search_locations[0]) / "example"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # by obspy, about an old file format
        records, travel = obspy.read(str(folder / "example_data.mseed")), TauPyModel("iasp91")
        station = obspy.read_inventory(str(folder / "example_inventory.xml"))[0][0]
        found = []
        for event in obspy.read_events(str(folder / "example_events.xml")):
            origin = event.preferred_origin() or event.origins[0]
            degrees = locations2degrees(
                origin.latitude, origin.longitude, station.latitude, station.longitude
            )
            end = (
                origin.time
                + travel.get_travel_times(origin.depth / 1000, degrees, ["P", "Pdiff"])[0].time
                - BEFORE_P
            )
            quiet = [
                record.slice(endtime=end).data
                for record in records
                if 0 <= record.stats.starttime - origin.time < 1000
            ]
            found.append([each for each in map(_standardised, quiet) if np.mean(each**4) < SPIKY])
    return [event for event in found if event]


def _standardised(record):
    time = np.arange(len(record))
    record = record - np.polyval(np.polyfit(time, record.astype(float), 1), time)
    return record / record.std()


def autocorrelation(records, lags: int) -> np.ndarray:
    """Mean over records [n] at lags 0 .. lags - 1, divided by n: the matrix is positive
    definite."""
    found = np.mean(
        [
            [each[lag:] @ each[: len(each) - lag] / len(each) for lag in range(lags)]
            for each in records
        ],
        0,
    )
    return found / found[0]


def segments(records, n: int, traces: int, samples: int, seed: int) -> np.ndarray:
    """Recorded noise [n, traces * samples]; each trace has its own record and time."""
    rng = np.random.default_rng(seed)
    lengths = np.array([len(each) - samples for each in records], float)
    which = rng.choice(len(records), n * traces, p=lengths / lengths.sum())
    cut = [
        records[w][(start := rng.integers(len(records[w]) - samples)) : start + samples]
        for w in which
    ]
    return np.array(cut).reshape(n, -1)


def trained(simulator):
    """A posterior model, with a density of the data, for the noise of a simulator."""
    counts = {"train": CONFIG.inverse.simulations, "validation": CONFIG.inverse.validation_draws}
    parts = {name: draw(simulator, n, 0, part) for part, (name, n) in enumerate(counts.items())}
    frame = LaplaceFrame(simulator, CONFIG.components, CONFIG.newton_steps)
    problem = InverseProblem("seismograms", simulator, frame, parts=parts)
    model, training = APPLICATION.prepared(CONFIG, problem)
    trainer = trainer_of(model, training, CONFIG)
    trainer.run()
    training.then(model, trainer)
    return model


def judged(model, theta, clean, log_sigma, noise) -> tuple[dict[str, float], calibration.Coverage]:
    """Row of the table, and coverage over levels, for noise [B, M'] of unit variance; None: the
    simulator's own.

    "least" and "most" are coverages at 90% of single coordinates; for 20 right ones, about 0.87 and
    0.93.
    """
    if noise is None:
        y = model.simulator.observe(tf.constant(clean), (3, 4), tf.constant(log_sigma)).numpy()
    else:
        y = np.concatenate(
            [clean + np.exp(log_sigma)[:, None] * noise, log_sigma[:, None]], 1
        ).astype(np.float32)
    drawn = study.replace_outliers(whitened_samples(model, y, SAMPLES, 1))[0]
    x, truth = (np.asarray(model.simulator.physical(tf.constant(each))) for each in (drawn, theta))
    covered = calibration.coverage(truth, x, np.linspace(0.05, 0.95, 19))
    scores = study.simulated_scores(model, 0)
    flagged = np.mean(study.misspecification(model.anomaly_score(y), scores) <= study.ALARM)
    level = lambda i: f"{covered.mean[i]:.3f} +- {covered.error[i]:.3f}"
    # Karhunen-Loeve coordinates, smooth ones first
    coordinates = calibration.coverage(theta, drawn, [0.9]).parameters[0]
    misfit = np.median(study.misfit(model.simulator, drawn[:, :50], y))
    return {
        "coverage 50%": level(9),
        "coverage 90%": level(17),
        "least": f"{coordinates.min():.3f} (coordinate {coordinates.argmin() + 1})",
        "most": f"{coordinates.max():.3f} (coordinate {coordinates.argmax() + 1})",
        "misfit": f"{misfit:.2f}",
        "flagged": f"{flagged:.3f}",
    }, covered


@styled
def drawn(correlation, recorded, own, curves):
    """The figure: autocorrelations, noise of both kinds, and coverage."""
    figure = new_figure(12.5, 4.0)
    left, middle, right = figure.subplots(1, 3)
    lags = np.arange(len(correlation))
    left.plot(lags, correlation, color=DATA, label="estimated from the record")
    left.plot(
        lags,
        NOISE_CORRELATION**lags,
        color=MODEL,
        label=f"taken for granted: {NOISE_CORRELATION}^lag",
    )
    left.axhline(0, color=FAINT, lw=0.7)
    left.set(xlabel="lag (samples)", ylabel="autocorrelation of the noise")
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    for i in range(3):
        middle.plot(recorded[i] - 5.0 * i, color=DATA, label="recorded" if i == 0 else None)
        middle.plot(
            own[i] - 5.0 * i - 15, color=MODEL, label="taken for granted" if i == 0 else None
        )
    middle.set(xlabel="sample", ylabel="noise / sd", yticks=[])
    middle.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    right.plot([0, 1], [0, 1], color=INK, lw=0.8)
    for (name, covered), style in zip(
        curves.items(), ((MODEL, ":"), (MODEL, "-"), (DATA, ":"), (DATA, "-"))
    ):
        right.plot(covered.levels, covered.mean, color=style[0], ls=style[1], label=name)
    right.set(xlabel="credibility", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1))
    right.legend(loc="lower right")
    return figure


def main() -> None:
    events, assumed = windows(), Seismograms()
    estimate, held_out = (
        [record for event in part for record in event] for part in (events[::2], events[1::2])
    )
    correlation = autocorrelation(estimate, assumed.samples)
    print(
        f"{len(events)} events; {sum(map(len, estimate)):,} samples for the estimate,"
        f" {sum(map(len, held_out)):,} to add"
    )
    pairs = draw(assumed, OBSERVATIONS, 0, 2)
    recorded = segments(
        held_out, OBSERVATIONS, len(assumed.ray_parameters), assumed.samples, 5
    ).astype(np.float32)
    curves = {}
    for name, simulator in (
        ("0.6^lag", assumed),
        ("estimated", EstimatedNoise(autocorrelation=correlation)),
    ):
        model = trained(simulator)
        for kind, noise in (("its own", None), ("recorded", recorded)):
            label = f"network for {name}, noise {kind}"
            row, curves[label] = judged(model, pairs.theta, pairs.clean, pairs.y[:, -1], noise)
            print(
                f"{label}: " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True
            )
    own = np.random.default_rng(0).normal(size=(3, assumed.samples)) @ assumed._noise_factor.T
    FIGURE.parent.mkdir(exist_ok=True)
    drawn(correlation, recorded[:3, : assumed.samples], own, curves).savefig(FIGURE)
    print(FIGURE)


if __name__ == "__main__":
    main()
