"""The points that every library trains on and is judged by: drawn once, kept as files.

    python -m flows.data FOLDER ROWS VALIDATION        in the project's environment

The gap of a model q to the truth p is the mean of log p - log q over the validation points, in
nats: an estimate of KL(p || q) without the noise of the points' own entropy, because log p is
exact.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np

SET = "moons"
SEEDS = {"train": (20, 0), "validation": (21, 0)}


def draw(folder: str | Path, rows: int, validation: int) -> None:
    """Writes train.npy [rows, 2], validation.npy [validation, 2] and truth.json: entropy and mean
    -log p, nats."""
    from flow_models.data import points

    folder, moons = Path(folder), points.get(SET)
    folder.mkdir(parents=True, exist_ok=True)
    for name, n in (("train", rows), ("validation", validation)):
        x = moons.draw(n, SEEDS[name]).numpy()
        np.save(folder / f"{name}.npy", x)
    truth = {
        "set": SET,
        "definition": moons.definition,
        "rows": rows,
        "validation": validation,
        "entropy": moons.entropy,
        "nll": float(-moons.log_prob(x).mean()),
    }
    (folder / "truth.json").write_text(json.dumps(truth, indent=1))


@dataclasses.dataclass
class Data:
    """Points in the units of the set, or standardised; log q in the set's units is log q minus
    `log_scale`."""

    train: np.ndarray
    validation: np.ndarray
    log_scale: float


def load(folder: str | Path, standardised: bool) -> Data:
    """The points of `folder`, float32 [n, 2], standardised by mean and standard deviation of the
    training points."""
    train, validation = (np.load(Path(folder) / f"{name}.npy") for name in ("train", "validation"))
    if not standardised:
        return Data(train, validation, 0.0)
    mean, scale = train.mean(0, dtype=np.float64), train.std(0, dtype=np.float64)
    rescale = lambda x: ((x - mean) / scale).astype(np.float32)
    return Data(rescale(train), rescale(validation), float(np.log(scale).sum()))


if __name__ == "__main__":
    draw(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
