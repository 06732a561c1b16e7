"""Tables: reading, checking and splitting the user's own, and those inside packages."""

from flow_models.data.tables import embedded, labelled
from flow_models.data.tables.checks import as_numbers, check_table
from flow_models.data.tables.formats import SUFFIXES
from flow_models.data.tables.table import Table, read_chunks, read_frame, read_table, split

__all__ = ["SUFFIXES", "Table", "as_numbers", "check_table", "embedded", "labelled"]
__all__ += ["read_chunks", "read_frame", "read_table", "split"]
