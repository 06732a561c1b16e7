"""The codec of class labels."""

import dataclasses
import math

import numpy as np

from flow_models.core.errors import UserError
from flow_models.models.codecs import Codec, Encoded
from flow_models.models.rows import by_name, names_of


@dataclasses.dataclass(frozen=True)
class Labels(Codec):
    """Labels as names of classes, as numbers 0 .. M - 1, or as floating rows [..., M].

    Rows are one-hot, or between classes. The network sees rows.

    Attributes:
      classes: names of the M classes.
      priors: shares of the classes in the training data.
      calibration_temperature: log p(x | class) is divided by it for p(class | x); above 1 the
        probabilities are less sure.
      mirrored: pictures and their mirror images are of one class, so `classify` looks at both.
    """

    classes: tuple[str, ...]
    priors: tuple[float, ...]
    calibration_temperature: float = 1.0
    mirrored: bool = False

    def __post_init__(self):
        super().__post_init__()
        if not self.classes or len(self.priors) != len(self.classes):
            raise UserError(
                f"{len(self.classes)} classes and {len(self.priors)} priors: give one prior a class"
            )
        if not 0 < self.calibration_temperature < math.inf:
            raise UserError(
                f"calibration_temperature is {self.calibration_temperature}; it must be above 0"
            )

    @property
    def shape(self):
        return (len(self.classes),)

    def encode(self, values, dtype, seed=0):
        """One-hot rows [B, M] of labels [...].

        Raises:
          UserError: a name or a number that no class has, or rows of another width.
        """
        y, size = self._array(values), len(self.classes)
        y = self._numbers(y) if y.dtype.kind in "US" else y
        if y.dtype.kind in "iu":
            if y.size and not 0 <= y.min() <= y.max() < size:
                raise UserError(f"class numbers are 0 to {size - 1}, got {y.min()} to {y.max()}")
            y = np.eye(size)[y]
        if y.dtype.kind != "f" or y.ndim == 0 or y.shape[-1] != size:
            raise UserError(
                "y must be names of classes, class numbers, or floating rows"
                f" [..., {size}], got {y.dtype} {list(y.shape)}"
            )
        return Encoded(y.reshape(-1, size).astype(dtype), y.shape[:-1])

    def _array(self, values) -> np.ndarray:
        """Labels as an array; rows of shares by the names of the classes, where they have names."""
        named = names_of(values)
        if named is not None and np.ndim(values) != 1 or set(named or ()) >= set(self.classes):
            return by_name(values, self.classes, "y")
        y = np.asarray(values)
        texts = y.dtype.kind == "O" and all(isinstance(each, str) for each in y.ravel())
        return y.astype(str) if texts else y

    def decode(self, rows):
        """The number of the class that is nearest, [B]."""
        return np.asarray(rows).argmax(-1)

    def log_priors(self, priors=None) -> np.ndarray:
        """log p(class) [M] of the training data, or of other `priors`, [M] or {name: share}.

        Shares are scaled so that they sum to one.

        Raises:
          UserError: priors that do not belong to the classes.
        """
        if isinstance(priors, dict):
            if set(priors) != set(self.classes):
                raise UserError(f"priors for {list(priors)}, the classes are {list(self.classes)}")
            priors = [priors[name] for name in self.classes]
        shares = np.asarray(self.priors if priors is None else priors, np.float64)
        fits = shares.shape == (len(self.classes),) and (shares >= 0).all()
        if not fits or not 0 < shares.sum() < math.inf:
            raise UserError(
                f"priors are {len(self.classes)} numbers of at least 0, one a class, got {priors}"
            )
        with np.errstate(divide="ignore"):
            return np.log(shares / shares.sum())

    def _numbers(self, names):
        unknown = sorted(set(names.ravel().tolist()) - set(self.classes))
        if unknown:
            raise UserError(f"no class {unknown[0]!r}; there are {', '.join(self.classes)}")
        numbers = {name: number for number, name in enumerate(self.classes)}
        return np.array([numbers[name] for name in names.ravel().tolist()], int).reshape(
            names.shape
        )
