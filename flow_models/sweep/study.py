"""The trials of a sweep on this machine, and a search that learns from them.

The folder is the whole state: sweep.yaml, trials.csv, and the metrics.json of each trial. So a
sweep that was stopped, even by a power cut, goes on from its folder.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from flow_models.core import storage
from flow_models.core.errors import EX_TEMPFAIL
from flow_models.runs.metric_names import is_higher_better
from flow_models.sweep import record, results
from flow_models.sweep import space as spaces
from flow_models.sweep.results import Trial

STOPPED = (EX_TEMPFAIL, 130)  # exit statuses of a run that was told to stop, and can be resumed


class Study:
    """The trials of a sweep: what became of each, and which are left to try.

    Args:
      folder: of the sweep, with whatever an earlier attempt left in it.
      header: what the sweep is.

    Attributes:
      trials: all so far, by number.
      size: how many there will be.

    Raises:
      UserError: a damaged file in the folder.
    """

    def __init__(self, folder: Path, header: record.Header):
        self.folder, self.metric = folder, header.metric
        self.trials = record.read_trials(folder, header)
        space = spaces.parse(header.space)
        self.size, self._search = spaces.size(space, header.trials), None
        if header.trials:
            past = [(trial.setting, trial.value(self.metric)) for trial in self.trials]
            self._search = Search(space, is_higher_better(self.metric), past)

    def todo(self) -> Iterator[Trial]:
        """The trials to run: those without a value by now, then, in a search, new ones.

        Draws each new trial when it is asked for, and writes it down before it runs.
        """
        yield from [trial for trial in self.trials if not trial.is_done(self.metric)]
        while self._search and len(self.trials) < self.size:
            self.trials.append(Trial(len(self.trials), self._search.suggest()))
            table = results.table(self.trials, self.metric).encode()
            storage.write_bytes(storage.join(self.folder, results.TABLE), table)
            yield self.trials[-1]

    def ended(self, index: int, status: int) -> Trial:
        """Takes in that a trial has ended with this exit status; returns it with its metrics.

        One that was stopped from outside has not failed: a resumed sweep goes on with it.
        """
        failed = status not in (0, *STOPPED)
        trial = results.read(self.folder, index, self.trials[index].setting, failed)
        self.trials[index] = trial
        if self._search and status not in STOPPED:
            self._search.tell(index, math.nan if failed else trial.value(self.metric))
        return trial


class Search:
    """Draws settings with Optuna's tree-structured Parzen estimator.

    Bergstra, Bardenet, Bengio and Kegl, Algorithms for Hyper-Parameter Optimization, 2011.

    Args:
      space: what is varied, see `space.parse`.
      higher: whether a higher value is better.
      past: setting and value (NaN without one) of each earlier trial, by number.
    """

    def __init__(self, space: Mapping, higher: bool, past: Sequence[tuple[Mapping, float]]):
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        choice = optuna.distributions.CategoricalDistribution
        self._space: dict[str, Any] = {
            name: choice(values) if isinstance(values, list) else values
            for name, values in space.items()
        }
        # seeded by the number of trials: a resumed search does not draw its first settings again
        self._study = optuna.create_study(
            direction="maximize" if higher else "minimize",
            sampler=optuna.samplers.TPESampler(seed=len(past)),
        )
        for index, (setting, value) in enumerate(past):
            self._study.enqueue_trial({name: self._value(name, setting[name]) for name in space})
            self._study.ask(self._space)
            if math.isfinite(value):
                self.tell(index, value)

    def _value(self, name: str, text: str) -> str | float:
        """The value that a flag stands for; rounding may have moved it out of its range."""
        values = self._space[name]
        if hasattr(values, "choices"):
            return text
        return min(max(float(text), values.low), values.high)

    def suggest(self) -> dict[str, str]:
        """The next setting to try."""
        drawn = self._study.ask(self._space).params
        return {name: spaces.flag(drawn[name]) for name in self._space}

    def tell(self, index: int, value: float) -> None:
        """Learns the value of a trial, NaN if it failed."""
        from optuna.trial import TrialState

        if math.isfinite(value):
            self._study.tell(index, value)
        else:
            self._study.tell(index, state=TrialState.FAIL)
