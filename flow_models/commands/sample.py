"""Draw from a model: pictures as one PNG of many or a folder of PNGs, rows as a CSV.

python -m flow_models sample runs/flowmodels2/latest -n 64 --png samples.png --temperature 0.7
python -m flow_models sample runs/flowmodels2/latest -n 1000 --folder s3://bucket/samples
python -m flow_models sample runs/flowmodels1/latest -n 1000 --csv rows.csv --parquet rows.parquet
"""

from __future__ import annotations

import argparse

import numpy as np

from flow_models.commands import refuse_posterior, seed
from flow_models.core.errors import UserError

GAP = 1  # pixels between the pictures of a sheet


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", type=int, default=64, metavar="N", help="how many (default 64)")
    parser.add_argument(
        "--png",
        metavar="FILE",
        help="one sheet of all pictures, local or s3:// (default samples.png)",
    )
    parser.add_argument(
        "--folder",
        metavar="FOLDER",
        help="a PNG each, into a folder or s3:// prefix, instead of the sheet",
    )
    parser.add_argument(
        "--csv", metavar="FILE", help="rows of a model of vectors (default samples.csv)"
    )
    parser.add_argument(
        "--parquet",
        metavar="FILE",
        help="the same rows as Parquet, with the types of their columns",
    )
    parser.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="spread of the latents; below 1: nearer to the modes (default 1)",
    )
    parser.add_argument(
        "--seed", type=seed, default=0, help="equal seeds, equal samples (default 0)"
    )


def run(given: argparse.Namespace) -> None:
    if given.n < 1 or not 0 < given.temperature < np.inf:
        raise UserError(
            f"-n must be at least 1 and --temperature above 0, got {given.n} and"
            f" {given.temperature:g}"
        )
    if given.png and given.folder:
        raise UserError("--png writes one sheet, --folder a file each: give one of them")
    import flow_models as fm

    model = fm.load(given.model)
    refuse_posterior(given.model, model)
    pictures = len(model.event_shape) == 3
    flags = "images: give --png or --folder" if pictures else "vectors: give --csv or --parquet"
    wrong = given.csv or given.parquet if pictures else given.png or given.folder
    if wrong:
        raise UserError(f"{given.model} holds a model of {flags}")
    samples = model.sample(given.n, seed=given.seed, sampling_temperature=given.temperature)
    place = _write_pictures(given, samples) if pictures else _write_rows(given, model, samples)
    print(f"{given.n:,} samples in {place}")


def _write_pictures(given, samples: np.ndarray) -> str:
    from flow_models.core import storage
    from flow_models.data.images.export import png

    if not given.folder:
        place = given.png or "samples.png"
        storage.write_bytes(place, png(sheet(samples)))
        return place
    for number, sample in enumerate(samples, 1):
        storage.write_bytes(storage.join(given.folder, f"{number:05d}.png"), png(sample))
    return given.folder


def _write_rows(given, model, samples) -> str:
    """Rows in the kinds of their columns: float32 to seven digits, float64 to all of its own."""
    import io

    import pandas as pd

    from flow_models.core import storage

    frame = pd.DataFrame(samples, columns=model.columns)
    places = []
    if given.parquet:
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False)
        storage.write_bytes(given.parquet, buffer.getvalue())
        places.append(given.parquet)
    if given.csv or not given.parquet:
        places.append(given.csv or "samples.csv")
        text = frame.apply(_seven_digits).to_csv(index=False, lineterminator="\n")
        storage.write_bytes(places[-1], text.encode())
    return " and ".join(places)


def _seven_digits(column):
    """Numbers of float32 as text."""
    return column.map("{:.7g}".format) if column.dtype == np.float32 else column


def sheet(images: np.ndarray, columns: int | None = None) -> np.ndarray:
    """Pictures uint8 [n, H, W, C] as one picture, in reading order, a square of them unless told
    otherwise."""
    count, height, width, channels = images.shape
    columns = columns or int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    out = np.full(
        (rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 128, np.uint8
    )
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        out[row * (height + GAP) :, column * (width + GAP) :][:height, :width] = image
    return out
