"""Tables: reading, checking and splitting the user's own, and those inside packages."""

from flow_models.data.tables import embedded, labelled
from flow_models.data.tables.checks import as_numbers, check_table, row_numbers
from flow_models.data.tables.formats import SUFFIXES
from flow_models.data.tables.rows import (
    bad_cells,
    check_bounds,
    groups_of_copies,
    warn_of_copies,
    warn_of_steps,
    without_missing,
)
from flow_models.data.tables.table import (
    Table,
    nearest,
    read_chunks,
    read_frame,
    read_table,
    split,
    together,
)

__all__ = ["SUFFIXES", "Table", "as_numbers", "check_table", "embedded", "labelled"]
__all__ += ["read_chunks", "read_frame", "read_table", "row_numbers", "split"]
__all__ += [
    "bad_cells",
    "check_bounds",
    "groups_of_copies",
    "nearest",
    "together",
    "warn_of_copies",
    "warn_of_steps",
    "without_missing",
]
