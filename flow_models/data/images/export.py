"""Write an embedded image set as PNG files in the layout of data/README.md:
`make data-images SET=mnist`.

    python -m flow_models.data.images.export mnist data/mnist

The folder (or s3://bucket/prefix) holds train/<class>/00001.png, val/<class>/..., test/<class>/...
and SOURCE.txt, which is written last. A folder that has it is left as it is; any other that is not
empty is refused.
"""

import argparse
import io
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import embedded_images

_NOTE = "SOURCE.txt"


def png(image: np.ndarray) -> bytes:
    """A uint8 image [H, W, 1 or 3] as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


def write_set(name: str, folder: str) -> int:
    """Write all parts of an embedded set below `folder`; returns how many images were written, 0 if
    they were there.

    Raises:
      UserError: another name, something else in the folder, or a place that cannot be written.
    """
    from tqdm import tqdm

    data = embedded_images.load(name)
    note = f"{name}\n{data.source}\nlicence: {data.licence}\n"
    if not _is_free(folder, note):
        return 0
    jobs = [job for part in _parts(data) for job in _files(data.classes, *part)]
    with ThreadPoolExecutor(8) as pool:
        written = pool.map(
            lambda job: storage.write_bytes(storage.join(folder, *job[0]), png(job[1])), jobs
        )
        list(tqdm(written, "writing images", len(jobs), disable=None, delay=1))
    storage.write_bytes(storage.join(folder, _NOTE), note.encode())
    return len(jobs)


def _parts(data):
    return (
        ("train", data.examples, data.example_labels),
        ("val", data.validation, data.validation_labels),
        ("test", data.test, data.test_labels),
    )


def _files(classes, part: str, images: np.ndarray, labels: np.ndarray):
    """((part, class, file), image) of each image, numbered from 1."""
    rows = enumerate(zip(images, labels), 1)
    return [((part, classes[label], f"{number:05d}.png"), image) for number, (image, label) in rows]


def _is_free(folder: str, note: str) -> bool:
    """Whether the set is still to be written here. Raises UserError where something else lies."""
    place = storage.join(folder, _NOTE)
    if storage.exists(place) and storage.read_bytes(place) == note.encode():
        return False
    if storage.exists(folder) and next(_anything(folder), None) is not None:
        raise UserError(
            f"{folder} is not empty: choose another folder (OUT=...), or empty it first"
        )
    return True


def _anything(folder: str):
    """Locations below a folder; none where the prefix is empty."""
    below = not storage.is_s3(folder) or storage.exists(folder.rstrip("/") + "/")
    return storage.list_prefix(folder) if below else iter(())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make data-images", description="write an embedded image set as PNG files"
    )
    parser.add_argument("set", help=", ".join(embedded_images.names()))
    parser.add_argument(
        "folder", nargs="?", help="a folder or s3://bucket/prefix (default data/<set>)"
    )
    given = parser.parse_args(arguments)
    folder = given.folder or storage.join("data", given.set)
    try:
        number = write_set(given.set, folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{number:,} images of {given.set} written to {folder}"
        if number
        else f"{folder} holds {given.set} already"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
