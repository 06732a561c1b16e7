"""Pictures of the user's for a model, batch by batch; one that cannot be read has a row too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from flow_models.core.errors import warn
from flow_models.data.images.dataset import UNREADABLE, Skipped

Columns = Mapping[str, Sequence | np.ndarray]


class _Unreadable(Skipped):
    """Notes unreadable pictures until their rows are written; keeps the first alone."""

    def __init__(self):
        super().__init__()
        self._waiting: list[tuple[str, str]] = []

    def add(self, kind: str, uri: str, reason: str) -> None:
        self.counts[kind] += 1
        self.examples = self.examples or [(kind, uri, reason)]
        self._waiting.append((uri, reason))

    def taken(self) -> list[tuple[str, str]]:
        found, self._waiting = self._waiting, []
        return found


def rows(
    codec,
    given,
    what: str,
    of_batch: Callable[[Sequence[str], np.ndarray], Mapping[str, np.ndarray]],
) -> Iterator[Columns]:
    """`name`, what `of_batch` gives of names and pixels uint8 [n, H, W, C], and `error`, in parts:
    first the pictures of a batch, then those around it that cannot be read.

    Args:
      codec: the model's `Pixels`; pictures are resized as in training.
      given: arguments of the command, of which `data`, `max_bad`, `csv` and `share` count.
      what: is done, for the progress bar.

    Raises:
      UserError: no picture can be read, or more than `max_bad` cannot.
    """
    from tqdm import tqdm

    log, readable, keys = _Unreadable(), 0, []
    most = np.inf if given.max_bad is None else given.max_bad
    batches = codec.read(given.data, max_bad=most, log=log, share=given.share)
    with tqdm(desc=what, unit=" pictures", disable=None, delay=2) as bar:
        for names, images in batches:
            columns = of_batch(names, images)
            keys, readable = list(columns), readable + len(names)
            yield _with_errors(names, columns, log.taken())
            bar.update(len(names))
    if rest := log.taken():
        yield _with_errors([], dict.fromkeys(keys, np.empty(0)), rest)
    if number := log.counts[UNREADABLE]:
        warn(
            f"{number:,} of {number + readable:,} pictures could not be read, see the column"
            f" `error` of {given.csv}; the first: {log.first(UNREADABLE)}"
        )


def _with_errors(names: list[str], columns: Columns, bad: list[tuple[str, str]]) -> Columns:
    """Rows of pictures, and further ones, with no numbers, of those that cannot be read."""
    longer = {
        key: np.append(values, np.full(len(bad), np.nan))
        if np.asarray(values).dtype.kind == "f"
        else [*values, *[""] * len(bad)]
        for key, values in columns.items()
    }
    errors = [""] * len(names) + [reason for _, reason in bad]
    return {"name": [*names, *(uri for uri, _ in bad)], **longer, "error": errors}
