"""Maps of where pictures are strange, of the command `score --maps FOLDER`: for each picture its
map as an array and over the picture as PNG, and a figure of the strangest beside the most usual."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError

STRANGE, USUAL = 8, 3  # pictures of the figure
FIGURE = "strangest.png"
WIDE = 256  # pixels, at least, of the PNG of a map


class _Seen(NamedTuple):
    score: float
    name: str
    image: np.ndarray
    map: np.ndarray


class MapFolder:
    """A folder or s3:// prefix that gets the maps of pictures as they come.

    Args:
      place: of the folder.
      data: the folder that the pictures come from, which their names begin with.
    """

    def __init__(self, place: str, data: str):
        storage.check_target(storage.join(place, FIGURE))
        self._place, self._data, self._names = place, data, set[str]()
        self._top: float | None = None  # of the maps' scale, by the first pictures
        self._strange: list[_Seen] = []
        self._usual: list[_Seen] = []

    def add(
        self,
        names: Sequence[str],
        images: np.ndarray,
        maps: np.ndarray,
        scores: Mapping[str, np.ndarray],
    ) -> None:
        """Writes NAME.npy, float32 [H, W], and NAME.png of each picture, all on one scale."""
        from flow_models.plots.maps import SCALE

        self._top = float(np.quantile(maps, SCALE)) if self._top is None else self._top
        for name, image, each in zip(names, images, maps, strict=True):
            stem = storage.join(self._place, self._stem(name))
            storage.write_bytes(f"{stem}.npy", _npy(each.astype(np.float32)))
            storage.write_bytes(f"{stem}.png", _png(image, each, self._top))
        from flow_models.diagnostics import anomaly

        ranking = np.nan_to_num(scores[anomaly.best(scores)], nan=np.inf)
        seen = [*self._strange, *self._usual, *map(_Seen, ranking, names, images, maps)]
        seen.sort(key=lambda one: one.score)
        self._strange = seen[: -STRANGE - 1 : -1]
        self._usual = seen[: max(0, min(USUAL, len(seen) - STRANGE))]

    def close(self) -> None:
        """Writes the figure."""
        from flow_models.plots import anomaly_maps

        if not self._strange:
            return
        both = [*self._strange, *self._usual]
        figure = anomaly_maps(
            np.stack([one.image for one in both]),
            np.stack([one.map for one in both]),
            "The strangest pictures and, apart, the most usual ones; where each is strange",
            [f"{_short(one.name)}\n{one.score:.4g}" for one in both],
            len(self._usual),
        )
        file = io.BytesIO()
        figure.savefig(file, dpi=150)
        storage.write_bytes(storage.join(self._place, FIGURE), file.getvalue())

    def _stem(self, name: str) -> str:
        """The way to the picture below the folder of the data."""
        below = storage.below(name, self._data).lstrip("/") or name.rpartition("/")[2]
        stem = below if below != name else name.lstrip("/")
        if stem in self._names:
            raise UserError(f"{name}: a second picture of this name; its map would overwrite one")
        self._names.add(stem)
        return stem


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _png(image: np.ndarray, found: np.ndarray, top: float) -> bytes:
    """The picture with its map as heat over it, beside the picture as it is."""
    from flow_models.data.images.export import png
    from flow_models.plots.images import shown
    from flow_models.plots.maps import heat

    both = np.concatenate([shown(image[None])[0], heat(image[None], found[None], top)[0]], 1)
    times = max(1, -(-WIDE // both.shape[1]))
    return png(both.repeat(times, 0).repeat(times, 1))


def _short(name: str) -> str:
    end = name.rpartition("/")[2]
    return end if len(end) <= 16 else f"…{end[-15:]}"
