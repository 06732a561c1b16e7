"""Real tables in two and three dimensions that come inside scikit-learn.

Names and descriptions import nothing; `load` imports scikit-learn. Colours and brightness are
integers of 8 bits, made continuous with uniform noise from a fixed seed, x = (k + u) / 256, so that
their density is bounded.
"""

import numpy as np

from flow_models.data.catalogue import Catalogue, Embedded
from flow_models.data.tables.checks import check_table
from flow_models.data.tables.table import Table

_SEED = 20110821  # of the noise that fills the steps of 8-bit values
_CANCER = (
    "Breast Cancer Wisconsin (Diagnostic), Wolberg, Street and Mangasarian 1995, UCI, in"
    " scikit-learn"
)
_CHINA = "photograph china.jpg by D. Buechele, in scikit-learn"
_FLOWER = "photograph flower.jpg from flickr.com/photos/vultilion, in scikit-learn"
_NUCLEI = ("mean radius", "mean texture", "mean smoothness")
_RGB = ("red", "green", "blue")


def load(name: str) -> Table:
    """The table, checked. Raises UserError for an unknown name."""
    table = _CATALOGUE.get(name)
    return Table(check_table(table.read(), table.labels, source=name), table.labels, table.source)


def _nuclei(size: int) -> np.ndarray:
    """The first `size` measures of the cell nuclei, one row a patient."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    return data.data[:, [list(data.feature_names).index(name) for name in _NUCLEI[:size]]]


def _colours(file: str) -> np.ndarray:
    """Pixels [273280, 3] of a photograph in [0, 1), the steps of 1/256 filled with noise."""
    from sklearn.datasets import load_sample_image

    pixels = np.asarray(load_sample_image(file), np.float64)
    noise = np.random.default_rng(_SEED).random(pixels.shape)
    return ((pixels + noise) / 256).reshape(-1, 3)


def _neighbours(file: str) -> np.ndarray:
    """Brightness of two pixels side by side; no pixel is in two rows."""
    return _colours(file).mean(-1).reshape(-1, 2)


_CATALOGUE = Catalogue(
    "embedded table",
    [
        Embedded(
            "cell_nuclei",
            "2-D, 569 rows: radius and texture of cell nuclei, mean over a patient's image",
            _CANCER,
            "CC BY 4.0",
            _NUCLEI[:2],
            lambda: _nuclei(2),
        ),
        Embedded(
            "photo_neighbours",
            "2-D, 136640 rows: brightness of neighbouring pixels of a photograph",
            _CHINA,
            "CC BY 2.0",
            ("left", "right"),
            lambda: _neighbours("china.jpg"),
        ),
        Embedded(
            "cell_nuclei_3d",
            "3-D, 569 rows: radius, texture and smoothness of cell nuclei, mean over a patient's"
            " image",
            _CANCER,
            "CC BY 4.0",
            _NUCLEI,
            lambda: _nuclei(3),
        ),
        Embedded(
            "photo_colours",
            "3-D, 273280 rows: colours (red, green, blue) of the pixels of a photograph of a"
            " temple",
            _CHINA,
            "CC BY 2.0",
            _RGB,
            lambda: _colours("china.jpg"),
        ),
        Embedded(
            "flower_colours",
            "3-D, 273280 rows: colours (red, green, blue) of the pixels of a photograph of a"
            " flower",
            _FLOWER,
            "CC BY 2.0",
            _RGB,
            lambda: _colours("flower.jpg"),
        ),
    ],
)
names, describe = _CATALOGUE.names, _CATALOGUE.describe
