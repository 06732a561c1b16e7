"""Rows and pictures a second, and the highest memory, of `score` and `sample`.

    make bench-commands                                        # prints the table of doc/commands.md
    make bench-commands ARGS="--rows 1000000 --pictures 10000 --names 100000"

Makes a model of four columns and one of pictures of 28x28, files of rows as CSV, Parquet and NPY,
and a folder of PNGs in a temporary place, all of which it removes. Each command runs in a process
of its own, once on a tenth and once on all, so that the memory can be seen not to grow. Rates are
by seconds of the processor, which other work on the machine does not change much. Names are those
of a folder of empty files, which is only listed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

COLUMNS = ["easting_km", "northing_km", "depth_km", "magnitude"]
PART = 1_000_000  # rows that are made at once
LISTING = (
    "import sys; from flow_models.core.storage import list_prefix;"
    " print(sum(1 for _ in list_prefix(sys.argv[1], ('.png',))))"
)
HEAD = (
    "| Command | Data | Number | Seconds | A second | Peak memory, MB |\n|---|---|---|---|---|---|"
)


def measured(*arguments: str) -> tuple[float, float, float]:
    """Seconds, seconds of the processor and peak MB of a process."""
    begin = time.perf_counter()
    place = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        [sys.executable, *arguments], env=place, stdout=subprocess.DEVNULL, cwd=ROOT
    )
    _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(arguments)}")
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def row(name: str, data: str, number: int, *arguments: str) -> str:
    """A line of the table."""
    seconds, busy, memory = measured(*arguments)
    numbers = f"{number:,} | {seconds:.0f} | {busy:.0f} | {number / busy:,.0f} | {memory:.0f}"
    print(f"| {name} | {data} | {numbers} |", flush=True)
    return f"| {name} | {data} | {numbers} |"


def models(folder: Path) -> None:
    """Makes a model of rows and one of pictures."""
    import flow_models as fm

    settings = fm.FitSettings(steps=200, batch_size=256)
    of_rows = fm.Model(fm.realnvp(4, depth=4, hidden=(32, 32)), codecs={"x": COLUMNS})
    fm.fit(of_rows, draw(20_000, 1), settings=settings, progress=False)
    of_rows.save(str(folder / "rows" / "model"))
    pixels = fm.Pixels(28, 28, 1, bits=3, multiple=4)
    flow = fm.glow_image(pixels.padded_shape, levels=2, depth=2, hidden=(16,))
    of_pictures = fm.Model(flow, codecs={"x": pixels})
    few = fm.FitSettings(steps=5, batch_size=32)
    fm.fit(of_pictures, pictures(64, 0), settings=few, progress=False)
    of_pictures.save(str(folder / "pictures" / "model"))


def draw(rows: int, seed: int) -> np.ndarray:
    """Rows of four dependent columns."""
    normal = np.random.default_rng(seed).normal(size=(rows, 4))
    return normal @ np.array([[1, 0.5, 0, 0], [0, 1, 0.5, 0], [0, 0, 1, 0.5], [0, 0, 0, 1]])


def pictures(count: int, seed: int) -> np.ndarray:
    """Noise as grey pictures, uint8 [count, 28, 28, 1]."""
    levels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28, 1))
    return levels.astype(np.uint8)


def tables(folder: Path, rows: int) -> dict[str, Path]:
    """The same rows in three formats, written part by part."""
    from flow_models.commands import writing

    places = {name: folder / f"rows{rows}.{name}" for name in ("csv", "parquet", "npy")}
    array = np.lib.format.open_memmap(places["npy"], "w+", np.float64, (rows, 4))
    with writing.opened(str(places["csv"])) as csv, writing.opened(str(places["parquet"])) as other:
        for first in range(0, rows, PART):
            part = draw(min(PART, rows - first), first)
            array[first : first + PART] = part
            columns = dict(zip(COLUMNS, np.round(part, 6).T))
            csv.add(columns)
            other.add(columns)
    array.flush()
    return places


def of_rows(folder: Path, model: str, rows: int) -> list[str]:
    """Lines of `score` and `sample`, on a tenth and on all."""
    lines = []
    for number in (rows // 10, rows):
        call, out = ("-m", "flow_models"), str(folder / "out.csv")
        for kind, place in tables(folder, number).items():
            score = [*call, "score", model, str(place), "--csv", out]
            lines.append(row("score", kind.upper(), number, *score))
            os.remove(place)
        for kind in ("csv", "parquet"):
            sample = [*call, "sample", model, "-n", str(number), "--csv", f"{folder}/out.{kind}"]
            lines.append(row("sample", kind.upper(), number, *sample))
            os.remove(folder / f"out.{kind}")
    return lines


def of_pictures(folder: Path, model: str, count: int) -> list[str]:
    """Lines of `score` and `sample` of pictures, on a tenth and on all."""
    from flow_models.data.images.export import png

    lines, place = [], folder / "photos"
    for number in (count // 10, count):
        done = len(os.listdir(place)) if place.exists() else 0
        place.mkdir(exist_ok=True)
        for first in range(done, number, 1000):
            for i, image in enumerate(pictures(min(1000, number - first), first), first):
                (place / f"{i:07d}.png").write_bytes(png(image))
        score = ["score", model, str(place), "--csv", str(folder / "out.csv")]
        lines.append(row("score", "PNG", number, "-m", "flow_models", *score))
        sample = ["sample", model, "-n", str(number), "--folder", str(folder / "drawn")]
        lines.append(row("sample", "PNG", number, "-m", "flow_models", *sample))
    return lines


def of_names(folder: Path, count: int) -> list[str]:
    """Lines of the listing of a folder, on a tenth and on all."""
    lines, place = [], folder / "names"
    place.mkdir()
    for first, number in ((0, count // 10), (count // 10, count)):
        for i in range(first, number):
            os.close(os.open(place / f"{i:07d}.png", os.O_CREAT))
        lines.append(row("listing", "names", number, "-c", LISTING, str(place)))
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="default 10 million")
    parser.add_argument("--pictures", type=int, default=100_000, help="default 100,000")
    parser.add_argument("--models", default="", metavar="FOLDER", help=argparse.SUPPRESS)
    parser.add_argument("--names", type=int, default=1_000_000, help="default a million")
    given = parser.parse_args()
    if given.models:
        return models(Path(given.models))
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # apart: the peak memory of a process is at least that of the one that starts it
        subprocess.run([sys.executable, __file__, "--models", place], check=True)
        model, other = str(folder / "rows"), str(folder / "pictures")
        lines = [HEAD, *(of_rows(folder, model, given.rows) if given.rows else [])]
        lines += of_pictures(folder, other, given.pictures) if given.pictures else []
        lines += of_names(folder, given.names) if given.names else []
    print("\n".join(lines))


if __name__ == "__main__":
    main()
