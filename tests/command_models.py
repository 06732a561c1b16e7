"""A model of each kind, saved without training or after a few steps, and data for it."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import flow_models as fm
from flow_models.applications.inverse.models import measure
from flow_models.applications.inverse.problem import Pairs
from flow_models.bijectors.frames import LaplaceFrame
from flow_models.simulators.linear_gaussian import LinearGaussian

RNG = np.random.default_rng(7)
ROWS = 40
LABELS = fm.Labels(("deep", "shallow"), (0.25, 0.75))
SIMULATOR = LinearGaussian(matrix=((1.0, 0.5, 0.0), (0.0, 1.0, -1.0)))


@dataclasses.dataclass(frozen=True)
class Kind:
    """A saved model, its place, and its user's data.

    Attributes:
      data: a table, or a folder of pictures.
      first, last: two events as `interpolate` takes them.
    """

    model: fm.Model
    place: str
    data: str
    first: str
    last: str


def moved(model):
    """The model with weights as if it were trained."""
    for index, variable in enumerate(model.bijector.trainable_variables):
        variable.assign_add(0.1 * np.random.default_rng(index).standard_normal(variable.shape))
    return model


def frame() -> pd.DataFrame:
    """Numbers and an identifier, in another order than the models have them."""
    rows = {"position": RNG.normal(0, 1, ROWS), "id": [f"s{i}" for i in range(ROWS)]}
    return pd.DataFrame({**rows, "depth": RNG.normal(0, 1, ROWS)})


def mixed() -> pd.DataFrame:
    """Columns of several kinds."""
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(RNG.integers(0, 99, ROWS), "D")
    kinds = {"station": RNG.choice(["north", "south; old"], ROWS), "alarms": RNG.poisson(3, ROWS)}
    return pd.DataFrame({**kinds, "depth, m": RNG.normal(5, 1, ROWS), "day": days})


def densities() -> dict:
    """Models of rows, each with a table."""
    options = {"depth": 2, "hidden": (8,)}
    columns = fm.Columns.of(mixed())
    gaps = frame()
    gaps.loc[3, "depth"] = np.nan
    flow = fm.architectures.with_missing(fm.realnvp(2, **options), 2, hidden=(8,))
    bounded = fm.realnvp(2, **options, lower=[-9.0, None])
    names = {"x": ["depth", "position"]}
    of_kinds = fm.architectures.mixed("realnvp", columns.cdfs, **options)
    return {
        "table": (fm.Model(fm.realnvp(2, **options), codecs=names, jit=False), frame()),
        "bounded": (fm.Model(bounded, codecs=names, jit=False), frame()),
        "kinds": (fm.Model(of_kinds, codecs={"x": columns}, jit=False), mixed()),
        "missing": (fm.Model(flow, codecs=names, jit=False), gaps),
    }


def classes() -> dict:
    """Models of rows with classes: given, and among the outputs beside padding."""
    given = fm.realnvp(2, depth=2, hidden=(8,), condition_size=2)
    joint = fm.realnvp(4, depth=2, hidden=(8,))
    codecs = {"x": ["depth", "position"], "y": LABELS}
    partitions = {
        "classes": (given, fm.Partition({"x": 2}, {"z": 2}, given={"y": 2})),
        "joint classes": (joint, fm.Partition({"x": 2, "pad": 2}, {"y": 2, "z": 2}, sigma_y=0.1)),
    }
    return {
        name: (fm.Model(*each, codecs, jit=False), frame()) for name, each in partitions.items()
    }


def pictures() -> dict:
    """Models of pictures, without and with classes."""
    pixels = fm.Pixels(8, 8, 1, bits=3, multiple=2)
    options = {"levels": 1, "depth": 1, "hidden": (4,)}
    alone = fm.glow_image(pixels.padded_shape, **options)
    given = fm.glow_image(pixels.padded_shape, **options, condition_size=2)
    partition = fm.Partition({"x": 64}, {"z": 64}, given={"y": 2})
    return {
        "pictures": (fm.Model(alone, codecs={"x": pixels}, jit=False), None),
        "class pictures": (fm.Model(given, partition, {"x": pixels, "y": LABELS}, jit=False), None),
    }


def posteriors() -> dict:
    """Models of parameters given data: behind a frame, with the data among the outputs, and of
    pairs."""
    theta, y = (np.asarray(each) for each in SIMULATOR.simulate(500, (1, 2)))
    frame = LaplaceFrame(SIMULATOR, components=2, steps=1)
    flow = fm.realnvp(3, depth=1, hidden=(4,), condition_size=frame.context_size, standardise=False)
    codecs = {"x": fm.Parameters(SIMULATOR), "y": fm.Data(SIMULATOR)}
    given = fm.Partition({"x": 3}, {"z": 3}, given={"y": 2})
    framed = fm.Model(fm.architectures.framed(flow, frame), given, codecs, jit=False)
    measure(framed, Pairs(theta, y, y))
    framed.data_model = fm.Model(fm.realnvp(3, depth=1, hidden=(4,)), jit=False)
    both = fm.Partition({"x": 3, "pad": 1}, {"y": 2, "z": 2}, sigma_y=0.1)
    joint = fm.Model(fm.realnvp(4, depth=2, hidden=(8,)), both, codecs, jit=False)
    settings = fm.FitSettings(steps=2, batch_size=100, jit=False)
    own = fm.fit_posterior(
        pd.DataFrame({"speed": theta[:, 0], "angle": theta[:, 1]}),
        pd.DataFrame({"height": y[:, 0], "time": y[:, 1]}),
        settings=settings,
        hidden=(8,),
        depth=1,
    )
    observed = pd.DataFrame(y[:3], columns=["y1", "y2"])[["y2", "y1"]]
    of_own = pd.DataFrame(y[:3], columns=["height", "time"])
    return {
        "posterior": (framed, observed),
        "joint posterior": (joint, observed),
        "own problem": (own, of_own),
    }


def every(folder: Path) -> dict[str, Kind]:
    """All of them, saved below a folder."""
    photos = folder / "photos"
    photos.mkdir()
    for name, level in (("night", 20), ("snow", 230)):
        values = RNG.integers(level - 20, level + 20, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(values).save(photos / f"{name}.png")
    found = {}
    for name, (model, table) in (densities() | classes() | pictures() | posteriors()).items():
        model, place = moved(model), folder / name.replace(" ", "_")
        model.save(str(place / "model"))
        if table is None:
            ends, data = (str(photos / "night.png"), str(photos / "snow.png")), photos
        else:
            data = place / "rows.csv"
            table.to_csv(data, index=False)
            ends = (f"{data}:1", f"{data}:3")
        found[name] = Kind(model, str(place), str(data), *ends)
    return found
