"""Pictures to be scored, a batch at a time: a folder of any length needs the memory of a few
batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.share import WHOLE, Share
from flow_models.data.images import embedded
from flow_models.data.images.dataset import UNREADABLE, Skipped
from flow_models.data.images.depth import Range
from flow_models.data.images.layout import wanted
from flow_models.data.images.listing import SUFFIXES
from flow_models.data.images.reading import BadImage, Rule, bounded_map, read, refit

_READERS = 16


def read_images(
    uri: str,
    size: int | tuple[int, int],
    channels: int,
    *,
    crop: str = "center",
    depth: Range | None = None,
    batch_size: int = 64,
    max_bad: float = 10,
    log: Skipped | None = None,
    share: Share = WHOLE,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Batches (locations, uint8 [n, H, W, C]) in the order of names, the last one smaller.

    `uri` is a folder or prefix, one picture, or an embedded set, of which the test part is given.
    The listing goes on while pictures are read. What is left out is noted in `log`. `depth` is the
    range of values of more than 8 bits. `Pixels.read` has size, colour and range of a model.
    `share` takes part of the files below a folder, maybe none.

    Raises:
      UserError: nothing there, or more than `max_bad` unreadable pictures.
    """
    rule = replace(wanted(size, channels, crop).rule(), depth=depth)
    if uri in embedded.names():
        share.refuse_one(uri)
        pictures = _embedded_pictures(uri, rule)
    else:
        pictures = _pictures(uri, rule, max_bad, log or Skipped(), share)
    while batch := list(islice(pictures, batch_size)):
        names, images = zip(*batch)
        yield list(names), np.stack(images)


def _embedded_pictures(name: str, rule: Rule) -> Iterator[tuple[str, np.ndarray]]:
    data = embedded.load(name)
    images, labels = data.held_out
    for number, (image, label) in enumerate(zip(refit(images, rule), labels), 1):
        yield f"{name}/test/{data.classes[label]}/{number:05d}.png", image


def _pictures(
    uri: str, rule: Rule, max_bad: float, log: Skipped, share: Share
) -> Iterator[tuple[str, np.ndarray]]:
    folder = not storage.is_s3(uri) and os.path.isdir(storage.local_path(uri))
    one = uri.lower().endswith(SUFFIXES) and not folder
    if one:
        share.refuse_one(uri)
    uris, found = [uri] if one else share.of_files(uri, SUFFIXES), False
    with ThreadPoolExecutor(_READERS) as pool:
        for name, image in bounded_map(
            pool, lambda each: (each, read(each, rule)), uris, 4 * _READERS
        ):
            if not isinstance(image, BadImage):
                found = True
                yield name, image
            elif one:
                raise UserError(f"{name}: {image}")
            else:
                log.add_unreadable(name, str(image), max_bad)
    if not found and share == WHOLE:
        raise UserError(f"{uri}: no readable picture here ({', '.join(SUFFIXES)}){_first(log)}")


def _first(log: Skipped) -> str:
    number = log.counts[UNREADABLE]
    return f"; {number} unreadable, the first: {log.first(UNREADABLE)}" if number else ""
