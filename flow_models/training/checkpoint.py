"""The state of a training run, and how it is written down and taken up again."""

import dataclasses
import io
import json

import numpy as np
import tensorflow as tf

from flow_models.core import archive as serialisation
from flow_models.core.errors import UserError

FORMAT = 1
NAME = "checkpoint"
LONGEST = 200  # characters of two values that a message shows


@dataclasses.dataclass(frozen=True)
class Progress:
    """All that training changes; replaced as a whole, so that an interruption never leaves half a
    change."""

    step: int
    weights: list[tf.Tensor]
    moments: dict[str, list[tf.Tensor]]
    sums: np.ndarray  # of the loss's terms since the last row
    rows: tuple[dict, ...] = ()  # of the history
    best: list[tf.Tensor] | None = None  # averaged weights of the best epoch
    best_objective: float = float("inf")
    waited: int = 0  # epochs since the best one
    total: int = 0  # steps in all, as far as is known; 0 in checkpoints that say nothing of it


def exists(folder: str) -> bool:
    return serialisation.storage.exists(f"{folder}/{NAME}.json")


def write(folder: str, at: Progress, frozen: list, identity: dict, seconds: float) -> None:
    """Writes the state, in place of the one before. `identity` says which run it belongs to."""
    serialisation.write(folder, NAME, *_packed(at, frozen, identity, seconds))


def to_bytes(at: Progress, frozen: list, identity: dict, seconds: float) -> bytes:
    """The state as one worker sends it to the others; `from_bytes` reads it."""
    arrays, header = _packed(at, frozen, identity, seconds)
    buffer = io.BytesIO()
    np.savez(buffer, header=np.frombuffer(json.dumps(header).encode(), np.uint8), **arrays)
    return buffer.getvalue()


def _packed(at, frozen, identity, seconds) -> tuple[dict, dict]:
    """Arrays and header."""
    groups = {"weights": at.weights, **at.moments, "frozen": frozen, "best": at.best or []}
    arrays = {
        f"{name}/{i}": np.asarray(a) for name, group in groups.items() for i, a in enumerate(group)
    }
    header = {
        "format": FORMAT,
        "identity": identity,
        "step": at.step,
        "rows": at.rows,
        "seconds": seconds,
        "sums": [float(s) for s in at.sums],
        "best_objective": float(at.best_objective),
        "waited": at.waited,
        "total": at.total,
    }
    return arrays, header


def read(
    folder: str, like: Progress, frozen: list, identity: dict
) -> tuple[Progress, list[np.ndarray], float]:
    """The state, the values of frozen variables, and the seconds spent so far.

    Raises:
      UserError: the checkpoint is damaged, of another format, or of a run with another identity.
    """
    header = serialisation.read_header(folder, NAME, NAME)
    if header.get("format") != FORMAT:
        raise UserError(
            f"the checkpoint in {folder} is of format {header.get('format')}, this version reads"
            f" {FORMAT}"
        )
    return _unpacked(
        serialisation.read_arrays(folder, header, NAME), header, like, frozen, identity, folder
    )


def from_bytes(
    data: bytes, like: Progress, frozen: list, identity: dict
) -> tuple[Progress, list[np.ndarray], float]:
    """What `to_bytes` made, as `read` gives it. Raises UserError where this worker's data or
    settings are others."""
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        arrays = dict(arrays)
    header = json.loads(arrays.pop("header").tobytes())
    return _unpacked(arrays, header, like, frozen, identity, "the run of the first worker")


def _unpacked(arrays, header, like, frozen, identity, folder):
    identity = json.loads(json.dumps(identity))  # tuples are lists in a header
    before = {
        "tf32": False,
        "minutes": 0.0,
        **header["identity"],
    }  # checkpoints of earlier versions lack it
    for key, value in identity.items():
        if before.get(key) != value:
            was, now = repr(before.get(key)), repr(value)
            short = len(was + now) < LONGEST
            change = (
                f"was {was} and is now {now}"
                if short
                else "is another one: settings of the network differ"
            )
            change = (
                "are others: settings of the problem, or files, differ"
                if key.endswith("data")
                else change
            )
            raise UserError(
                f"cannot resume {folder}: {key} {change}; use the same, or start a new run"
            )

    def group(name, length):
        return [tf.constant(arrays[f"{name}/{i}"]) for i in range(length)]

    n = len(like.weights)
    state = Progress(
        header["step"],
        group("weights", n),
        {name: group(name, n) for name in like.moments},
        np.array(header["sums"], np.float32),
        tuple(header["rows"]),
        group("best", n) if "best/0" in arrays else None,
        header["best_objective"],
        header["waited"],
        header.get("total", 0),
    )
    return state, [arrays[f"frozen/{i}"] for i in range(len(frozen))], header["seconds"]
