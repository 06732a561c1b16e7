"""Write an embedded image set as PNG files in the layout of data/README.md:
`make data-images SET=mnist`.

    python -m flow_models.data.images.export mnist data/mnist

The folder (or s3://bucket/prefix) gets train/<class>/00001.png, val/<class>/..., test/<class>/...
and at last SOURCE.txt. A folder that has it is left as it is; any other that is not empty is
refused.
"""

import argparse
import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import embedded
from flow_models.data.images.dataset import ImageData

_NOTE = "SOURCE.txt"
GAP = 1  # pixels between the pictures of a sheet


def png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 1 or 3] as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


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


def write_set(name: str, folder: str) -> int:
    """Write all parts of an embedded set below `folder`; returns the number of images written, 0 if
    they are there already.

    Raises:
      UserError: an unknown name, something else in the folder, or a place that cannot be written.
    """
    from tqdm import tqdm

    data = embedded.load(name)
    note = f"{name}\n{data.source}\nlicence: {data.licence}\n"
    if not _is_free(folder, note):
        return 0
    files = _files(data)

    def write(file):
        storage.write_bytes(storage.join(folder, *file[0]), png(file[1]))

    with ThreadPoolExecutor(8) as pool:
        list(tqdm(pool.map(write, files), "writing images", len(files), disable=None, delay=1))
    storage.write_bytes(storage.join(folder, _NOTE), note.encode())
    return len(files)


def _files(data: ImageData) -> list[tuple[tuple[str, str, str], np.ndarray]]:
    """((part, class, file), image) of each image, numbered from 1 in each part."""
    parts = (
        ("train", data.examples, data.example_labels),
        ("val", data.validation, data.validation_labels),
        ("test", *data.held_out),
    )
    return [
        ((part, data.classes[label], f"{number:05d}.png"), image)
        for part, images, labels in parts
        for number, (image, label) in enumerate(zip(images, labels), 1)
    ]


def _is_free(folder: str, note: str) -> bool:
    """Whether the set is still to be written here. Raises UserError where something else lies."""
    place = storage.join(folder, _NOTE)
    if storage.exists(place) and storage.read_bytes(place) == note.encode():
        return False
    below = storage.join(folder, "")
    if storage.exists(below) and next(storage.list_prefix(below), None) is not None:
        raise UserError(
            f"{folder} is not empty: choose another folder (OUT=...), or empty it first"
        )
    return True


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="make data-images", description="write an embedded image set as PNG files"
    )
    parser.add_argument("set", help=", ".join(embedded.names()))
    parser.add_argument(
        "folder", nargs="?", help="a folder or s3://bucket/prefix (default data/<set>)"
    )
    given = parser.parse_args(arguments)
    folder = given.folder or storage.join("data", given.set)
    try:
        number = write_set(given.set, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    if number:
        print(f"{number:,} images of {given.set} written to {folder}")
    else:
        print(f"{folder} holds {given.set} already")
    return 0


if __name__ == "__main__":
    sys.exit(main())
