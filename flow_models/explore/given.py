"""What a user drops in: a table or a picture as the model takes it."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from typing import Any

from flow_models.core.errors import UserError

MOST = 10_000  # rows of a table that are looked at


@contextlib.contextmanager
def _as_file(name: str, content: bytes) -> Iterator[str]:
    """A file with the content, for readers that take places; its folder stays out of messages."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, os.path.basename(name))
        with open(path, "wb") as file:
            file.write(content)
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}{os.sep}", "")) from None


def rows(model, name: str, content: bytes) -> tuple[Any, list[str]]:
    """The first rows of a table, an array or a DataFrame [N, D], and what is wrong with each, ""
    where nothing is.

    Raises:
      UserError: it is no table, or lacks a column.
    """
    from flow_models.models import table_rows

    with _as_file(name, content) as path:
        part = next(iter(table_rows.read(model, path)), None)
    if part is None or not len(part.names):
        raise UserError(f"{name} has no rows")
    return part.values[:MOST], part.errors[:MOST]


def pictures(model, name: str, content: bytes):
    """A picture uint8 [1, H, W, C], brought to the model's size and colour as in training.

    Raises:
      UserError: it is no picture.
    """
    with _as_file(name, content) as path:
        for _, batch in model.codec.read(path):
            return batch[:1]
    raise UserError(f"{name} holds no picture")
