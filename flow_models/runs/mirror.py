"""A local copy of a prefix in S3, for code that writes files and cannot write objects."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from flow_models.core import storage
from flow_models.core.errors import UserError, warn


class Mirror:
    """A temporary local folder, `path`, whose files `send` copies to the prefix `uri`.

    Raises nothing but UserError.
    """

    def __init__(self, uri: str):
        self._folder = tempfile.TemporaryDirectory(
            prefix="flow_models-", ignore_cleanup_errors=True
        )
        self.uri, self.path = re.sub(r"(?<=[^/:])/+$", "", uri), Path(self._folder.name)
        self._sent: dict[str, tuple[int, int]] = {}
        self._warned = False

    def names(self) -> set[str]:
        """Names of what lies directly below the prefix."""
        return storage.names(self.uri)

    def fetch(self, leave_out: str) -> None:
        """Copies all objects here, but for hidden ones and folders whose name begins with
        `leave_out`."""
        for place, found in self._objects():
            if found.hidden or place.startswith(leave_out) or "" in place.split("/"):
                continue  # a name with an empty part could lie outside the folder
            file = self.path / place
            storage.write_bytes(file, storage.read_bytes(found.uri))
            self._sent[place] = _state(file)

    def delete(self, names: set[str], last: str) -> None:
        """Removes the objects of these names and all below them. Those named `last` go at the end:
        a deletion that was interrupted can be repeated."""
        mine = [place for place, _ in self._objects() if place.split("/")[0] in names]
        for place in sorted(mine, key=lambda place: Path(place).name == last):
            storage.delete(f"{self.uri}/{place}")

    def send(self, must: bool = True) -> None:
        """Uploads new and changed files, headers (.json) after the arrays that they point to.

        With `must=False` a store that does not answer costs one warning on stderr; the next call
        tries again.
        """
        files = [file for file in self.path.rglob("[!.]*") if file.is_file()]
        try:
            for file in sorted(files, key=lambda file: (file.suffix == ".json", file)):
                self._send_file(file)
        except UserError as error:
            if must:
                raise
            if not self._warned:
                warn(f"{error}; the run goes on and tries again")
            self._warned = True

    def close(self) -> None:
        self._folder.cleanup()

    def _objects(self) -> Iterator[tuple[str, storage.Found]]:
        """(name below the prefix, object); nothing where the prefix is empty."""
        for found in storage.list_files(self.uri) if self.names() else ():
            yield found.uri[len(self.uri) + 1 :], found

    def _send_file(self, file: Path) -> None:
        place, state = file.relative_to(self.path).as_posix(), _state(file)
        if self._sent.get(place) != state:
            storage.write_bytes(f"{self.uri}/{place}", file.read_bytes())
            self._sent[place] = state


def _state(file: Path) -> tuple[int, int]:
    """Changes when a file is replaced, even within one tick of the clock."""
    status = file.stat()
    return status.st_mtime_ns, status.st_ino
