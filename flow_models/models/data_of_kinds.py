"""Data y of a posterior whose columns are of several kinds, as inputs of a network."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.atoms import Atom
from flow_models.models.categories import Categorical
from flow_models.models.circular import Circular
from flow_models.models.codecs import Encoded
from flow_models.models.columns import Columns
from flow_models.models.kinds import Kind
from flow_models.models.problem import Data
from flow_models.models.rows import by_name
from flow_models.models.whole import Count, Integer


@dataclasses.dataclass(frozen=True)
class DataOfKinds(Data):
    """Data y [..., M] of a table; the network sees features [..., C] of them (see `features`).

    Attributes:
      simulator: its data are the features.
      kept: prepared numbers [K, M] of data of the prior (see `Columns.prepare`).
      table: names and kinds of the columns.
    """

    table: Columns = Columns(())

    @property
    def shape(self):
        return (len(self.table.names),)

    @property
    def padded_shape(self):
        return (self.simulator.data_size,)

    @property
    def columns(self):
        return self.table.names

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Of the columns."""
        return self.table.kinds

    @property
    def is_plain(self) -> bool:
        """Whether all columns are numbers."""
        return self.table.is_plain

    @property
    def of_prior(self):
        """The kept data as the user has them, objects [K, M]."""
        columns = [
            kind.decode(np.asarray(kind.placed(self.kept[:, i], np.float32(0.5))))
            for i, kind in enumerate(self.table.kinds)
        ]
        return np.stack([np.asarray(column).astype(object) for column in columns], 1)

    @property
    def kept_rows(self):
        return features(self.table, self.kept)

    def encode(self, values, dtype, seed=0):
        """Features.

        Raises:
          UserError: values of another shape, missing ones, and categories that were not there in
            training.
        """
        values = by_name(values, self.columns, "y")
        if values.ndim == 0 or values.shape[-1] != len(self.columns):
            raise UserError(
                f"y must have shape [..., {len(self.columns)}] ({', '.join(self.columns)}), got"
                f" {list(values.shape)}"
            )
        prepared = self.table.prepare(values.reshape(-1, len(self.columns)))
        return Encoded(features(self.table, prepared).astype(dtype), values.shape[:-1])


def features(table: Columns, prepared: np.ndarray) -> np.ndarray:
    """Inputs of a network [N, C] of prepared numbers [N, M].

    A category is one-hot (one column where there are two), an angle its cosine and sine, a count
    log(1 + k), an integer and a number with an atom asinh of the distance in spreads, the latter
    with a column that is 1 at the atom. Numbers and dates stay as they are.

    Raises:
      UserError: missing values and unknown categories, with column and row.
    """
    for name, kind, x in zip(table.names, table.kinds, prepared.T, strict=True):
        unknown = isinstance(kind, Categorical) & (x == _size(kind))
        for wrong, what in ((~np.isfinite(x), "no value"), (unknown, "an unknown category")):
            if wrong.any():
                raise UserError(f"y has {what} in column {name!r}, row {np.argmax(wrong)}")
    each = zip(table.kinds, prepared.T, strict=True)
    return np.concatenate([np.stack(_features(kind, x), 1) for kind, x in each], 1)


def names_of_features(table: Columns) -> list[str]:
    """What each feature is, in words."""
    found = []
    for name, kind in zip(table.names, table.kinds, strict=True):
        words = [name]
        if isinstance(kind, Categorical):
            words = [f"{name} = {value}" for value in kind.categories]
            words = words[1:] if len(words) == 2 else words
        elif isinstance(kind, Circular):
            words = [f"cos {name}", f"sin {name}"]
        elif isinstance(kind, Atom):
            words = [f"{name} = {kind.atom:g}", name]
        found += words
    return found


def _features(kind: Kind, x: np.ndarray) -> list[np.ndarray]:
    if isinstance(kind, Categorical):
        codes = range(_size(kind))
        return [(x == code).astype(x.dtype) for code in (codes[1:] if len(codes) == 2 else codes)]
    if isinstance(kind, Circular):
        return [np.cos(2 * math.pi * x), np.sin(2 * math.pi * x)]
    if isinstance(kind, Atom):
        return [(x == 0).astype(x.dtype), np.arcsinh(x)]
    if isinstance(kind, Count):
        return [np.log1p(np.maximum(x, 0))]
    if isinstance(kind, Integer):
        return [np.arcsinh((x - kind.centre) / kind.scale)]
    return [x]


def _size(kind: Kind) -> int:
    """How many categories there are; -1 where there are none."""
    return len(kind.categories) if isinstance(kind, Categorical) else -1
