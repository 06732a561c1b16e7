"""Memory that is free, given back to the system."""

import contextlib
import ctypes


def give_back() -> None:
    """Gives back what the C library keeps of freed memory, between parts of a run: pieces of the
    last part, spread over the heaps of many threads, would stay beside the next part's. Does
    nothing where the C library is another than GNU's."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
