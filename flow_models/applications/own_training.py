"""Training on pairs: one network or several, what it says at its end, and whether more pairs would
help."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from flow_models.data.shards.stream import EndlessBatches
from flow_models.models import posteriors
from flow_models.models.model import Model
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import FitResult, Trainer

SHARES = (0.25, 0.5)  # of the training pairs, of a learning curve
LOW = 0.1  # share inside the bounds, below which samples take ten times as long and more
JUDGED = 100  # held-out observations that tell it, and draws of each
GAP = 0.1  # nats between training and held-out pairs that more pairs would close


@dataclasses.dataclass
class Prepared:
    """A model of pairs that is not yet trained, and what `Trainer` takes: whitened blocks.

    Attributes:
      train: arrays, or batches where pairs are streamed from shards.
      rows: training pairs.
      some: some(n, batch_size) -> training data of n of them.
    """

    model: Model
    train: dict[str, np.ndarray] | EndlessBatches
    held: dict[str, np.ndarray]
    settings: FitSettings
    rows: int
    some: Callable[[int, int], Any]


def trained(ready: Prepared, folder: str | None = None, resume: bool = False) -> FitResult:
    """Trains a model that is prepared, and says how it went in a line."""
    trainer = Trainer(
        ready.model, ready.train, ready.held, ready.settings, folder=folder, resume=resume
    )
    result = trainer.run()
    print(ending(result, ready.rows, ready.settings), file=sys.stderr)
    return result


def share_inside(ready: Prepared) -> float:
    """Share of the trained network's draws inside the bounds, median of held-out observations."""
    blocks = {"y": ready.held["y"][:JUDGED]}
    return float(np.median(posteriors.share_inside(ready.model, blocks, JUDGED)))


def is_low(ready: Prepared) -> bool:
    """Whether the bounds reject so much that the network had better know them; says so."""
    share = share_inside(ready)
    if share < LOW:
        print(
            f"only {share:.1%} of the network's draws are inside the bounds: it is trained anew, by"
            " distribution functions of the bounded columns (truncate=True keeps it)",
            file=sys.stderr,
        )
    return share < LOW


def ending(result: FitResult, pairs: int, settings) -> str:
    """When training was best, and whether more pairs or steps would help."""
    history, kept = result.history, result.kept_step or 0
    passes = kept * settings.batch_size / pairs
    line = (
        f"best at step {kept:,} of {history['step'][-1]:,.0f} (pass {passes:.0f}): -log p"
        f" {result.kept_objective:.3f} of held-out pairs in standard units"
    )
    if kept == history["step"][-1] and result.stopped == "finished":
        return f"{line}, still falling: more steps may help"
    gap = result.kept_objective - history["train_objective"][history["step"].index(kept)]
    if gap > GAP:
        return f"{line}, {gap:.2f} more than of training pairs: more pairs would help"
    return f"{line}, about that of training pairs: more pairs would help little"


def learning_curve(ready: Prepared, fresh, result: FitResult) -> list[tuple[int, float]]:
    """-log p of the held-out pairs with a quarter, half and all of the training pairs; says what
    twice as many would gain.

    Args:
      fresh: () -> a model like that of `ready`, not yet trained.
      result: of the training on all.
    """
    found = []
    for share in SHARES:
        some = int(share * ready.rows)
        settings = dataclasses.replace(
            ready.settings, batch_size=min(ready.settings.batch_size, some)
        )
        train = ready.some(some, settings.batch_size)
        part = Trainer(fresh(), train, ready.held, settings).run()
        found.append((some, part.kept_objective))
    found.append((ready.rows, result.kept_objective))
    print(of_curve(found), file=sys.stderr)
    return found


def of_curve(curve: list[tuple[int, float]]) -> str:
    """A learning curve in words; the gain of the next doubling is as much less than that of the
    last as the last is less than the one before."""
    before, last = (a[1] - b[1] for a, b in zip(curve, curve[1:]))
    ratio = np.clip(last / before, 0, 1) if before > 0 else 0.5
    told = ", ".join(f"{nll:.3f} with {pairs:,}" for pairs, nll in curve)
    return (
        f"-log p of held-out pairs: {told} pairs; twice as many would gain about"
        f" {max(last * ratio, 0):.3f}"
    )
