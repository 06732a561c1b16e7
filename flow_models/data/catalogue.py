"""Data sets by name, one catalogue for each kind of data.

A set is defined and listed in the same file: to add one, append it to the list there.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flow_models.core.failures import pick


class Named(Protocol):
    """A data set with a name; str(set) describes it in one line."""

    @property
    def name(self) -> str:
        """By which the set is asked for."""
        ...


Set = TypeVar("Set", bound=Named)


@dataclass(frozen=True)
class Embedded:
    """A data set inside an installed package.

    `labels` names the classes of images or the columns of a table; `read` returns the values and
    may import the package.
    """

    name: str
    text: str
    source: str
    licence: str
    labels: tuple[str, ...]
    read: Callable

    def __str__(self) -> str:
        return f"{self.text}; {self.source} ({self.licence})"


class Catalogue(Generic[Set]):
    """The sets of one kind, such as "point set", in the order of their list."""

    def __init__(self, kind: str, sets: Iterable[Set]):
        self._kind, self._sets = kind, {each.name: each for each in sets}

    def names(self) -> list[str]:
        """The names of all sets."""
        return list(self._sets)

    def get(self, name: str) -> Set:
        """The set of that name. Raises UserError, with the known names, for any other."""
        return pick(self._sets, name, self._kind)

    def describe(self, name: str) -> str:
        """One line about a set: what it is and, where it has them, its source and licence."""
        return str(self.get(name))
