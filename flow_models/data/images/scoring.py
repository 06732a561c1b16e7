"""Pictures to be scored, a batch at a time: a folder of any length needs the memory of a few
batches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.data.images import embedded_images
from flow_models.data.images.listing import SUFFIXES, SkipLog
from flow_models.data.images.parts import as_channels, as_crop, as_pair
from flow_models.data.images.reading import BadImage, Rule, bounded_map, read, refit

_READERS = 16


def read_images(
    uri: str,
    size: int | tuple[int, int],
    channels: int,
    *,
    crop: str = "center",
    batch_size: int = 64,
    max_bad: int = 10,
    log: SkipLog | None = None,
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Pictures to be scored: (locations, uint8 [n, H, W, C]) in batches, the last one smaller, in
    the order of names.

    `uri` is a folder or prefix, one picture, or an embedded set, of which the test part is given.
    Nothing is kept: the listing goes on while pictures are read. What is left out is noted in
    `log`.

    Raises:
      UserError: nothing there, or more than `max_bad` unreadable pictures.
    """
    rule = Rule(*as_pair(size), as_channels(channels), as_crop(crop))
    found = (
        _embedded_pictures(uri, rule)
        if uri in embedded_images.names()
        else _pictures(uri, rule, max_bad, log)
    )
    names, images = [], []
    for name, image in found:
        names.append(name)
        images.append(image)
        if len(names) == batch_size:
            yield names, np.stack(images)
            names, images = [], []
    if names:
        yield names, np.stack(images)


def _embedded_pictures(name: str, rule: Rule) -> Iterator[tuple[str, np.ndarray]]:
    data = embedded_images.load(name)
    for number, (image, label) in enumerate(zip(refit(data.test, rule), data.test_labels), 1):
        yield f"{name}/test/{data.classes[label]}/{number:05d}.png", image


def _pictures(
    uri: str, rule: Rule, max_bad: int, log: SkipLog | None
) -> Iterator[tuple[str, np.ndarray]]:
    log, any_ = log or SkipLog(), False
    one = uri.lower().endswith(SUFFIXES) and (
        storage.is_s3(uri) or not os.path.isdir(storage.local_path(uri))
    )
    uris = [uri] if one else storage.list_prefix(uri, SUFFIXES)
    with ThreadPoolExecutor(_READERS) as pool:
        for name, image in bounded_map(
            pool, lambda each: (each, read(each, rule)), uris, 4 * _READERS
        ):
            if isinstance(image, BadImage):
                log.add("unreadable", name, str(image))
                if one:
                    raise UserError(f"{name}: {image}")
                log.check("unreadable", max_bad)
            else:
                any_ = True
                yield name, image
    if not any_:
        raise UserError(f"{uri}: no readable picture here (.png, .jpg, .jpeg)")
