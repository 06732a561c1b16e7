"""What a folder or S3 prefix of shards holds, and how it is filled part by part.

    shards.json                                 what training reads; there once all parts are done
    parts-done/00003-of-00100.json              the shards of part 3, once all of them are there
    parts-begun/00003-of-00100.json             those that are there so far
    shards/00003-of-00100/train-00017.parquet   rows in random order

A shard counts once the file of its part names it. So a shard that was not finished never counts,
and one that is finished is not made again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flow_models.core import storage
from flow_models.core.errors import UserError
from flow_models.core.share import Share
from flow_models.data.shards import files

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 1
# failed simulations, of pairs; rows of rare values, of tables
SPLITS = ("train", "validation", "test", "failed", "witnesses")
COMMANDS = {"pictures": "prepare", "tables": "prepare", "pairs": "simulate"}
SHARD_BYTES = 4 * 2**20  # of a shard of pixels
_INDEX, _BEGUN, _DONE = "shards.json", "parts-begun", "parts-done"
_READERS, _SHOWN = 16, 50


def is_prepared(uri: str) -> bool:
    """Whether a folder or prefix is one of shards, finished or not."""
    return storage.exists(storage.join(uri, _INDEX)) or storage.exists(
        storage.join(uri, _BEGUN, "")
    )


@dataclass(frozen=True)
class Split:
    """The shards of training, validation or test: rows of each [k], and where each is."""

    folder: str
    name: str
    rows: Sequence[Sequence[int]]  # of the shards of each part
    counts: np.ndarray = field(init=False)

    def __post_init__(self):
        counts = np.array([n for part in self.rows for n in part], np.int64)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "_firsts", np.cumsum([0, *map(len, self.rows)]))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def uri(self, shard: int) -> str:
        """Where a shard is."""
        firsts = self._firsts  # type: ignore[attr-defined]
        part = int(np.searchsorted(firsts, shard, side="right")) - 1
        share = Share(part, len(self.rows))
        return place(self.folder, share, self.name, shard - int(firsts[part]))


def place(folder: str, share: Share, split: str, number: int) -> str:
    """Where a shard of a part is."""
    return storage.join(folder, "shards", share.name, f"{split}-{number:05d}.parquet")


@dataclass(frozen=True)
class Prepared:
    """The index of a folder of shards.

    Attributes:
      kind: of the rows: pictures, tables or pairs.
      about: settings, and what all parts found alike.
      notes: of all shards: number and first ones.
    """

    folder: str
    kind: str
    about: dict[str, Any]
    rows: dict[str, list[list[int]]]
    notes: tuple[int, list]

    @classmethod
    def read(cls, folder: str, kind: str) -> Prepared:
        """The index of a folder.

        Raises:
          UserError: it is of another kind, or not all parts are done.
        """
        uri = storage.join(folder, _INDEX)
        if not storage.exists(uri):
            raise UserError(_unfinished(folder, kind))
        found = _json(uri)
        if found["format"] != FORMAT or found["kind"] != kind:
            raise UserError(
                f"{folder} holds shards of {found['kind']}, format {found['format']}; {kind} of"
                f" format {FORMAT} are expected"
            )
        return cls(folder, kind, found["about"], found["rows"], tuple(found["notes"]))

    def split(self, name: str) -> Split:
        """The shards of training, validation or test; maybe none."""
        return Split(self.folder, name, self.rows.get(name, []))


class Part:
    """The shards of part i of n, of which some may be there from an earlier start.

    Attributes:
      found: what the part found out at its start, None where it has not started.

    Raises:
      UserError: the folder has another number of parts, or this part other settings.
    """

    def __init__(self, folder: str, share: Share, kind: str, settings: dict[str, Any]):
        self.folder, self.share = folder, share
        self._head = {"format": FORMAT, "kind": kind, "settings": json.loads(json.dumps(settings))}
        begun = self._check_parts()
        there = f"{share.name}.json" in begun
        state = _json(self._uri(_BEGUN)) if there else {}
        other = next((name for name in begun if name != f"{share.name}.json"), None)
        self._other = _json(storage.join(folder, _BEGUN, other)) if other else {}
        for each in (state, self._other):
            self._check_settings(each or self._head)
        self.found: Any = state.get("found")
        shards = storage.names(storage.join(folder, "shards", share.name)) if there else set()
        self._shards: dict[str, list] = {
            name: [rows, notes]
            for name, (rows, notes) in state.get("shards", {}).items()
            if not rows or f"{name}.parquet" in shards
        }

    @property
    def is_done(self) -> bool:
        """Whether all of its shards were there at an earlier start, and still are."""
        uri = self._uri(_DONE)
        return storage.exists(uri) and set(_json(uri)["shards"]) <= set(self._shards)

    def begin(self, found: Any) -> None:
        """Keeps what the part found out; a later start goes on with it.

        Raises:
          UserError: another part found other things.
        """
        _check_alike(self._other.get("found") or found, found, self.folder)
        self.found = found
        self._write(_BEGUN)

    def has(self, split: str, number: int) -> bool:
        """Whether a shard is there."""
        return f"{split}-{number:05d}" in self._shards

    def add(
        self, split: str, number: int, table: pa.Table, notes: Sequence = (), plain: Sequence = ()
    ) -> None:
        """Writes a shard; then it counts.

        Args:
          notes: of what was left out of it.
          plain: columns that are not compressed.
        """
        if len(table):
            uri = place(self.folder, self.share, split, number)
            files.write(uri, table, plain)
        self._shards[f"{split}-{number:05d}"] = [len(table), list(notes)]
        self._write(_BEGUN)

    def notes(self) -> list:
        """What was left out of all shards so far."""
        return [each for _, notes in self._shards.values() for each in notes]

    def rows(self, split: str = "") -> int:
        """Rows of all shards so far, or of those of a split."""
        return sum(rows for name, (rows, _) in self._shards.items() if name.startswith(split))

    def finish(self) -> bool:
        """Closes the part; the last one to come writes the index of all. True where it did."""
        self._write(_DONE)
        return merge(self.folder, self.share.parts)

    def _uri(self, what: str) -> str:
        return storage.join(self.folder, what, f"{self.share.name}.json")

    def _write(self, what: str) -> None:
        state = {**self._head, "found": self.found, "shards": self._shards}
        storage.write_bytes(self._uri(what), json.dumps(state).encode())

    def _check_parts(self) -> list[str]:
        """The parts that were begun."""
        ours = f"-of-{self.share.parts:05d}."
        begun = sorted(storage.names(storage.join(self.folder, _BEGUN)))
        for name in begun:
            if ours not in name:
                raise UserError(
                    f"{self.folder} has parts {name.partition('.')[0]}: give the same N of --part"
                    " I/N, or another folder"
                )
        return begun

    def _check_settings(self, state: dict) -> None:
        flat = lambda head: {"format": head["format"], "kind": head["kind"], **head["settings"]}
        ours = flat(self._head)
        for key, value in flat(state).items():
            mine = ours.get(key)
            if mine != value:
                raise UserError(
                    f"{self.folder} was begun with {key} {value!r}, and now {key} is {mine!r}: give"
                    " the same, or another folder"
                )


def merge(folder: str, parts: int) -> bool:
    """Writes the index once all parts are done; False before.

    Raises:
      UserError: parts do not fit together.
    """
    there = {name for name in storage.names(storage.join(folder, _DONE)) if name.endswith("json")}
    if len(there) < parts:
        return False
    with ThreadPoolExecutor(_READERS) as pool:
        uris = [storage.join(folder, _DONE, name) for name in sorted(there)]
        states = list(pool.map(_json, uris))
    first = states[0]
    for uri, state in zip(uris, states):
        for key in ("format", "kind", "settings", "found"):
            _check_alike(first[key], state[key], uri)
    notes = [note for state in states for _, notes in state["shards"].values() for note in notes]
    index = {
        **{key: first[key] for key in ("format", "kind")},
        "about": {**first["settings"], **_common(first["found"]), **_union(states)},
        "rows": {split: [_rows(state, split) for state in states] for split in SPLITS},
        "notes": [len(notes), notes[:_SHOWN]],
    }
    storage.write_bytes(storage.join(folder, _INDEX), json.dumps(index).encode())
    return True


def refuse_inside(folder: str, source: str, kind: str) -> None:
    """Raises UserError where shards would lie among what they are made of, and hide it from
    training."""
    whole = [each if storage.is_s3(each) else os.path.realpath(each) for each in (folder, source)]
    if storage.join(whole[0], "").startswith(storage.join(whole[1], "")):
        raise UserError(f"{folder} lies in {source}, among the {kind}: give a folder of its own")


def _check_alike(one: Any, other: Any, where: str) -> None:
    """Raises UserError where parts were given, or found, other things."""
    there, here = (_common(json.loads(json.dumps(each))) for each in (one, other))
    if there != here:
        raise UserError(
            f"{where}: {here} in this part, {there} in another one: files came or went while parts"
            " were prepared; delete the folder and prepare all parts alike"
        )


def _union(states: list[dict]) -> dict[str, list]:
    """What any part found, of lists whose names begin with an underscore."""
    lists = [
        (key[1:], value)
        for state in states
        for key, value in (state["found"] or {}).items()
        if key.startswith("_") and isinstance(value, list)
    ]
    return {key: sorted({v for k, each in lists if k == key for v in each}) for key, _ in lists}


def _common(found: Any) -> Any:
    """What parts must have found alike: all but what begins with an underscore."""
    if not isinstance(found, dict):
        return found
    return {key: value for key, value in found.items() if not key.startswith("_")}


def _rows(state: dict, split: str) -> list[int]:
    """Rows of the shards of one part, in their order; empty shards are the last ones."""
    shards = state["shards"]
    numbered = sorted(name for name in shards if name.startswith(f"{split}-"))
    return [shards[name][0] for name in numbered]


def _json(uri: str) -> dict:
    try:
        return json.loads(storage.read_bytes(uri))
    except ValueError as error:  # also bytes that are no text
        raise UserError(
            f"{uri} is damaged ({error}): delete it, and prepare its part again"
        ) from error


def _unfinished(folder: str, kind: str) -> str:
    """Which parts are not done, and the command that does them."""
    command = f"python -m flow_models {COMMANDS[kind]}"
    begun = sorted(storage.names(storage.join(folder, _BEGUN)))
    if not begun:
        return f"{folder} holds no shards of {kind}: make them with {command}"
    done = storage.names(storage.join(folder, _DONE))
    parts = int(begun[0].partition("-of-")[2].partition(".")[0])
    left = [n for n in range(parts) if f"{Share(n, parts).name}.json" not in done]
    shown = ", ".join(f"{n}/{parts}" for n in left[:5]) + (", ..." if len(left) > 5 else "")
    return f"{folder} is not finished: run {command} with --part {shown}"
