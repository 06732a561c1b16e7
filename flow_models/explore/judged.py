"""What the page says of one row or picture: its scores, where they lie, and what drives them."""

from __future__ import annotations

import dataclasses

import numpy as np

from flow_models.diagnostics import strangest
from flow_models.explore.opened import NLL, Opened
from flow_models.models import notes

ACROSS = 7  # patches along each side of a picture
KNOWN = 4  # known pictures that lend patches


@dataclasses.dataclass(frozen=True)
class Judged:
    """One event among the held-out ones.

    Attributes:
      scores: name -> its score, higher is stranger.
      tails: name -> share of held-out events that are at least as strange, (1 + count) / (1 + N).
      reason: why log p is not finite; empty where it is.
    """

    scores: dict[str, float]
    tails: dict[str, float]
    reason: str = ""


def judge(opened: Opened, event) -> Judged:
    """Scores of one event [1, ...] and their places among those of the held-out events."""
    if opened.detector is not None:
        found = {name: float(each[0]) for name, each in opened.detector.scores(event).items()}
        reason = ""
    else:
        score = opened.model.anomaly_score(event)
        found = {NLL: float(score[0])}
        reason = str(notes.of_rows(opened.model, event, -score)[0])
    tails = {
        name: float(strangest.tail_probabilities(np.array([score]), held, np.zeros(1, bool))[0])
        for name, score in found.items()
        if (held := opened.held.get(name)) is not None
    }
    return Judged(found, tails, reason)


def drivers(opened: Opened, event) -> np.ndarray:
    """What makes an event [1, ...] strange: by how many nats log p would rise if one column alone
    had its most probable value [D], or one patch that of a known picture [ROWS, COLUMNS]."""
    log_prob = opened.model.log_prob
    if opened.kind == "pictures":
        return strangest.patch_gains(log_prob, event[0], opened.known[:KNOWN], ACROSS)
    return strangest.gains(log_prob, event, opened.known)[0]
