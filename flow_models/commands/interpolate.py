"""From one picture to another through the latents of a model: a strip of pictures as a PNG.

    python -m flow_models interpolate runs/flowmodels2/latest a.png b.png --png between.png

The pictures are brought to the model's size and colour. Upper row: on the circle that keeps the
latents' length; with --kind linear on the straight line, with --kind both on both.
"""

from __future__ import annotations

import argparse

import numpy as np

from flow_models.core.errors import UserError

KINDS = {"spherical": ("spherical",), "linear": ("linear",), "both": ("spherical", "linear")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", metavar="A", help="a picture, local or s3://")
    parser.add_argument("last", metavar="B", help="another one")
    parser.add_argument(
        "--png",
        default="interpolated.png",
        metavar="FILE",
        help="where the strip goes (default interpolated.png)",
    )
    parser.add_argument(
        "--steps",
        type=int,
        default=9,
        metavar="N",
        help="pictures from A to B, both included (default 9)",
    )
    parser.add_argument(
        "--kind",
        choices=tuple(KINDS),
        default="spherical",
        help="the way through latent space (default spherical)",
    )


def run(given: argparse.Namespace) -> None:
    if given.steps < 2:
        raise UserError(f"--steps is {given.steps}, must be at least 2: A and B are among them")
    import flow_models as fm
    from flow_models.commands.sample import sheet
    from flow_models.core import storage
    from flow_models.data.images.export import png
    from flow_models.diagnostics import generation

    model = fm.load(given.model)
    if len(model.event_shape) != 3:
        raise UserError(f"{given.model} holds a model of vectors; interpolate needs one of images")
    first, last = (_picture(uri, model) for uri in (given.first, given.last))
    rows = [
        generation.interpolated(model, first, last, given.steps, kind)[0]
        for kind in KINDS[given.kind]
    ]
    storage.write_bytes(given.png, png(sheet(np.concatenate(rows), given.steps)))
    print(f"{given.steps} pictures from {given.first} to {given.last} in {given.png}")


def _picture(uri: str, model) -> np.ndarray:
    """One picture uint8 [1, H, W, C] in the model's shape."""
    pictures = [image for _, batch in model.codec.read(uri) for image in batch[:2]]
    if len(pictures) != 1:
        raise UserError(f"{uri}: one picture is expected, this is a folder of them")
    return np.stack(pictures)
