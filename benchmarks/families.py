"""Every architecture of application 1 on sets of known density, a minute of training each: the
table and the gallery of doc/families.md.

    make bench-families                          # hours: every family on every set
    make bench-families ARGS="rad maf maf:bins=8 --data moons --seconds 10"

A row is the mean of log p_true - log p over 20,000 fresh points, in nats, with its standard error.
--seconds are of one core's time, compilation included, as a machine that others share keeps no
other; the rate falls over the steps that a short trial says will fit.
"""

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "families"
GALLERY = ROOT / "doc" / "figures" / "families.png"
PAGE = ROOT / "doc" / "families.md"
SETS = ("moons", "eight_gaussians", "checkerboard", "rings")
TRIAL = 200  # steps that tell the pace
ACROSS = 10  # families in a row of the gallery
START, END = "<!-- bench-families -->", "<!-- end of bench-families -->"


def main() -> None:
    sys.path.insert(0, str(ROOT))
    from flow_models.architectures import ARCHITECTURES

    os.environ["FLOW_MODELS_KEEP_COMPILED"] = "0"  # all compile
    told = arguments(list(ARCHITECTURES))
    # a process each: one that compiles hundreds of functions runs out of maps of memory
    fresh = {"mp_context": get_context("spawn"), "max_tasks_per_child": 1}
    with ProcessPoolExecutor(1, **fresh) as processes:
        for name in told.names or ARCHITECTURES:
            processes.submit(measure_family, name, told.data, told.seconds).result()
    known = sorted(measured_before(), key=lambda name: list(ARCHITECTURES).index(recipe(name)[0]))
    write_table(known)
    draw_gallery(known, told.data[0])


def measure_family(name: str, sets: list[str], seconds: float) -> None:
    """Trains one architecture on each of the sets and keeps the results."""
    steps = steps_that_fit(name, seconds)
    for data in sets:
        result = measured(name, data, steps)
        print(f"{name:20} {data:16} {result['kl']:.4f} +- {result['se']:.4f}", flush=True)
        (RESULTS / name).mkdir(parents=True, exist_ok=True)
        (RESULTS / name / f"{data}.json").write_text(json.dumps(result))


def arguments(names: list[str]):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME[:OPTION=N]", help="architectures; all by default"
    )
    parser.add_argument("--data", nargs="+", default=list(SETS), help="sets of known density")
    parser.add_argument("--seconds", type=float, default=60, help="of one core, compiling included")
    told = parser.parse_args()
    unknown = sorted({recipe(name)[0] for name in told.names} - set(names))
    if unknown:
        parser.error(f"no architecture {unknown[0]!r}; there are {', '.join(names)}")
    return told


def recipe(name: str) -> tuple[str, dict[str, int]]:
    """`maf:bins=8` as the architecture and its options."""
    architecture, _, options = name.partition(":")
    pairs = (option.split("=") for option in options.split(",") if option)
    return architecture, {key: int(value) for key, value in pairs}


def measured_before() -> list[str]:
    return [folder.name for folder in RESULTS.iterdir() if folder.is_dir()]


def measured(name: str, data: str, steps: int) -> dict:
    """The gap to the truth after so many steps; the model is kept for the gallery."""
    from flow_models.data import points
    from flow_models.diagnostics import normality

    truth = points.get(data)
    test = truth.draw(20_000, (0, -3)).numpy()
    model, result, took = trained(name, data, steps)
    gap, error = normality.kl_to_truth(model.log_prob(test), truth.log_prob(test))
    RESULTS.mkdir(parents=True, exist_ok=True)
    model.save(str(RESULTS / name / data))
    return {"kl": gap, "se": error, "seconds": took, "steps": int(result.history["step"][-1])}


def trained(name: str, data: str, steps: int) -> tuple:
    """Model, result and seconds of one core of one training."""
    import flow_models as fm
    from flow_models.data import points

    truth = points.get(data)
    architecture, options = recipe(name)
    flow = fm.architectures.build(architecture, truth.event_size, hidden=(64, 64), **options)
    model = fm.Model(flow)
    settings = fm.FitSettings(steps=steps, batch_size=512, eval_every_steps=TRIAL, ema=0.999)
    start = time.process_time()
    validation = truth.draw(4_000, (0, -2)).numpy()
    result = fm.fit(model, truth.draw, validation=validation, settings=settings, progress=False)
    return model, result, time.process_time() - start


def steps_that_fit(name: str, seconds: float) -> int:
    """What short trials say of the pace and of compilation: of one look, and of ever more until
    they take a twentieth of the time."""
    looks, short = 3, trained(name, SETS[0], TRIAL)[2]
    while (more := trained(name, SETS[0], looks * TRIAL)[2] - short) < seconds / 20:
        looks *= 4
    return TRIAL * max(int((seconds - short) / more * (looks - 1)), 1)


def write_table(names: list[str]) -> None:
    """The table between its two marks in doc/families.md."""
    rows = [f"| family | {' | '.join(SETS)} |", "|---|" + "---|" * len(SETS)]
    for name in names:
        found = [RESULTS / name / f"{data}.json" for data in SETS]
        if any(path.exists() for path in found):
            cells = [cell(path) if path.exists() else "" for path in found]
            rows.append(f"| {name} | {' | '.join(cells)} |")
    text = PAGE.read_text()
    before, after = text.split(START)[0], text.split(END)[1]
    PAGE.write_text(f"{before}{START}\n" + "\n".join(rows) + f"\n{END}{after}")


def draw_gallery(names: list[str], data: str) -> None:
    """Data, density and samples of every family that was trained on a set, as one figure."""
    from matplotlib import pyplot as plt

    import flow_models as fm
    from flow_models.data import points

    known = [name for name in names if (RESULTS / name / data / "model.json").exists()]
    held = points.get(data).draw(4_000, (0, -3)).numpy()
    reach = 1.2 * np.abs(held).max()
    axis = np.linspace(-reach, reach, 200, dtype=np.float32)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    blocks = -(-len(known) // ACROSS)
    size = (2 * ACROSS, 6.4 * blocks)
    figure, rows = plt.subplots(3 * blocks, ACROSS, figsize=size, squeeze=False)
    for axes in rows.flat:
        axes.axis("off")
    columns = rows.reshape(blocks, 3, ACROSS).swapaxes(1, 2).reshape(-1, 3)
    for name, (top, middle, bottom) in zip(known, columns):
        model = fm.load(str(RESULTS / name / data))
        density = np.exp(model.log_prob(grid)).reshape(200, 200)
        limit = np.quantile(density, 0.995)
        top.set_title(name, fontsize=9)
        top.scatter(*held.T, s=0.3, color="#305080")
        middle.imshow(density, origin="lower", cmap="magma", vmax=limit)
        bottom.scatter(*model.sample(4_000, seed=1).T, s=0.3, color="#a03030")
        for axes in (top, middle, bottom):
            axes.set(xticks=[], yticks=[], aspect="equal")
            axes.axis("on")
        for axes in (top, bottom):
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    for first in columns[::ACROSS]:
        for axes, label in zip(first, ("data", "density", "samples"), strict=True):
            axes.set_ylabel(label)
    figure.tight_layout()
    GALLERY.parent.mkdir(exist_ok=True)
    figure.savefig(GALLERY, dpi=60)


def cell(path: Path) -> str:
    found = json.loads(path.read_text())
    return f"{found['kl']:.4f} ± {found['se']:.4f}"


if __name__ == "__main__":
    main()
