"""Draw from a model: pictures as one PNG of many or a folder of PNGs, rows as CSV or Parquet.

    python -m flow_models sample runs/flowmodels2/latest -n 64 --png samples.png --temperature 0.7
    python -m flow_models sample runs/flowmodels2/latest -n 1000 --folder s3://bucket/samples
    python -m flow_models sample runs/flowmodels1/latest -n 10000000 --parquet rows.parquet
    python -m flow_models sample runs/flowmodels4/latest -n 1000 --class deep --csv deep.csv
    python -m flow_models sample MODEL --observed stations.csv -n 1000 --csv posterior.csv

Models with classes draw them by their shares, or one by --class; the column `class`, or the name of
the picture, says which. Models of parameters given data need a table of observations, by the names
of the data; each gets N rows, and the column `observation` has its row number. Rows and folders are
written part by part, so any number of them needs the memory of one part.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Iterator

import numpy as np

from flow_models.commands import parts, seed, writing
from flow_models.core.errors import UserError
from flow_models.models import table_rows

SHEET = 2**26  # numbers in the pictures of a sheet, at most
PICTURES = 2**23  # numbers in the pictures of a part
FEWEST = 64  # pictures of a part


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
        "--csv",
        metavar="FILE",
        help="rows of a model of vectors; Parquet if it ends in .parquet (default samples.csv)",
    )
    parser.add_argument(
        "--parquet",
        metavar="FILE",
        help="the same rows as Parquet, with the types of their columns",
    )
    parser.add_argument(
        "--class", dest="label", metavar="NAME", help="draw this class alone (default: all)"
    )
    parser.add_argument(
        "--observed",
        metavar="FILE",
        help="a table of data, or a folder of tables, for models of parameters given data",
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
    parts.add_argument(parser, "the N samples, or of the files below --observed")


def run(given: argparse.Namespace) -> None:
    if given.n < 1 or not 0 < given.temperature < np.inf:
        raise UserError(
            f"-n must be at least 1 and --temperature above 0, got {given.n} and"
            f" {given.temperature:g}"
        )
    if given.part and (not given.csv or given.parquet):
        raise UserError("--part writes a Parquet file a part, of rows: give the folder as --csv")
    if given.png and given.folder:
        raise UserError("--png writes one sheet, --folder a file each: give one of them")
    parts.once(_run, given)


def _run(given: argparse.Namespace) -> None:
    import flow_models as fm

    model = fm.load(given.model)
    _check(given, model)
    if len(model.event_shape) == 3:
        place = _folder(given, model) if given.folder else _sheet(given, model)
        print(f"{given.n:,} samples in {place}")
    else:
        if given.part:
            given.n, given.seed = _of_part(given)
        count, place = _table(given, model)
        print(f"{count:,} samples in {place}" if count else f"part {given.part} has none")


def _of_part(given) -> tuple[int, int]:
    """How many samples the part has of N, or each observation of it, and its seed."""
    number, parts = given.share
    n = given.n if given.observed else given.n // parts + (number < given.n % parts)
    return n, int(np.random.SeedSequence((given.seed, parts, number)).generate_state(1)[0] >> 1)


def _check(given, model) -> None:
    """Refuses flags that are of another kind of model."""
    pictures = len(model.event_shape) == 3
    flags = "images: give --png or --folder" if pictures else "vectors: give --csv or --parquet"
    wrong = given.csv or given.parquet if pictures else given.png or given.folder
    if wrong:
        raise UserError(f"{given.model} holds a model of {flags}")
    if model.is_posterior and not given.observed:
        raise UserError(
            f"{given.model} holds a model of parameters given data: give a table of data by"
            f" --observed, with the columns {table_rows.few(model.simulator.data_names)}"
        )
    if given.observed and not model.is_posterior:
        raise UserError(f"{given.model} holds a model without data: leave out --observed")
    check_class(given, model)


def check_class(given, model) -> None:
    """Raises UserError where --class names none of the model's classes."""
    if given.label is not None and given.label not in model.classes:
        there = f"there are {table_rows.few(model.classes)}" if model.classes else "it has none"
        raise UserError(f"{given.model} has no class {given.label!r}; {there}")


def _counts(n: int, most: int) -> list[int]:
    """n as parts of at most so many."""
    return [min(most, n - first) for first in range(0, n, most)]


