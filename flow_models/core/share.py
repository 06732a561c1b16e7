"""Part i of n of the files below a folder or prefix, for n processes or machines."""

import os
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from flow_models.core import storage
from flow_models.core.errors import UserError


class Share(NamedTuple):
    """Part `number`, from 0, of `parts`. The hash of its name says which part a file is of, so a
    file stays in its part when others come."""

    number: int
    parts: int

    @classmethod
    def parsed(cls, text: str) -> "Share":
        """`3/100` as part 3 of 0 to 99.

        Raises:
          UserError: it is none.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if not found or int(found[1]) >= int(found[2]):
            raise UserError(f"--part {text!r}: give I/N, of 100 parts 0/100 to 99/100")
        return cls(int(found[1]), int(found[2]))

    def of_files(self, folder: str, suffixes: Sequence[str]) -> Iterator[str]:
        """Locations of the files of this part, lazily and sorted, see `storage.list_prefix`.

        Raises:
          UserError: no such folder; of parts, when the listing ends, no such file in any of them.
        """
        found = False
        for uri in storage.list_prefix(folder, suffixes):
            found = True
            if self.has(storage.below(uri, folder)):
                yield uri
        if not found and self != WHOLE:
            raise UserError(f"{folder}: no file here whose name ends in {' '.join(suffixes)}")

    def has(self, name: str) -> bool:
        """Whether a file with this name below its folder is of this part."""
        return zlib.crc32(os.fsencode(name)) % self.parts == self.number

    def refuse_one(self, uri: str) -> None:
        """Raises UserError for a part of what is one file."""
        if self != WHOLE:
            raise UserError(f"{uri} is no folder: --part takes part of the files of one")

    @property
    def name(self) -> str:
        """`00003-of-00100`."""
        return f"{self.number:05d}-of-{self.parts:05d}"

    def file_name(self) -> str:
        """The name of what is made of this part."""
        return f"part-{self.name}.parquet"


WHOLE = Share(0, 1)
