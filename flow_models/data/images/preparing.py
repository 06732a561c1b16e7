"""Part i of n of the pictures below a folder or prefix, decoded into shards that training reads
without listing or decoding anything."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import compress, islice
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.inventory import Inventory
from flow_models.core.share import Share
from flow_models.data.images.dataset import Skipped
from flow_models.data.images.layout import Wanted, find_parts, find_rule, in_held_out
from flow_models.data.images.listing import ALL, ImageFiles, list_images
from flow_models.data.images.reading import BadImage, Rule, bounded_map, read
from flow_models.data.shards import files as shard_files
from flow_models.data.shards.folder import SHARD_BYTES, SPLITS, Part, refuse_inside

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "pictures"
_READERS = 16
Listing = list[tuple[str, str, str]]  # split, class and place of each picture, in order


@dataclasses.dataclass(frozen=True)
class Preparation:
    """What becomes of pictures.

    Attributes:
      source: a folder or prefix, of classes, of pictures, or of train, val and test.
      shape: size and colour as asked for.
      classes: to take; None for all.
      seed: which pictures are held out where there is no val: a tenth.
      max_bad: more unreadable pictures than this end a part.
      listing: a list of the pictures, see `Inventory`; empty lists the source.
    """

    source: str
    shape: Wanted
    classes: Sequence[str] | None = None
    seed: int = 0
    max_bad: int = 10
    listing: str = ""

    @property
    def settings(self) -> dict:
        """What must be equal in all parts."""
        size, channels, crop = self.shape.size, self.shape.channels, self.shape.crop
        shape = {"size": size, "channels": channels, "crop": crop}
        in_s3 = storage.is_s3(self.source)
        source = self.source.rstrip("/") if in_s3 else os.path.abspath(self.source)
        chosen = {"classes": self.classes, "seed": self.seed, "listing": self.listing}
        return {"source": source, **shape, **chosen}

    @property
    def inventory(self) -> Inventory | None:
        """The list of the pictures, where one is given."""
        return Inventory(self.listing, self.source) if self.listing else None


def prepare(asked: Preparation, folder: str, share: Share, progress: bool = True) -> str:
    """Decodes a part into shards; shards that are there are left. Returns what was done, in words.

    Raises:
      UserError: no pictures, pictures that do not fit, or a folder of other ones.
    """
    refuse_inside(folder, asked.source, KIND)
    part = Part(folder, share, KIND, asked.settings)
    if part.is_done:
        part.finish()
        return f"part {share.number} of {share.parts} is there already"
    listing = storage.join(folder, "listings", f"{share.name}.parquet")
    if part.found is None:
        rule, pictures = _listed(asked, share, progress)
        shard_files.write(listing, _table(pictures))
        classes = sorted({name for _, name, _ in pictures})
        rows = len(pictures)
        part.begin({"rule": dataclasses.asdict(rule), "_classes": classes, "_rows": rows})
    else:
        pictures = _kept(listing, part.found["_rows"])
    _decode(part, pictures, rule_of(part.found["rule"]), asked.max_bad, progress)
    last = part.finish()
    said = f"{part.rows():,} pictures of part {share.number} of {share.parts} are in {folder}"
    left_out = f", {len(part.notes()):,} unreadable ones left out" if part.notes() else ""
    return f"{said}{left_out}" + ("; all parts are done" if last else "")


def rule_of(found: dict) -> Rule:
    """A rule as an index has it."""
    return Rule(**{**found, "depth": found["depth"] and tuple(found["depth"])})


def _listed(asked: Preparation, share: Share, progress: bool) -> tuple[Rule, Listing]:
    """The rule of all pictures, and those of this part: split by split, each by a hash of the
    names."""
    train, val, test = find_parts(asked.source, None)
    log = Skipped()
    inventory = asked.inventory
    files = list_images(train, log, asked.classes, progress, share, inventory)
    rule, mine = find_rule(files, asked.shape), _of_part(files, share)
    held = in_held_out(mine.rows["order"], asked.seed) & (val is None)
    found = {"train": mine.take(~held), "validation": mine.take(held)}
    for split, uri in (("validation", val), ("test", test)):
        if uri is not None:
            one = files.classes == (ALL,)
            there = None if one else _present(uri, files.classes)
            listed = _of_part(list_images(uri, log, there, progress, share, inventory), share)
            found[split] = listed.as_one_class() if one else listed
    return rule, [each for split in SPLITS if split in found for each in _rows(split, found[split])]


def _present(uri: str, classes: Sequence[str]) -> list[str]:
    present = [name for name in classes if storage.exists(storage.join(uri, name, ""))]
    if not present:
        raise UserError(f"{uri}: none of the classes {', '.join(classes)}")
    return present


def _of_part(files: ImageFiles, share: Share) -> ImageFiles:
    names = (files.uri(row)[len(files.root) :] for row in range(len(files)))
    return files.take(np.fromiter(map(share.has, names), bool, len(files)))


def _rows(split: str, files: ImageFiles) -> Iterator[tuple[str, str, str]]:
    for row in np.argsort(files.rows["order"], kind="stable"):
        yield split, files.classes[files.labels[row]], files.uri(int(row))


def _table(pictures: Listing, images: np.ndarray | None = None) -> pa.Table:
    """Pictures as columns: split, class, place and, where they are decoded, pixels."""
    import pyarrow as pa

    columns = zip(*pictures) if pictures else ((), (), ())
    names = ("split", "class", "name")
    made = {
        name: pa.array(list(map(os.fsencode, each)), pa.binary())
        for name, each in zip(names, columns)
    }
    if images is not None:
        size = int(np.prod(images.shape[1:]))
        pixels = pa.py_buffer(np.ascontiguousarray(images))
        made["image"] = pa.Array.from_buffers(pa.binary(size), len(images), [None, pixels])
    return pa.table(made)


def _kept(listing: str, rows: int) -> Listing:
    table = shard_files.read(listing, rows)
    columns = ([os.fsdecode(each) for each in column.to_pylist()] for column in table.columns)
    return list(zip(*columns))


def _decode(part: Part, pictures: Listing, rule: Rule, max_bad: int, progress: bool) -> None:
    """Makes the shards that are missing. While one is written, the next is decoded."""
    from tqdm import tqdm

    log, quiet = Skipped(), None if progress else True
    for uri, reason in part.notes():
        log.add_unreadable(uri, reason, max_bad)
    left = [each for each in _shards(pictures, rule) if not part.has(*each[:2])]
    uris = [uri for _, _, some in left for _, _, uri in some]
    bar = tqdm(total=len(uris), desc="preparing", unit=" images", disable=quiet, delay=2)
    threads = max(_READERS, 2 * (os.cpu_count() or 1))
    with bar, ThreadPoolExecutor(threads) as pool, ThreadPoolExecutor(1) as writer:
        decoded = bounded_map(pool, lambda uri: read(uri, rule), uris, 4 * threads)
        written: Future = writer.submit(int)
        for split, number, some in left:
            table, bad = _shard(some, list(islice(decoded, len(some))), rule)
            for uri, reason in bad:
                log.add_unreadable(uri, reason, max_bad)
            written.result()
            written = writer.submit(part.add, split, number, table, bad, ("image",))
            bar.update(len(some))
        written.result()


def _shard(pictures: Listing, images: list, rule: Rule) -> tuple[pa.Table, list[tuple[str, str]]]:
    """The readable pictures as a table, and the others with the reason."""
    good = [not isinstance(image, BadImage) for image in images]
    pixels = np.array(list(compress(images, good)), np.uint8).reshape(-1, *rule.shape)
    bad = [(uri, str(image)) for (*_, uri), image, fine in zip(pictures, images, good) if not fine]
    return _table(list(compress(pictures, good)), pixels), bad


def _shards(pictures: Listing, rule: Rule) -> Iterator[tuple[str, int, Listing]]:
    """Split, number and pictures of each shard; those of a split are of nearly equal size."""
    most = max(1, SHARD_BYTES // rule.image_bytes)
    for split in SPLITS:
        some = [each for each in pictures if each[0] == split]
        cuts = np.linspace(0, len(some), -(-len(some) // most) + 1).astype(int)
        for number, (start, end) in enumerate(zip(cuts, cuts[1:])):
            yield split, number, some[start:end]
