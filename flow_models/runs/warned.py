"""The warnings of a run, in one place: on stderr, and kept for its report."""

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator

from flow_models.core.errors import FlowModelsWarning


@contextlib.contextmanager
def recorded(speaks: bool = True) -> Iterator[list[str]]:
    """Shows each `FlowModelsWarning` as one line on stderr and collects it, the same text once.

    Warnings of other packages go where they went before.

    Args:
      speaks: whether it is shown; of several workers only the first one speaks.
    """
    found: list[str] = []

    def hear(text: str) -> None:
        if text not in found:
            found.append(text)
            if speaks:
                _print(text)

    with warnings.catch_warnings():
        warnings.simplefilter("always", FlowModelsWarning)
        _tell(hear)
        yield found


def plain() -> None:
    """Shows each `FlowModelsWarning` of this process as one line on stderr from now on: of servers,
    which have no end."""
    _tell(_print)


def _print(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr, flush=True)


def _tell(hear: Callable[[str], None]) -> None:
    """Sends texts of `FlowModelsWarning`s to `hear`, and others where they went before."""
    elsewhere = warnings.showwarning

    def show(message, category, filename, lineno, file=None, line=None):
        if issubclass(category, FlowModelsWarning):
            hear(str(message))
        else:
            elsewhere(message, category, filename, lineno, file, line)

    warnings.showwarning = show
