"""A local folder that is kept like a prefix in S3: for what writes files and cannot write
objects."""

import re
import sys
import tempfile
from pathlib import Path

from flow_models.core import storage
from flow_models.core.errors import UserError

HEADERS = ".json"  # point to arrays beside them, so they go up last


class Mirror:
    """A temporary local folder, `path`, and the prefix `uri` that it is copied to.

    `send` uploads what has changed since the last call. Raises nothing but UserError.
    """

    def __init__(self, uri: str):
        self._folder = tempfile.TemporaryDirectory(
            prefix="flow_models-", ignore_cleanup_errors=True
        )
        self.uri, self.path = re.sub(r"(?<=[^/:])/+$", "", uri), Path(self._folder.name)
        self._sent: dict[str, tuple[int, int]] = {}
        self._warned = False

    def names(self) -> set[str]:
        """What lies directly below the prefix."""
        return storage.names(self.uri)

    def fetch(self, leave_out: str) -> None:
        """Copies all objects here but those below folders whose name begins with `leave_out`."""
        for found in storage.list_files(self.uri) if self.names() else ():
            place = found.uri[len(self.uri) + 1 :]
            if found.hidden or place.startswith(leave_out) or "" in place.split("/"):
                continue  # a name with an empty part could lie outside the folder
            file = self.path / place
            storage.write_bytes(str(file), storage.read_bytes(found.uri))
            self._sent[place] = _state(file)

    def delete(self, names: set[str], last: str) -> None:
        """Removes the objects of these names and below them; `last` at the end, so that half a
        deletion can be repeated."""
        found = [each.uri for each in storage.list_files(self.uri)] if names else []
        mine = [uri for uri in found if uri[len(self.uri) + 1 :].split("/")[0] in names]
        for uri in sorted(mine, key=lambda uri: uri.endswith(f"/{last}")):
            storage.delete(uri)

    def send(self, must: bool = True) -> None:
        """Uploads new and changed files, headers after what they point to.

        Where it need not be now, a store that does not answer is told once on stderr; the next call
        tries again.
        """
        files = [
            file
            for file in self.path.rglob("*")
            if file.is_file() and not file.name.startswith(".")
        ]
        try:
            for file in sorted(files, key=lambda file: (file.suffix == HEADERS, file)):
                self._send_file(file)
        except UserError as error:
            if must:
                raise
            if not self._warned:
                print(f"warning: {error}; the run goes on and tries again", file=sys.stderr)
            self._warned = True

    def _send_file(self, file: Path) -> None:
        place, state = file.relative_to(self.path).as_posix(), _state(file)
        if self._sent.get(place) != state:
            storage.write_bytes(f"{self.uri}/{place}", file.read_bytes())
            self._sent[place] = state

    def close(self) -> None:
        self._folder.cleanup()


def _state(file: Path) -> tuple[int, int]:
    """What changes when a file is replaced, even within one tick of the clock."""
    status = file.stat()
    return status.st_mtime_ns, status.st_ino
