"""The codec of tables: columns of several kinds, each as one number of the network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from flow_models.core import bounds
from flow_models.core.arrays import repeated_columns
from flow_models.core.errors import UserError
from flow_models.models import finding
from flow_models.models.arguments import generator
from flow_models.models.codecs import Codec, Encoded, Noise
from flow_models.models.kinds import Continuous, Kind
from flow_models.models.partition import Partition
from flow_models.models.rows import as_named, by_name, is_missing, numbers, rows_of


@dataclasses.dataclass(frozen=True)
class Columns(Codec):
    """Rows [..., D] of a table, a name and a kind a column.

    Without kinds, numbers go to the network as they are, or, where float32 needs it, less a centre
    and over a scale that `fit` measures. With kinds, values come and go as DataFrames (arrays
    [..., D] are taken too), and log p counts a density for each number, date and angle, and a
    probability for each category, count and atom. It is exact where the architecture is made for
    the kinds (`architectures.mixed`); the noise that whole numbers get does not change it.

    Attributes:
      names: of the columns, with units.
      argument: what messages call the values, x or y.
      kinds: one a column; empty for numbers of which nothing is known yet.
      identifiers: further columns that are kept beside a row and not learned.
    """

    names: tuple[str, ...]
    argument: str = "x"
    kinds: tuple[Kind, ...] = ()
    identifiers: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, frame, kinds: Mapping[str, str] | None = None, *, lower=None, upper=None
    ) -> Columns:
        """The columns of a DataFrame, with kinds as told by name or as found (`kinds_of`).

        Args:
          kinds: name -> categorical, count, integer, continuous, circular, date, atom or
            identifier; circular may have its period behind it and atom its value: "circular 24".
          lower, upper: bounds, a dictionary by name, or a list with one a column that is learned.

        Raises:
          UserError: no such column or kind, or values that do not fit it.

        Example:
          >>> columns = fm.Columns.of(frame, {"hour": "circular 24"})
        """
        frame = as_named(frame, [str(label) for label in frame.columns], "the table")
        found = finding.kinds_of(frame, kinds)
        learned = {name: kind for name, kind in found.items() if kind is not None}
        kept = tuple(name for name in found if name not in learned)
        columns = cls(tuple(learned), "x", tuple(learned.values()), kept)
        return columns.bounded(lower, upper, frame)

    def bounded(self, lower=None, upper=None, frame=None) -> Columns:
        """The columns with bounds of those that are numbers, by name or one a column; whole numbers
        may lie on theirs, and categories, angles and dates have none.

        Args:
          frame: values, which tell from where numbers are counted.

        Raises:
          UserError: no such column, or bounds that do not fit.
        """
        if lower is None and upper is None:
            return self
        sides = zip(*bounds.of_columns(lower, upper, self.names), strict=True)
        kinds = self.kinds or (Continuous(),) * len(self.names)
        columns = [None if frame is None else frame[name].to_numpy() for name in self.names]
        each = zip(self.names, kinds, sides, columns, strict=True)
        found = tuple(_bounded(name, kind, *ends, column) for name, kind, ends, column in each)
        return self if found == kinds else dataclasses.replace(self, kinds=found)

    @property
    def shape(self):
        return (len(self.names),)

    @property
    def columns(self):
        return self.names

    @property
    def is_plain(self) -> bool:
        """Whether all columns are numbers, which come and go as arrays."""
        return all(type(kind) is Continuous and not kind.whole for kind in self.kinds)

    @property
    def cdfs(self) -> tuple:
        """The distribution function of each column, None for a number of the flow."""
        return tuple(kind.cdf for kind in self.kinds) or (None,) * len(self.names)

    def described(self) -> dict[str, str]:
        """Name -> kind in words, identifiers too."""
        words = {name: str(kind) for name, kind in zip(self.names, self.kinds)}
        return words | dict.fromkeys(self.identifiers, "identifier, kept and not learned")

    @property
    def numbers(self) -> list[int]:
        """Places of the columns that are numbers, of the flow or with bounds."""
        kinds = self.kinds or (Continuous(),) * len(self.names)
        return [i for i, kind in enumerate(kinds) if isinstance(kind, Continuous)]

    # from the user to the network

    def fitted_to(self, values, sides=None) -> Columns:
        """The columns with the centres and scales that training data need; itself where they need
        none, or where kinds are known.

        Args:
          sides: (lower, upper) of each column, where the network has bounds.
        """
        if self.kinds or not isinstance(values, np.ndarray) or values.ndim != 2:
            return self
        sides = sides or [(None, None)] * values.shape[1]
        pairs = zip(values.T, sides, strict=True)
        kinds = tuple(
            Continuous.of(column).bounded(low, high, column) for column, (low, high) in pairs
        )
        plain = all(kind.is_plain for kind in kinds)
        return self if plain else dataclasses.replace(self, kinds=kinds)

    @property
    def far(self):
        """Whether float32 would round a column."""
        return any(isinstance(kind, Continuous) and kind.is_far for kind in self.kinds)

    @property
    def is_counted_as_it_is(self):
        """Whether the network's rows are the user's numbers."""
        return self.is_plain and all(kind.is_counted_as_it_is for kind in self.kinds)

    def prepare(self, values):
        """Values [N, D] as numbers [N, D] in float32, computed in float64, before noise is added;
        values without kinds as they are."""
        if not self.kinds:
            return values
        columns = self._split(values)
        prepared = [self._prepared(*each) for each in zip(self.names, self.kinds, columns)]
        return np.stack(prepared, 1).astype(np.float32)

    def _prepared(self, name, kind, column):
        try:
            return kind.prepare(column)
        except UserError as error:
            raise UserError(f"column {name!r}: {error}") from None

    def _split(self, values) -> list[np.ndarray]:
        """The columns [N] of a DataFrame, by name, or of an array [N, D]."""
        if hasattr(values, "columns"):
            values = as_named(values, self.names, self.argument)
            return [values[name].to_numpy() for name in self.names]
        values = by_name(values, self.names, self.argument)
        if values.ndim != 2 or values.shape[1] != len(self.names):
            what = f"[..., {len(self.names)}] ({', '.join(self.names)})"
            raise UserError(f"{self.argument} must have shape {what}, got {list(values.shape)}")
        return list(values.T)

    def array(self, values):
        """An array; DataFrames with kinds stay as they are."""
        is_frame = self.kinds and hasattr(values, "columns")
        door = as_named if is_frame else by_name
        return door(values, self.names, self.argument)

    def encode(self, values, dtype, seed=0):
        """Rows and log-determinant; whole numbers with noise from the seed."""
        if not self.kinds:
            rows, lead = rows_of(values, self.names, self.argument, dtype)
            return Encoded(rows, lead)
        values = self.array(values)
        lead = tuple(values.shape[:-1])
        if not hasattr(values, "columns"):
            values = values.reshape(-1, values.shape[-1]) if values.ndim else values
        rows = self.prepare(values).astype(dtype)
        noise = generator(seed).random(rows.shape, np.float32).astype(dtype)
        placed = [kind.placed(rows[:, i], noise[:, i]) for i, kind in enumerate(self.kinds)]
        rows = np.stack(placed, 1).astype(dtype)
        return Encoded(rows, lead, self._log_det(rows))

    def missing(self, values):
        """Which rows lack a value."""
        if not self.kinds or not hasattr(values, "columns"):
            values = self.array(values)
            return is_missing(values).any(-1)
        return values[list(self.names)].isna().to_numpy().any(1)

    def draw(self, values, dtype, seed):
        """Prepared numbers [B, D] with noise, new every step."""
        rows = tf.cast(values, dtype)
        if not any(kind.noisy for kind in self.kinds):
            return rows
        noise = tf.random.stateless_uniform(tf.shape(rows), seed, dtype=dtype)
        placed = [kind.placed(rows[:, i], noise[:, i]) for i, kind in enumerate(self.kinds)]
        return tf.stack(placed, 1)

    def log_det(self, rows):
        """log |det d rows / d values| of rows of the network [B, D]: 0 without kinds."""
        return self._log_det(rows) if self.kinds else 0.0

    def _log_det(self, rows) -> Any:
        return sum(kind.log_det(rows[:, i]) for i, kind in enumerate(self.kinds))

    # from the network to the user

    def decode(self, rows):
        """Values [B, D]: an array for numbers, in float64 where they have a centre; else a
        DataFrame."""
        if not self.kinds:
            return rows
        columns = [kind.decode(rows[:, i]) for i, kind in enumerate(self.kinds)]
        if self.is_plain:
            return np.stack(columns, 1)
        import pandas as pd

        return pd.DataFrame(dict(zip(self.names, columns, strict=True)))

    def as_numbers(self, values):
        is_array = isinstance(values, np.ndarray) and values.ndim == 2
        if self.kinds or not is_array or values.dtype.kind in "fiub":
            return values
        return numbers(values.astype(object), self.names, self.argument, np.float64)

    def check_bounds(self, values):
        if not self.kinds:
            return
        for name, kind, column in zip(self.names, self.kinds, self._split(values)):
            kind.check_bounds(column, f"column {name!r}")

    def check(self, values):
        """Refuses columns that do not vary, and multiples of one another: their density is
        unbounded."""
        constant = np.flatnonzero(np.nanmin(values, 0) == np.nanmax(values, 0))
        constant = [i for i in constant if i in self.numbers]
        if len(constant):
            raise UserError(
                f"column {self.names[constant[0]]!r} is constant: its density is unbounded; leave"
                " it out"
            )
        free = np.asarray(values, np.float64)[:, self.numbers]
        found = repeated_columns(free[np.isfinite(free).all(1)])
        if found:
            first, second = (self.names[self.numbers[i]] for i in found)
            raise UserError(
                f"column {second!r} is a multiple of column {first!r}: the density is unbounded;"
                " leave one out"
            )


def _bounded(name: str, kind: Kind, low, high, column) -> Kind:
    try:
        return kind.bounded(low, high, column)
    except UserError as error:
        raise UserError(f"column {name!r}: {error}") from None


def as_codec(block: str, codec: Codec | Sequence[str]) -> Codec:
    """The codec of a block; a list of names stands for `Columns`."""
    argument = "x" if block == "x" else "y"
    return codec if isinstance(codec, Codec) else Columns(tuple(map(str, codec)), argument)


def completed(codecs: dict[str, Codec], partition: Partition) -> dict[str, Codec]:
    """Codecs of all blocks but z: those given, else columns for x and y and noise for the rest.

    Raises:
      UserError: a codec of no block, or of another width.
    """
    blocks = {**partition.inputs, **partition.outputs, **partition.given}
    blocks.pop("z", None)
    unknown = set(codecs) - set(blocks)
    if unknown:
        raise UserError(f"a codec for {sorted(unknown)[0]!r}; the blocks are {', '.join(blocks)}")
    _check_kinds(codecs)
    found = {}
    for name, width in blocks.items():
        plain = name == "x" or name not in partition.inputs
        columns = as_codec(name, [f"{name}{i + 1}" for i in range(width)])
        codec = found[name] = codecs.get(name) or (columns if plain else Noise(width))
        if codec.flat_size != width:
            names, shape = len(codec.columns), codec.padded_shape
            what = f"{names} column names" if names else f"events of shape {shape}"
            raise UserError(f"{what} for block {name!r} of {width} dimensions")
    return found


def _check_kinds(codecs) -> None:
    """Refuses kinds of columns that are not x: networks take what is given as it is."""
    for block, codec in codecs.items():
        if block != "x" and isinstance(codec, Columns) and codec.kinds:
            raise UserError(f"kinds of columns are of x; those of {block!r} must be numbers")
