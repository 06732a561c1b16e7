"""Whole numbers that users pass: seeds and numbers of samples."""

import numpy as np

from flow_models.core.errors import UserError


def checked_count(n, least: int = 0, what: str = "the number of samples") -> int:
    """A number of samples, or what else is counted.

    Raises:
      UserError: it is not a whole number of at least `least`.
    """
    if not _is_whole(n) or n < least:
        raise UserError(f"{what} is a whole number of at least {least}, got {n!r}")
    return int(n)


def checked_seed(seed) -> int:
    """A seed, as TensorFlow takes it.

    Raises:
      UserError: it is not a whole number of 64 bits.
    """
    if not _is_whole(seed) or not -(2**63) <= seed < 2**63:
        raise UserError(f"a seed is a whole number of 64 bits, got {seed!r}: give one, such as 0")
    return int(seed)


def generator(seed) -> np.random.Generator:
    """NumPy's generator of a seed, also of one below 0."""
    return np.random.default_rng(checked_seed(seed) % 2**64)


def _is_whole(number) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)