def _later(seed: int, number: int) -> int:
    """A seed for each part; the first has the seed that is given."""
    if not number:
        return seed
    return int(np.random.SeedSequence((seed, number)).generate_state(1, np.uint64)[0] >> 1)


def _drawn(given, model, n: int, most: int) -> Iterator[tuple[np.ndarray, list[str]]]:
    """Parts of n samples, and the name of the class of each; no names where there are none."""
    from tqdm import tqdm

    with tqdm(total=n, desc="sampling", unit=" samples", disable=None, delay=2) as bar:
        for number, count in enumerate(_counts(n, most)):
            seed = _later(given.seed, number)
            options = {"seed": seed, "sampling_temperature": given.temperature}
            names: list[str] = []
            if model.classes:
                drawn = model.draw_labels(count, seed=seed) if given.label is None else ()
                names = [model.classes[label] for label in drawn] or [given.label] * count
            yield model.sample(count, np.array(names) if names else None, **options), names
            bar.update(count)


def _sheet(given, model) -> str:
    from flow_models.core import storage
    from flow_models.data.images.export import png, sheet

    if given.n * model.event_size > SHEET:
        raise UserError(
            f"{given.n:,} pictures are too many for one sheet: write a file each, with --folder"
        )
    place = given.png or "samples.png"
    storage.check_target(place)
    (samples, _), *_ = _drawn(given, model, given.n, given.n)
    storage.write_bytes(place, png(sheet(samples)))
    return place


def _folder(given, model) -> str:
    """A file each, written by several threads; its name has the class, where there is one."""
    from concurrent.futures import ThreadPoolExecutor

    from flow_models.core import storage
    from flow_models.data.images.export import png
    from flow_models.data.images.reading import bounded_map

    width, first = max(5, len(str(given.n))), 1

    def write(sample):
        number, image, name = sample
        ending = "_" + re.sub(r"[^\w.-]+", "_", name) if name else ""
        place = storage.join(given.folder, f"{number:0{width}d}{ending}.png")
        storage.write_bytes(place, png(image))

    most = max(FEWEST, PICTURES // model.event_size)
    with ThreadPoolExecutor(8) as pool:
        for images, names in _drawn(given, model, given.n, most):
            numbers = range(first, first + len(images))
            samples = zip(numbers, images, names or [""] * len(images))
            for _ in bounded_map(pool, write, samples, 64):
                pass
            first += len(images)
    return given.folder


def _table(given, model) -> tuple[int, str]:
    """How many rows were written, and where."""
    csv = given.csv or (None if given.parquet else "samples.csv")
    places = [place for place in (given.parquet, csv) if place]
    if given.parquet and not given.parquet.lower().endswith(".parquet"):
        raise UserError(f"--parquet {given.parquet}: give a name that ends in .parquet, or --csv")
    for place in places:
        writing.check_place(place)
    count = 0
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(writing.opened(place)) for place in places]
        for frame in _observed(given, model) if given.observed else _rows(given, model):
            count += len(frame)
            for file in files:
                file.add(frame)
    return count, " and ".join(places)


def _rows(given, model) -> Iterator:
    """DataFrames in the kinds of their columns, with the class where there is one."""
    import pandas as pd

    for drawn, names in _drawn(given, model, given.n, writing.PART):
        frame = pd.DataFrame(drawn, columns=model.columns)
        yield (
            frame.assign(**{table_rows.free_name("class", model.columns): names})
            if names
            else (frame)
        )


def _observed(given, model) -> Iterator:
    """DataFrames of N posterior samples of each observation of a table."""
    import pandas as pd
    from tqdm import tqdm

    names, number = list(model.simulator.parameter_names), 0
    label, together = table_rows.free_name("observation", names), max(1, writing.PART // given.n)
    with tqdm(desc="sampling", unit=" observations", disable=None, delay=2) as bar:
        for part in table_rows.read(model, given.observed, share=given.share):
            part.refuse_bad()
            for first in range(0, len(part.names), together):
                rows = slice(first, first + together)
                numbers = [int(name) if name.isdecimal() else name for name in part.names[rows]]
                for count in _counts(given.n, writing.PART):
                    options = {"seed": _later(given.seed, number)}
                    options |= {"sampling_temperature": given.temperature}
                    drawn = model.posterior(part.values[rows], count, **options)
                    frame = pd.DataFrame(drawn.reshape(-1, len(names)), columns=names)
                    frame.insert(0, label, np.repeat(numbers, count))
                    number += 1
                    yield frame
                bar.update(len(numbers))
