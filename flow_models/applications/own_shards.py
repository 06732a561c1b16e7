"""Pairs in shards that `simulate` made, in memory where they fit, else streamed from the shards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from flow_models.core.errors import UserError, warn
from flow_models.data.shards.folder import Prepared, Split
from flow_models.data.shards.reading import Arrays, Reader

if TYPE_CHECKING:
    import pyarrow as pa

    from flow_models.applications.own_pairs import OwnPairs
    from flow_models.data.shards.stream import EndlessBatches

KIND, FAILED = "pairs", "failed"
SAMPLE = 100_000  # pairs that names, scales, frames and starting weights are measured on
MEMORY = 1024  # MB of pairs that are read into memory


class PairShards:
    """The index of a folder of pairs.

    Attributes:
      about: what `simulate` was told and found.
      names, data_names: of the columns of x [N, P] and y [N, M].
      valid, failed: the shards of both.

    Raises:
      UserError: not all parts are done.
    """

    def __init__(self, folder: str):
        self.folder, self._index = folder, Prepared.read(folder, KIND)
        self.about = self._index.about
        self.names, self.data_names = tuple(self.about["names"]), tuple(self.about["data_names"])
        self.valid, self.failed = self._index.split("train"), self._index.split(FAILED)

    def __len__(self) -> int:
        """Valid pairs."""
        return len(self.valid)

    @property
    def pair_bytes(self) -> int:
        return 8 * (len(self.names) + len(self.data_names))

    def fits(self, memory_mb: float) -> bool:
        """Whether all pairs fit into so many MB."""
        return len(self) * self.pair_bytes <= memory_mb * 2**20

    def pairs(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y of the valid pairs `first` to `last` - 1, float64."""
        columns = [*self.names, *self.data_names]
        rows = _rows(self.valid, columns, numbers, first, last)
        both = rows[0] if rows else np.zeros((0, len(columns)))
        return both[:, : len(self.names)], both[:, len(self.names) :]

    def failures(self, last: int) -> tuple[np.ndarray, list[str]]:
        """Parameters [n, P] of the first failed simulations, and why they failed."""

        def decode(table):
            reasons = np.array(table[FAILED].to_pylist(), object)
            return numbers(table.drop_columns(FAILED)), reasons

        found = _rows(self.failed, [*self.names, FAILED], decode, 0, last)
        return (found[0], list(found[1])) if found else (np.zeros((0, len(self.names))), [])

    def batches(
        self, pairs: OwnPairs, rows: int, batch_size: int, seed: int, weights=None, check=None
    ) -> EndlessBatches:
        """Batches of blocks of the first `rows` pairs, whitened as `pairs` are.

        Args:
          weights: weights(x [n, P]) -> [n], with mean 1; None for equal ones.
          check: called with each theta [n, P]; raises UserError for those that may not be.
        """

        from flow_models.data.shards.stream import of_shards

        def decode(table: pa.Table) -> Arrays:
            both = numbers(table)
            x = both[:, : len(self.names)]
            blocks = pairs.blocks(x, both[:, len(self.names) :])
            if check is not None:
                check(blocks["x"])
            if weights is not None:
                blocks["weight"] = weights(x)[:, None].astype(np.float32)
            return tuple(blocks.values())

        widths = {"x": pairs.theta.shape[1], "y": pairs.y.shape[1]}
        widths |= {"weight": 1} if weights is not None else {}
        reader = Reader(self.valid, decode, [*self.names, *self.data_names])
        return of_shards(reader, widths, rows, batch_size, seed)


@dataclasses.dataclass(frozen=True)
class Streamed:
    """Pairs that do not fit in memory: the first ones are trained on, from the shards; of those
    behind them some are held out, and the last ones are left for a test.

    Attributes:
      memory: bytes, a quarter of which the held-out pairs may take.
      test: last pairs that are not looked at.
    """

    shards: PairShards
    memory: float
    test: int = 0

    def held(self, share: float) -> tuple[int, int]:
        """First and last of the pairs that training is watched on."""
        end = len(self.shards) - self.test
        most = int(self.memory / 4 / self.shards.pair_bytes)
        return end - max(1, min(int(share * end), most)), end


def opened(folder: str, memory_mb: float) -> tuple:
    """x, y and the names of both columns: arrays where they fit in so many MB; else x is a
    `Streamed` and y is None. Warns of simulations that failed."""
    shards = PairShards(folder)
    names = shards.names, shards.data_names
    if failed := len(shards.failed):
        warn(
            f"{failed:,} of {failed + len(shards):,} simulations of {folder} failed: they are left"
            " out, and the prior is that of the others"
        )
    if shards.fits(memory_mb):
        return *shards.pairs(0, len(shards)), *names
    return Streamed(shards, memory_mb * 2**20), None, *names


def refuse_copies(one: np.ndarray, other: np.ndarray) -> None:
    """Raises UserError where rows [n, P] of both are equal: in memory, pairs of equal parameters
    are held out together, which shards do not allow."""
    apart = sum(len(np.unique(each, axis=0)) for each in (one, other))
    if len(np.unique(np.concatenate([one, other]), axis=0)) < apart:
        raise UserError(
            "parameters of held-out pairs come again among those of training, as of a prior of few"
            " values: raise memory_limit_mb, for in memory all pairs of equal parameters are held"
            " out together"
        )


def numbers(table: pa.Table) -> np.ndarray:
    """Columns of numbers as an array [n, D]."""
    return np.stack([column.to_numpy() for column in table.columns], 1)


def _rows(split: Split, columns: Sequence[str], decode: Callable, first: int, last: int) -> Arrays:
    """Rows of a split; none where there are none."""
    as_arrays = lambda table: found if isinstance(found := decode(table), tuple) else (found,)
    return Reader(split, as_arrays, list(columns)).between(first, min(last, len(split)))
