"""Draws the figure of the seven applications as partitions of inputs and outputs, from real runs.

    python benchmarks/figure.py                          # trains what runs/figure lacks
    python benchmarks/figure.py runs/flowmodels2/latest  # this run for application 2

Writes doc/figures: applications.gif (a frame an application), applications.png (all at once) and
application1.png to application7.png. Each has data and samples of its run beside the two sides.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "doc" / "figures"
RUNS = ROOT / "runs" / "figure"
SECONDS, DPI = 2.6, 100
# steps beyond those of the smoke preset, so that the samples look like the data
FLAGS = {
    1: ["--data", "moons", "--steps", "3000"],
    2: ["--steps", "500", "--background", "none", "--score", "complexity"],
    3: ["--steps", "800"],
    4: [],
    5: ["--steps", "2000"],
    6: ["--steps", "400"],
    7: ["--steps", "400"],
}
TITLES = {
    1: "Distribution mapping",
    2: "Image generation and anomaly detection",
    3: "Generative classification of images",
    4: "Generative classification of vectors",
    5: "Ill-conditioned parameter estimation",
    6: "Ill-posed inverse problem, noise ignored",
    7: "Ill-posed inverse problem with noise",
}
SHOWN = 1500  # points of a thumbnail
POSTERIOR = 60  # posterior samples of one


def main() -> None:
    sys.path.insert(0, str(ROOT))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="*", type=Path, help="finished runs, one an application")
    given = {number_of(folder): folder for folder in parser.parse_args().runs}
    frames = []
    for number in TITLES:
        folder = given.get(number) or trained(number)
        frames.append(frame(number, folder))
        print(f"application {number}: {folder}", flush=True)
    write(frames)


def number_of(folder: Path) -> int:
    """The application of a run."""
    return int(json.loads((folder / "about.json").read_text())["tags"]["application"][-1])


def trained(number: int) -> Path:
    """A run below runs/figure; trains it where there is none."""
    folder = RUNS / f"flowmodels{number}"
    if not (folder / "report.html").exists():
        script = [sys.executable, str(ROOT / f"train_flowmodels{number}.py"), "--preset", "smoke"]
        where = ["--mlflow", "false", "--overwrite", "true", "--output-dir", str(folder)]
        subprocess.run([*script, *FLAGS[number], *where], check=True, cwd=ROOT)
    return folder


def frame(number: int, folder: Path) -> Image.Image:
    """Data, the two sides of the network, samples."""
    import flow_models as fm

    model = fm.load(str(folder))
    forms, problem = opened(number, folder)
    figure = Figure(figsize=(8, 3.1), dpi=DPI, layout="constrained", facecolor="white")
    figure.suptitle(f"{number}   {TITLES[number]}", x=0.01, ha="left", fontsize=13)
    left, middle, right = figure.subfigures(1, 3, width_ratios=[1, 1.8, 1])
    draw_forms(middle, model.partition, forms.get("joint"))
    draw = draw_posterior if model.is_posterior else draw_data
    draw(left.subplots(), right.subplots(), model, problem)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def opened(number: int, folder: Path):
    """The forms that the application has, and the data of a run, from its settings."""
    from flow_models.runs.config import parse

    application = importlib.import_module(f"train_flowmodels{number}").APPLICATION
    settings = ["--config", str(folder / "config.yaml")]
    config = parse(application.config, application.presets, "", settings)
    problem = application.load_data(config)
    return application.partitions(config, problem), problem


def draw_forms(figure, partition, joint) -> None:
    """The two sides of the run's network, and below those of the joint form where there is one."""
    from flow_models.plots.sides import draw_sides

    others = [] if joint is None or joint == partition else [joint]
    axes = figure.subplots(1 + len(others), 1, squeeze=False)[:, 0]
    for each, sides in zip(axes, [partition, *others]):
        draw_sides(each, sides)


def draw_data(left, right, model, problem) -> None:
    """Held-out data of the run, and as many samples: points or pictures, by class or without."""
    held_out = problem.sets["known"] if hasattr(problem, "sets") else problem.test
    x, y = (held_out.x, held_out.y) if hasattr(held_out, "x") else (held_out, None)
    n, draw = (9, draw_pictures) if x.ndim == 4 else (SHOWN, draw_points)
    draw(left, *some(x, y, n))
    draw(right, *samples(model, y, n))
    right.set(xlim=left.get_xlim(), ylim=left.get_ylim())
    left.set_title("data", fontsize=10)
    right.set_title("samples" if y is None else "samples of each class", fontsize=10)


def some(x: np.ndarray, y: np.ndarray | None, n: int):
    """n events at random; of pictures with labels three of each of three classes."""
    rng = np.random.default_rng(0)
    if y is None or n > 9:
        taken = rng.permutation(len(x))[:n]
    else:
        taken = np.concatenate([np.flatnonzero(y == each)[:3] for each in np.unique(y)[:3]])
    return x[taken], None if y is None else y[taken]


