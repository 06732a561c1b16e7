"""Which trials there are and what became of them: an Optuna study in study.db, so that a stopped
one can go on.

A grid is queued whole, in its order; a search asks Optuna's TPE sampler (Bergstra et al.,
Algorithms for hyper- parameter optimization, 2011) for each next setting. A trial is known by its
number in the sweep, which its folder's name begins with; the study counts again a trial that was
tried anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from flow_models.core.errors import UserError
from flow_models.sweep import grid
from flow_models.sweep.grid import Range

FILE = "study.db"
MOST = 1000  # settings on one machine


class Study:
    """Trials of a space, of which `take` gives the next one and `tell` hears what came of it.

    Args:
      folder: of the sweep.
      space: values or ranges by name, see `grid.space`.
      trials: how many settings a search tries; 0: the grid of all values.
      higher: whether a higher value is better.
      resume: go on with the study in the folder.

    Raises:
      UserError: what `size_of` refuses, or a study of something else in the folder.
    """

    def __init__(
        self,
        folder: Path,
        space: Mapping[str, list[str] | Range],
        trials: int,
        higher: bool,
        resume: bool,
    ):
        self.space, self.size = space, size_of(space, trials)
        import optuna
        from optuna.trial import TrialState

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.states, self.resumed = TrialState, resume and (folder / FILE).exists()
        self.study = optuna.create_study(
            storage=f"sqlite:///{folder.absolute() / FILE}",
            study_name="sweep",
            load_if_exists=self.resumed,
            direction="maximize" if higher else "minimize",
        )
        # by the number of trials, as a resumed search would else draw its first settings again
        self.study.sampler = optuna.samplers.TPESampler(seed=len(self.study.trials))
        said = json.dumps(
            {name: str(values) for name, values in space.items()} | {"trials": trials}
        )
        if self.resumed and self.study.user_attrs.get("space", said) != said:
            raise UserError(
                f"{folder} holds a sweep over something else, or with another number of trials:"
                " take another --output-dir"
            )
        self.study.set_user_attr("space", said)
        last = self._last()
        for index, setting in enumerate([] if trials else grid.settings(space)):
            if index not in last:
                self.study.enqueue_trial(setting, user_attrs={"index": index})
        self.stopped = [trial for trial in last.values() if trial.state == TrialState.RUNNING]
        for index, trial in last.items():
            if trial.state == TrialState.FAIL:
                self.study.enqueue_trial(
                    trial.params or _setting(trial),
                    user_attrs={"index": index, "setting": _setting(trial)},
                )

    def _last(self) -> dict:
        """The last attempt of each trial, by its number in the sweep."""
        return {
            trial.user_attrs["index"]: trial
            for trial in self.study.trials
            if "index" in trial.user_attrs
        }

    def settings(self) -> list[tuple[int, dict[str, str]]]:
        """(number, setting) of all trials that there are by now, by number."""
        return sorted((index, _setting(trial)) for index, trial in self._last().items())

    def failed(self) -> set[int]:
        """Numbers of the trials whose last attempt has failed."""
        return {index for index, trial in self._last().items() if trial.state == self.states.FAIL}

    def take(self) -> tuple[int, int, dict[str, str]] | None:
        """(Optuna's number, number in the sweep, setting) of the next trial, None where there is
        none.

        First those that were stopped, then those that wait, of a resumed sweep also those that have
        failed.
        """
        if self.stopped:
            trial = self.stopped.pop(0)
            return trial.number, trial.user_attrs["index"], _setting(trial)
        waits = any(trial.state == self.states.WAITING for trial in self.study.trials)
        return self._ask() if waits or len(self._last()) < self.size else None

    def _ask(self) -> tuple[int, int, dict[str, str]]:
        trial = self.study.ask()
        drawn = {name: _suggested(trial, name, values) for name, values in self.space.items()}
        known = {
            "setting": drawn,
            "index": len(self._last()),
        } | trial.user_attrs  # the index last: with it the trial counts
        for name, value in known.items():
            trial.set_user_attr(name, value)
        return trial.number, known["index"], known["setting"]

    def tell(self, number: int, value: float | None) -> None:
        """The value of a trial, None of one that failed. One that was stopped is not told: it goes
        on another time."""
        if value is None or not math.isfinite(value):
            self.study.tell(number, state=self.states.FAIL)
        else:
            self.study.tell(number, value)


def size_of(space: Mapping[str, list[str] | Range], trials: int) -> int:
    """How many trials there will be. Raises UserError where there are none or too many, or a range
    without their number."""
    ranges = [name for name, values in space.items() if isinstance(values, Range)]
    if ranges and not trials:
        raise UserError(f"{ranges[0]} is a range: --trials says how many settings to try")
    size = trials or grid.count(space)
    if not 1 <= size <= MOST:
        raise UserError(
            f"{size:,} trials; a sweep on one machine has up to {MOST:,}: AWS Batch takes more"
            " (doc/aws_batch.md)"
        )
    return size


def _setting(trial) -> dict[str, str]:
    """The setting of a trial, also of one that waits."""
    return dict(trial.user_attrs.get("setting") or trial.system_attrs["fixed_params"])


def _suggested(trial, name: str, values) -> str:
    """The value that a trial has of one setting, as its flag takes it."""
    if not isinstance(values, Range):
        return trial.suggest_categorical(name, values)
    if values.whole:
        return str(trial.suggest_int(name, int(values.low), int(values.high), log=values.log))
    return f"{trial.suggest_float(name, values.low, values.high, log=values.log):.4g}"
