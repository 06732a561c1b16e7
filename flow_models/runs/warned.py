"""The warnings of a run, in one place: on stderr, and kept for its report."""

import contextlib
import sys
import warnings
from collections.abc import Iterator

from flow_models.core.errors import FlowModelsWarning


@contextlib.contextmanager
def recorded(speaks: bool = True) -> Iterator[list[str]]:
    """Shows each `FlowModelsWarning` as one line on stderr and collects it, the same text once.

    Warnings of other packages go where they went before.

    Args:
      speaks: whether it is shown; of several workers only the first one speaks.
    """
    found: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", FlowModelsWarning)
        elsewhere = warnings.showwarning

        def show(message, category, filename, lineno, file=None, line=None):
            if not issubclass(category, FlowModelsWarning):
                return elsewhere(message, category, filename, lineno, file, line)
            if str(message) not in found:
                found.append(str(message))
                if speaks:
                    print(f"warning: {message}", file=sys.stderr, flush=True)

        warnings.showwarning = show
        yield found