def samples(model, y: np.ndarray | None, n: int):
    """n samples; with labels as many of each class that `some` takes."""
    if y is None:
        return model.sample(n, seed=0), None
    numbers = np.unique(y)[: 3 if n == 9 else None]
    each = n // len(numbers)
    drawn = [model.sample(each, y=model.labels.classes[k], seed=k) for k in numbers]
    return np.concatenate(drawn), np.repeat(numbers, each)


def draw_points(axes, x: np.ndarray, y: np.ndarray | None) -> None:
    """The first two columns, coloured by class."""
    x = np.asarray(x)
    colours = {"color": "#4c78a8"} if y is None else {"c": y, "cmap": "tab10"}
    axes.scatter(*x[:, :2].T, s=2, linewidths=0, **colours)
    axes.set(xticks=[], yticks=[])


def draw_pictures(axes, x: np.ndarray, y: np.ndarray | None) -> None:
    """Nine pictures, three by three."""
    from flow_models.plots.images import draw_row, empty, shown

    pictures = shown(x)
    for row in range(3):
        draw_row(axes, pictures[3 * row : 3 * row + 3], row)
    empty(axes, 3, 3, 1)


def draw_posterior(left, right, model, problem) -> None:
    """Data of one test pair, and parameters of the posterior over the true ones."""
    pair, simulator = problem.first_test(1), problem.simulator
    truth = problem.physical(pair.theta)[0]
    x = model.posterior(pair.y[0], POSTERIOR, seed=0)
    draw_of = {"Kinematics": draw_arms, "Gravity": draw_valley, "Seismograms": draw_velocities}
    draw_of[type(simulator).__name__](left, right, simulator, pair.y[0], x, truth)
    for axes in (left, right):
        axes.tick_params(labelsize=7)
    right.set_title("posterior; truth in black", fontsize=10)


def draw_arms(left, right, simulator, y, x, truth) -> None:
    """The end point, and arms that reach it."""
    import tensorflow as tf

    theta, _ = simulator.whiten(tf.constant(np.vstack([truth, x])))
    joints = np.asarray(simulator.joints(theta))
    for arm in joints[1:]:
        right.plot(*arm.T, color="#d55e00", lw=0.6, alpha=0.5)
    right.plot(*joints[0].T, color="black", lw=1.5)
    for axes in (left, right):
        axes.scatter(*y, marker="x", s=50, color="#0072b2", zorder=4)
    left.set(xlim=right.get_xlim(), ylim=right.get_ylim())
    left.set_title("data: end of an arm", fontsize=10)


def draw_valley(left, right, simulator, y, x, truth) -> None:
    """Gravity along a profile, and depths of the valley."""
    left.plot(simulator.stations, y, "o", ms=3, color="#0072b2")
    left.set_title("data: gravity, mGal", fontsize=10)
    right.plot(simulator.centres, x.T, color="#d55e00", lw=0.5, alpha=0.4)
    right.plot(simulator.centres, truth, color="black", lw=1.5)
    right.set_xlabel("depth (km) along 40 km", fontsize=8)
    right.invert_yaxis()


def draw_velocities(left, right, simulator, y, x, truth) -> None:
    """Noisy traces, and velocities of layers against time."""
    traces = y[:-1].reshape(len(simulator.ray_parameters), -1)
    step = 1.5 * np.abs(traces).max()
    times = np.arange(traces.shape[1]) * simulator.interval
    left.plot(times, traces.T + step * np.arange(len(traces)), color="#0072b2", lw=0.8)
    left.set(yticks=[])
    left.set_title("data: traces against time, s", fontsize=10)
    starts = np.arange(simulator.layers) * simulator.layer_time
    right.step(starts, x.T, color="#d55e00", lw=0.5, alpha=0.4, where="post")
    right.step(starts, truth, color="black", lw=1.5, where="post")
    right.set_xlabel("velocity (km/s) against time", fontsize=8)


def write(frames: list[Image.Image]) -> None:
    """The frames, all of them in two columns, and as an animation."""
    FIGURES.mkdir(exist_ok=True)
    for number, each in zip(TITLES, frames):
        each.quantize(64).save(FIGURES / f"application{number}.png", optimize=True)
    width, height = frames[0].size
    sheet = Image.new("RGB", (2 * width, -(-len(frames) // 2) * height), "white")
    for at, each in enumerate(frames):
        sheet.paste(each, (at % 2 * width, at // 2 * height))
    sheet.quantize(128).save(FIGURES / "applications.png", optimize=True)
    first, *others = (each.quantize(64) for each in frames)
    first.save(
        FIGURES / "applications.gif",
        save_all=True,
        append_images=others,
        duration=int(1000 * SECONDS),
        loop=0,
        optimize=True,
    )


if __name__ == "__main__":
    main()
