"""How well a score separates anomalies from known events: three measures with bootstrap
intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from flow_models.core.errors import UserError

MEASURES = ("auroc", "aupr", "fpr95")
CELLS = 2**22  # values in a block of resampled counts


def detection(
    known: np.ndarray,
    anomalies: np.ndarray,
    resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, float]:
    """Measures of scores of known [n] and anomalous [m] events; a higher score is stranger.

        auroc   P(score of an anomaly > score of a known event), ties counting half
        aupr    average precision in finding the anomalies; chance gives m / (n + m)
        fpr95   fraction of known events flagged by the threshold that 95% of the anomalies reach

    `<measure>_low` and `<measure>_high` bound the central `level` of `resamples` bootstrap draws,
    which draw known and anomalous events separately (the percentile interval: An introduction to
    the bootstrap, Efron and Tibshirani 1993).

    Raises:
      UserError: no known or no anomalous event, or a score that is NaN.
    """
    known, anomalies = (np.asarray(s, np.float64).ravel() for s in (known, anomalies))
    if not (known.size and anomalies.size) or np.isnan(known).any() or np.isnan(anomalies).any():
        raise UserError(
            "scores of at least one known and one anomalous event, none of them NaN, are needed; "
            f"got {known.size} and {anomalies.size}"
        )
    counts = Counts(known, anomalies)
    result = dict(zip(MEASURES, (float(m[0]) for m in measures(*counts.once()))))
    if not resamples:
        return result
    drawn = np.concatenate(
        [np.stack(measures(*block), 1) for block in counts.resampled(resamples, seed)]
    )
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2], axis=0)
    for name, below, above in zip(MEASURES, low, high):
        result |= {f"{name}_low": float(below), f"{name}_high": float(above)}
    return result


def measures(false: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUROC, average precision and FPR at 95% TPR, [R] each, of counts [R, T] of events at T
    falling thresholds."""
    false, true = np.cumsum(false, 1), np.cumsum(true, 1)
    n, m = false[:, -1:], true[:, -1:]
    before_false, before_true = (np.pad(c[:, :-1], [(0, 0), (1, 0)]) for c in (false, true))
    auroc = ((false - before_false) * (true + before_true)).sum(1) / (2.0 * n * m)[:, 0]
    precision = true / np.maximum(true + false, 1)
    aupr = ((true - before_true) * precision).sum(1) / m[:, 0]
    reached = np.argmax(true >= 0.95 * m - 1e-9 * m, axis=1)
    return auroc, aupr, np.take_along_axis(false, reached[:, None], 1)[:, 0] / n[:, 0]


class Counts:
    """Number of events at each distinct score, highest score first, original or resampled."""

    def __init__(self, known: np.ndarray, anomalies: np.ndarray):
        self.parts, place = (
            [],
            np.unique(-np.concatenate([known, anomalies]), return_inverse=True)[1].ravel(),
        )
        self.thresholds = int(place.max()) + 1
        self.parts = [place[: known.size], place[known.size :]]

    def once(self):
        """Counts [1, T] of known and of anomalous events, as they are."""
        return tuple(np.bincount(part, minlength=self.thresholds)[None] for part in self.parts)

    def resampled(self, resamples: int, seed: int):
        """Blocks of pairs of counts [R, T], drawn with replacement: a multinomial over the
        thresholds."""
        rng = np.random.default_rng(seed)
        shares = [np.bincount(part, minlength=self.thresholds) / part.size for part in self.parts]
        step = max(1, CELLS // self.thresholds)
        for start in range(0, resamples, step):
            rows = min(step, resamples - start)
            yield tuple(
                rng.multinomial(part.size, share, rows) for part, share in zip(self.parts, shares)
            )


def curve(known: np.ndarray, anomalies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve: fractions [T + 1] of known and of anomalous events at or above each
    threshold."""
    false, true = (
        np.append(0.0, np.cumsum(c[0]) / c[0].sum())
        for c in Counts(np.asarray(known), np.asarray(anomalies)).once()
    )
    return false, true


def table(
    scores: Mapping[str, Mapping[str, np.ndarray]], known: str, **options
) -> dict[str, float]:
    """`detection` of every score against every set: `auroc_<score>_<set>`,
    `auroc_<score>_<set>_low`, ...

    scores: {score: {set: [n]}}; the set of known events is compared with each of the others.
    """
    found = {}
    for score, sets in scores.items():
        for name in sets:
            if name != known:
                for key, value in detection(sets[known], sets[name], **options).items():
                    measure, _, end = key.partition("_")
                    found["_".join(part for part in (measure, score, name, end) if part)] = value
    return found
