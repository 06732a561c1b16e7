"""Real tables in two and three dimensions that come inside scikit-learn, so that nothing is
downloaded.

Names and descriptions import nothing; `load` imports scikit-learn. Colours and brightness are
integers of 8 bits, made continuous with uniform noise, x = (k + u) / 256, drawn from a fixed seed:
the density stays a density.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flow_models.core.failures import pick
from flow_models.data.tables.tables import Table, check_table

_SEED = 20110821  # of the noise that fills the steps of 8-bit values
_PHOTO_LICENCE = "CC BY 2.0"
_CANCER = (
    "Breast Cancer Wisconsin (Diagnostic), Wolberg, Street and Mangasarian 1995, UCI, in"
    " scikit-learn"
)
_NUCLEI = (("mean radius", "pixel"), ("mean texture", "grey level"), ("mean smoothness", ""))


@dataclass(frozen=True)
class _Embedded:
    size: int  # dimensions
    rows: int
    text: str
    source: str
    licence: str
    columns: tuple[tuple[str, str], ...]  # (name, unit)
    values: Callable[[], np.ndarray]


def names() -> list[str]:
    """The names of all embedded tables."""
    return list(_TABLES)


def describe(name: str) -> str:
    """One line: dimensions, rows, what it is, source and licence."""
    each = pick(_TABLES, name, "embedded table")
    return f"{each.size}-D, {each.rows} rows: {each.text}; {each.source} ({each.licence})"


def load(name: str) -> Table:
    """The table, checked, with its columns' names and units. Raises UserError for another name."""
    each = pick(_TABLES, name, "embedded table")
    columns, units = zip(*each.columns)
    return Table(check_table(each.values(), columns, source=name), columns, each.source, units)


def _nuclei(size: int) -> np.ndarray:
    """The first `size` measures of the cell nuclei, one row a patient."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    places = [list(data.feature_names).index(name) for name, _ in _NUCLEI[:size]]
    return data.data[:, places]


def _photograph(file: str) -> np.ndarray:
    """Pixels [427, 640, 3] in [0, 1), the steps of 1/256 filled with noise."""
    from sklearn.datasets import load_sample_image

    pixels = np.asarray(load_sample_image(file), np.float64)
    return (pixels + np.random.default_rng(_SEED).random(pixels.shape)) / 256


def _colours(file: str) -> np.ndarray:
    return _photograph(file).reshape(-1, 3)


def _neighbours(file: str) -> np.ndarray:
    """Brightness of two pixels side by side; no pixel is in two rows."""
    return _photograph(file).mean(-1).reshape(-1, 2)


_RGB = (("red", ""), ("green", ""), ("blue", ""))
_PAIR = (("left", ""), ("right", ""))
_CHINA = "photograph china.jpg by D. Buechele, in scikit-learn"
_FLOWER = "photograph flower.jpg from flickr.com/photos/vultilion, in scikit-learn"
_TABLES = {
    "cell_nuclei": _Embedded(
        2,
        569,
        "radius and texture of cell nuclei, mean over a patient's image",
        _CANCER,
        "CC BY 4.0",
        _NUCLEI[:2],
        lambda: _nuclei(2),
    ),
    "photo_neighbours": _Embedded(
        2,
        136_640,
        "brightness of neighbouring pixels of a photograph",
        _CHINA,
        _PHOTO_LICENCE,
        _PAIR,
        lambda: _neighbours("china.jpg"),
    ),
    "cell_nuclei_3d": _Embedded(
        3,
        569,
        "radius, texture and smoothness of cell nuclei, mean over a patient's image",
        _CANCER,
        "CC BY 4.0",
        _NUCLEI,
        lambda: _nuclei(3),
    ),
    "photo_colours": _Embedded(
        3,
        273_280,
        "colours (red, green, blue) of the pixels of a photograph of a temple",
        _CHINA,
        _PHOTO_LICENCE,
        _RGB,
        lambda: _colours("china.jpg"),
    ),
    "flower_colours": _Embedded(
        3,
        273_280,
        "colours (red, green, blue) of the pixels of a photograph of a flower",
        _FLOWER,
        _PHOTO_LICENCE,
        _RGB,
        lambda: _colours("flower.jpg"),
    ),
}
