"""Pictures changed by a model: an attribute, a hole filled, details drawn, strange ones made usual.

    python -m flow_models edit runs/flowmodels2/latest a.png --attribute photos/thin photos/fat
    python -m flow_models edit runs/flowmodels2/latest photos/ --inpaint mask.png -n 4
    python -m flow_models edit runs/flowmodels2/latest photos/ --box 8,8,20,20
    python -m flow_models edit runs/flowmodels2/latest small.png --super-resolve
    python -m flow_models edit runs/flowmodels2/latest strange/ --project

Pictures are brought to the model's size and colour. The figure has a row for each of the first 12;
--folder gets all of them, a PNG each. In models with classes a picture is of its most probable
class, or of --class. --attribute adds the mean latent of the second folder minus that of the first,
by the strengths of --strengths. --inpaint and --box draw the pixels of the hole given the others,
by Hamiltonian Monte Carlo in latent space. --super-resolve keeps the coarse latents and draws the
fine ones. --project shrinks the latents until -log p is that of a usual picture.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from itertools import islice

import numpy as np

from flow_models.commands import seed
from flow_models.commands.sample import check_class
from flow_models.core.errors import UserError, warn

SHOWN = 12  # rows of the figure
MOST = 256  # pictures that are edited
ATTRIBUTE = 1000  # pictures of a folder whose mean latent counts
KNOWN = 128  # samples whose -log p stands for usual pictures, where a run has no reference

Rows = Mapping[str, np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", metavar="PICTURES", help="a picture, or a folder or prefix of them")
    ways = parser.add_mutually_exclusive_group(required=True)
    ways.add_argument(
        "--attribute",
        nargs=2,
        metavar=("WITHOUT", "WITH"),
        help="two folders: pictures without and with what is to change",
    )
    ways.add_argument("--inpaint", metavar="MASK", help="white in the hole, of the pictures' size")
    ways.add_argument(
        "--box", metavar="T,L,B,R", help="the hole: rows T to B and columns L to R, from 0"
    )
    ways.add_argument(
        "--super-resolve", action="store_true", help="draw the details of the finest level"
    )
    ways.add_argument("--project", action="store_true", help="to the nearest usual picture")
    parser.add_argument(
        "--strengths",
        type=_numbers,
        default=(-1.0, -0.5, 0.0, 0.5, 1.0),
        metavar="S,S,...",
        help="of the attribute (default -1,-0.5,0,0.5,1; write --strengths=-1,0,1)",
    )
    parser.add_argument("-n", type=int, default=4, metavar="N", help="draws a picture (default 4)")
    parser.add_argument(
        "--steps", type=int, default=300, metavar="N", help="of the chains (default 300)"
    )
    parser.add_argument(
        "--levels", type=int, default=1, metavar="N", help="finest ones that are drawn (default 1)"
    )
    parser.add_argument(
        "--png", metavar="FILE", default="edited.png", help="the figure (default edited.png)"
    )
    parser.add_argument("--folder", metavar="FOLDER", help="a PNG for each edited picture")
    parser.add_argument(
        "--class", dest="label", metavar="NAME", help="of all pictures (default: the most probable)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="equal seeds, equal draws (default 0)")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        found = tuple(float(each) for each in text.split(","))
        if not np.isfinite(found).all():
            raise ValueError
        return found
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers, as in -1,0,1") from None


def run(given: argparse.Namespace) -> None:
    if min(given.n, given.steps, given.levels) < 1:
        raise UserError("-n, --steps and --levels must be at least 1")
    import flow_models as fm
    from flow_models.core import storage
    from flow_models.models import editing

    model = fm.load(given.model)
    editing.refuse_others(model)
    check_class(given, model)
    storage.check_target(given.png)
    if given.folder:
        storage.check_target(storage.join(given.folder, "001.png"))
    names, images = _read(model, given.data, MOST)
    given.names = names
    edited, before, title, notes = _way(given)(given, model, images)
    figure = _figure(names, before, edited, title, notes)
    storage.write_bytes(given.png, figure)
    if given.folder:
        _write(given.folder, names, edited)
    print(f"{len(images)} pictures, {title}: {given.png}")


def _way(given) -> Callable:
    if given.attribute:
        return _attribute
    if given.inpaint is not None or given.box is not None:  # an empty one is a mistake
        return _inpaint
    return _redraw if given.super_resolve else _project


def _attribute(given, model, images):
    from flow_models.models import editing

    ends = (_read(model, folder, ATTRIBUTE)[1] for folder in given.attribute)
    direction = editing.attribute(model, *ends)
    edited = editing.along(model, images, direction, given.strengths, given.label)
    notes = ["picture", *(f"{each:g}" for each in given.strengths)]
    return edited, images[:, None], "latents moved along an attribute", notes


def _inpaint(given, model, images):
    from flow_models.models import inpainting

    hole = _box(given, model) if given.inpaint is None else _mask(given, model)
    options = {"label": given.label, "seed": given.seed}
    edited = inpainting.inpainted(model, images, hole, given.n, given.steps, **options)
    masked = np.where(hole[:, :, None], np.uint8(128), images)
    notes = ["picture", "known", *(f"draw {each}" for each in range(1, given.n + 1))]
    return edited, np.stack([images, masked], 1), "holes filled by HMC in latent space", notes


def _redraw(given, model, images):
    from flow_models.models import editing

    options = {"label": given.label, "seed": given.seed}
    edited = editing.redrawn(model, images, given.n, given.levels, **options)
    notes = ["picture", *(f"draw {each}" for each in range(1, given.n + 1))]
    return edited, images[:, None], "fine latents drawn anew", notes


def _project(given, model, images):
    from flow_models.models import editing

    found = editing.projected(model, images, _usual(given, model), given.label)
    changed = np.abs(found.images.astype(int) - images).astype(np.uint8)
    for row, (s, before, after) in enumerate(zip(found.shrinkage, found.before, found.after)):
        print(f"{row + 1}: latents times {s:.2f}, -log p from {before:.1f} to {after:.1f} nats")
    shown = np.stack([images, changed], 1)
    return found.images[:, None], shown, "usual pictures nearby", ["picture", "changed", "usual"]


def _usual(given, model) -> float:
    """The median -log p of the known pictures of the run, or else of samples."""
    from flow_models.core import storage
    from flow_models.models.detector import load_detector

    if storage.exists(f"{given.model.rstrip('/')}/reference/reference.json"):
        known = load_detector(given.model, jit=False).reference["nll"]
    else:
        known = -model.log_prob(model.sample(KNOWN, seed=given.seed))
    return float(np.median(known))


def _read(model, uri: str, most: int) -> tuple[list[str], np.ndarray]:
    """The first pictures below a place, uint8 [n, H, W, C] in the model's shape, and their
    names."""
    from flow_models.data.images.dataset import UNREADABLE, Skipped

    log, batches = Skipped(), -(-(most + 1) // 64)
    found = list(islice(model.codec.read(uri, log=log), batches))
    names, images = [name for some, _ in found for name in some], [some for _, some in found]
    if log.counts[UNREADABLE]:
        warn(f"{uri}: a picture is left out: {log.first(UNREADABLE)}")
    if len(names) > most:
        warn(f"{uri} has more pictures than the {most} that are taken, the first by name")
    return names[:most], np.concatenate(images)[:most]


def _mask(given, model) -> np.ndarray:
    """The hole [H, W] of a picture."""
    if not given.inpaint:
        raise UserError("--inpaint is empty; a picture that is white in the hole is expected")
    (name, *others), (mask, *_) = _read(model, given.inpaint, 2)
    if others:
        raise UserError(f"{given.inpaint}: one picture is expected, this is a folder of them")
    _check_size(name, given.names, model.event_shape[:2])
    return mask.mean(-1) > 127


def _check_size(mask: str, names: list[str], size: tuple[int, ...]) -> None:
    """Raises UserError where the mask has neither the model's size nor that of the pictures, as it
    is cropped like these."""
    from flow_models.core import storage
    from flow_models.data.images.reading import header

    measured = lambda name: header(storage.read_bytes(name))[:2]
    found = measured(mask)
    wrong = (each for each in names if not storage.exists(each) or measured(each) != found)
    if found != size and (other := next(wrong, None)):
        raise UserError(
            f"{mask} has {found[0]}x{found[1]} pixels (height x width); give a mask of the size of"
            f" {other}, or of the model's, {size[0]}x{size[1]}"
        )


def _box(given, model) -> np.ndarray:
    """The hole [H, W] of --box T,L,B,R."""
    height, width = model.event_shape[:2]
    try:
        top, left, bottom, right = (int(each) for each in given.box.split(","))
    except ValueError:
        raise UserError(f"--box is {given.box!r}; four whole numbers are expected: T,L,B,R") from (
            None
        )
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise UserError(f"--box {given.box} does not lie within {height} rows, {width} columns")
    hole = np.zeros((height, width), bool)
    hole[top:bottom, left:right] = True
    return hole


def _figure(names, before, edited, title, notes) -> bytes:
    """A PNG with a row for each of the first pictures: as they are, and edited."""
    import io

    from flow_models import plots

    rows = {
        f"{number}. {plots.plain(name.rpartition('/')[2][-16:])}": np.concatenate([one, other])
        for number, (name, one, other) in enumerate(zip(names, before, edited), 1)
        if number <= SHOWN
    }
    file = io.BytesIO()
    plots.image_rows(rows, title[:1].upper() + title[1:], notes).savefig(file, format="png")
    return file.getvalue()


def _write(folder: str, names: list[str], edited: np.ndarray) -> None:
    """A PNG for each edited picture: its number, its name, and the number of the draw."""
    from flow_models.core import storage
    from flow_models.data.images.export import png

    for number, (name, images) in enumerate(zip(names, edited), 1):
        stem = name.rpartition("/")[2].rpartition(".")[0] or "picture"
        for draw, image in enumerate(images, 1):
            ending = f"_{draw}" if len(images) > 1 else ""
            storage.write_bytes(
                storage.join(folder, f"{number:03d}_{stem}{ending}.png"), png(image)
            )
