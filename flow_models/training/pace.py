"""How many steps fit into the time of a training, and where they will lead."""

from collections.abc import Sequence

import numpy as np

from flow_models.training.settings import FitSettings

POWERS = (0.25, 0.5, 1.0, 2.0)  # of 1 / step, by which an objective falls
LEAST_ROWS = 6  # of a history that says where it leads
FORGOTTEN = 1 / 3  # of its rows, the first: the objective falls by other laws there


def steps_in_all(
    settings: FitSettings,
    step: int,
    total: int,
    spent: float,
    step_seconds: float,
    row_seconds: float,
) -> int:
    """Steps that a training has in the end: those of the settings, or as many as fit into their
    minutes.

    Args:
      step: steps made so far.
      total: steps in all, as last estimated: the evaluations to come follow from them.
      spent: seconds so far.
      step_seconds, row_seconds: of a step and of an evaluation; 0 where none was measured.
    """
    if not settings.minutes:
        return settings.steps
    if not step_seconds:
        return max(total, step + 1)
    a_step = step_seconds + row_seconds / settings.row_steps(total)
    return max(step + int(max(60 * settings.minutes - spent, 0.0) / a_step), 1)


def forecast(steps: Sequence[float], values: Sequence[float], total: int) -> float | None:
    """The objective at the end of a training, by the history so far; None while that is short.

        value = a + b (total / step)^c,   b >= 0

    The power c is the one of `POWERS` that fits best by least squares.
    """
    if len(steps) < LEAST_ROWS:
        return None
    first = int(FORGOTTEN * len(steps))
    t, v = np.asarray(steps[first:], float) / total, np.asarray(values[first:], float)
    fits = []
    for power in POWERS:
        x = t**-power
        slope = max(float(np.cov(x, v)[0, 1] / np.var(x, ddof=1)), 0.0)
        start = float(v.mean() - slope * x.mean())
        fits.append((float(np.square(v - start - slope * x).sum()), start + slope))
    return min(fits)[1]
