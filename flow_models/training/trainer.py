"""`fit`: many compiled steps a call, weights and moments carried as tensors, resumable at any
step."""

import dataclasses
import math
import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models.bijectors.refined import Refined
from flow_models.core import storage
from flow_models.core.errors import UserError, WorkerLost, warn
from flow_models.core.startup import tensor_float_32
from flow_models.core.tiling import FixedShapeBatches
from flow_models.models.missing import is_modelled
from flow_models.models.pixels import Pixels
from flow_models.training import checkpoint, devices, few_rows, losses, missing, pace, paths
from flow_models.training.checkpoint import Progress
from flow_models.training.optimizer import initial_moments, learning_rate
from flow_models.training.prepared import PreparedData
from flow_models.training.settings import FitSettings
from flow_models.training.steps import Steps

# a compiled call is meant to last this long: the granularity of the progress bar and of Ctrl-C
CALL_SECONDS = 0.5
FEW_STEPS = 100  # that fit into the minutes of a training: most of them went into the start


class TrainingDiverged(UserError):
    """The objective or its gradient became NaN or Inf."""


@dataclasses.dataclass
class FitResult:
    """What training did. `history` has a list a column, one entry an epoch."""

    history: dict[str, list[float]]
    # wall time of fit, compilation and evaluation included, all sessions of a resumed run
    train_seconds: float
    compile_seconds: float  # of the training step, this session's
    steps_per_second: float  # of the training loop once compiled, this session's
    stopped: str  # "finished" or "early"
    # whose weights are kept; 0: those that training started from
    kept_step: int | None = dataclasses.field(default=None, kw_only=True)
    # of validation (training, if none), with these weights
    kept_objective: float = dataclasses.field(default=float("nan"), kw_only=True)

    def __repr__(self) -> str:
        epochs = len(next(iter(self.history.values()), ()))
        last = ", ".join(f"{name} {each[-1]:.5g}" for name, each in self.history.items() if each)
        return (
            f"FitResult, {self.stopped} after {self.train_seconds:.1f} s,"
            f" {self.steps_per_second:.0f} steps/s; history of {epochs} evaluations, the last:\n"
            f"  {last}"
        )

    def metrics(self) -> dict[str, float]:
        """The three figures of speed, by the names of metrics.json."""
        names = ("train_seconds", "compile_seconds", "steps_per_second")
        return {name: getattr(self, name) for name in names}


def fit(
    model,
    data,
    validation=None,
    settings: FitSettings | None = None,
    *,
    loss: Callable | None = None,
    folder: str | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Trains the model in place by stochastic gradient descent on `loss`.

    The weights that stay in the model are the running average (EMA), taken at the epoch with the
    best validation objective where there are validation data.

    Args:
      model: a `Model`.
      data: array [n, D] (or a dictionary of blocks, "x", "y", ...), a `tf.data.Dataset` of such,
        or a simulator draw(n, seed) -> tensors, pure and compilable, with seed an int32 pair. Data
        frames and records are taken by the names of the model's columns, others are ignored.
      validation: arrays like `data`, or None.
      settings: see `FitSettings`; without them, tables of few rows have others (`few_rows`).
      loss: loss(weights, batch) -> {"objective": [B], ...}; by default the negative
        log-likelihood, or what a continuous flow names as its objective.
      folder: where checkpoints go (a path or s3://); None: none are written.
      resume: go on from the checkpoint in `folder`, exactly as if never interrupted; start if there
        is none. Without it, a folder that holds a checkpoint is refused.
      on_epoch: called with every new row of the history.
      progress: show a progress bar; by default where stderr is a terminal.

    Raises:
      UserError: data, settings or checkpoint do not fit.
      TrainingDiverged: NaN or Inf; the message names step, batch and the last good checkpoint.
      KeyboardInterrupt: on Ctrl-C, after a checkpoint has been written.
      WorkerLost: of several workers one does not answer any more; the first has written a
        checkpoint, if it is left.
    """
    trainer = Trainer(model, data, validation, settings, loss=loss, folder=folder, resume=resume)
    return trainer.run(on_epoch, progress)


class Trainer:
    """`fit` in two parts: this refuses what does not fit and changes no file, `run` trains.
    Arguments as in `fit`."""

    def __init__(
        self, model, data, validation=None, settings=None, *, loss=None, folder=None, resume=False
    ):
        self.began, self.seconds_before = time.perf_counter(), 0.0
        if resume and not folder:
            raise UserError("resume needs the folder of the checkpoint")
        self.model, self.settings = model, settings or few_rows.defaults(model, data)
        self._check_minutes(data)
        self.in_bits = loss is None and isinstance(model.codec, Pixels)
        self.loss = loss or _default_loss(model)
        self.devices = devices.get(self.settings.strategy)
        self.devices.check(self.settings.batch_size)
        self.folder, self.resume = folder if self.devices.is_chief else None, resume
        ready = PreparedData(model, data, validation, self.settings, self.devices, self.loss)
        self.source, self.validation, self.identity = ready.source, ready.validation, ready.identity
        self.frame_seconds = ready.frame_seconds
        self.began += self.frame_seconds  # which are no part of the training
        self.steps = Steps(model, self.loss, self.source, self.settings, self.devices)
        self.terms = self.steps.terms
        weights = [tf.identity(v) for v in self.steps.trainable]
        self.at = Progress(
            0,
            weights,
            initial_moments(weights),
            np.zeros(len(self.terms), np.float32),
            total=self.settings.steps,
        )
        self.saved_step, self.last_saved = None, time.perf_counter()
        self.compile_seconds, self.loop_seconds, self.loop_steps = 0.0, 0.0, 0
        self.row_seconds, self.expected = 0.0, ""
        self._evaluate = FixedShapeBatches(
            self._evaluate_rows, model.codec.tiles, self.settings.jit
        )
        self.start_rows = self._start()
        if resume and self.folder and checkpoint.exists(folder):
            self._restore()

    def _check_minutes(self, data) -> None:
        if self.settings.minutes and getattr(data, "follows_steps", False):
            raise UserError(
                "the draws of this training change with the number of steps, which must be known:"
                " give --steps in place of --minutes"
            )

    def _start(self) -> np.ndarray | None:
        """The objective of validation rows [N] before training, where the start is a density that
        was measured: it stays unless training is better by more than a standard error."""
        if self.validation is None or not isinstance(self.model.layer, Refined):
            return None
        values = self._evaluate(self.at.weights, *self.validation.values())["objective"]
        values = values.astype(np.float64)
        self.at = dataclasses.replace(
            self.at, best=self.at.weights, best_objective=float(values.mean())
        )
        return values

    def _evaluate_rows(self, weights, *arrays):
        return self.steps.evaluate(weights, dict(zip(self.validation, arrays, strict=True)))

    def run(
        self, on_epoch: Callable[[dict], None] | None = None, progress: bool | None = None
    ) -> FitResult:
        """Trains to the end; see `fit`.

        Raises:
          UserError: the folder holds the checkpoint of another run.
          TrainingDiverged: NaN or Inf.
        """
        if self.folder and not self.resume and checkpoint.exists(self.folder):
            raise UserError(
                f"{self.folder} holds the checkpoint of another run: resume it, or take another"
                " folder"
            )
        show = self.devices.is_chief and (sys.stderr.isatty() if progress is None else progress)
        with tqdm(
            total=self.at.total,
            initial=self.at.step,
            disable=not show,
            unit="step",
            dynamic_ncols=True,
        ) as bar:
            try:
                self._join()
                if self.at.step:
                    self._refresh()
                while not self._is_over():
                    self._advance(bar)
                    if self._row_is_due():
                        self._close_row(on_epoch)
                    if time.perf_counter() - self.last_saved > self.settings.checkpoint_seconds:
                        self._try_to_save(storage.is_s3(self.folder or "-"))
            except KeyboardInterrupt:
                self._try_to_save(True)
                raise
            except devices.LOST as error:
                self._lost(error)
        self.save()
        self._keep_best()
        history = {name: [row[name] for row in self.at.rows] for name in self.at.rows[-1]}
        speed = self.loop_steps / self.loop_seconds if self.loop_steps else 0.0
        stopped = "finished" if self.at.step == self.at.total else "early"
        self._tell_few_steps(stopped)
        seconds, (step, objective) = self.seconds(), self._kept(history)
        return FitResult(
            history,
            seconds,
            self.compile_seconds,
            speed,
            stopped,
            kept_step=step,
            kept_objective=objective,
        )

    def _tell_few_steps(self, stopped: str) -> None:
        if self.settings.minutes and stopped == "finished" and self.at.step < FEW_STEPS:
            warn(
                f"{self.settings.minutes:g} minutes were enough for {self.at.step} steps alone, as"
                f" compilation took {self.compile_seconds:.0f} s: give more"
            )

    def _close_row(self, on_epoch) -> None:
        """An evaluation, and what follows it; the first one compiles, so its time says little."""
        began, is_first = time.perf_counter(), not self.at.rows
        row = self._finish_epoch()
        if on_epoch:
            on_epoch(row)
        self._refresh()
        self._expect()
        self.row_seconds = 0.0 if is_first else time.perf_counter() - began

    def _expect(self) -> None:
        """What the progress line says of the end."""
        name = "train_objective" if self.validation is None else "val_objective"
        steps, values = ([row[key] for row in self.at.rows] for key in ("step", name))
        value = pace.forecast(steps, values, self.at.total)
        self.expected = "" if value is None else f", about {self._told(value)} at the end"

    def _told(self, objective: float) -> str:
        """An objective as the progress line has it: of pictures in bits per dimension."""
        if not self.in_bits:
            return f"{objective:.4f}"
        return f"{objective / (math.prod(self.model.event_shape) * math.log(2)):.3f} bits"

    def _kept(self, history) -> tuple[int, float]:
        """The step whose weights are kept, and its objective."""
        place = len(self.at.rows) - 1 - self.at.waited
        if place < 0:
            return 0, self.at.best_objective
        name = "train_objective" if self.validation is None else "val_objective"
        return int(history["step"][place]), history[name][place]

    def _join(self) -> None:
        """Several workers all start from the first one's state, new or read from its checkpoint."""
        if self.devices.workers == 1:
            return
        frozen = self.steps.frozen
        mine = (
            checkpoint.to_bytes(self.at, frozen, self.identity, self.seconds())
            if self.devices.is_chief
            else None
        )
        data = self.devices.bytes_from_chief(mine)
        if not self.devices.is_chief:
            self._take(*checkpoint.from_bytes(data, self.at, frozen, self.identity))

    def _lost(self, error: Exception) -> None:
        """A worker is gone, so nobody can go on. What the first one has of the state is good, and
        is saved."""
        if self.devices.workers == 1:
            raise error
        self._try_to_save(True)
        kept = (
            f"the checkpoint of step {self.saved_step} is kept in {self.folder}"
            if self.folder
            else "the first worker keeps the checkpoint"
        )
        raise WorkerLost(
            f"worker {self.devices.worker} of {self.devices.workers} stops at step {self.at.step}:"
            f" another worker does not answer any more; {kept}; start all of them again with"
            " --resume"
        ) from error

    def seconds(self) -> float:
        """Wall time of the run so far, of earlier sessions too."""
        return self.seconds_before + time.perf_counter() - self.began

    def _is_over(self) -> bool:
        out_of_patience = 0 < self.settings.patience <= self.at.waited
        return not self._row_is_due() and (self.at.step == self.at.total or out_of_patience)

    def _row_is_due(self) -> bool:
        """Whether an epoch has ended that has no row yet: also after an interruption in the middle
        of `_finish_epoch`."""
        steps = self._steps_of_row()
        return steps > 0 and (
            steps >= self.settings.row_steps(self.at.total) or self.at.step == self.at.total
        )

    def _steps_of_row(self) -> int:
        """Steps since the last row of the history."""
        return self.at.step - (self.at.rows[-1]["step"] if self.at.rows else 0)

    def _next_call(self) -> tuple[int, int]:
        """Steps of the next compiled call, and steps in all; of several workers the first one says
        so, as both follow from the time."""
        if not self.devices.is_chief:
            n, total = self.devices.from_chief(None, 2)
            return int(n), int(total)
        at, settings = self.at, self.settings
        speed = self.loop_steps / self.loop_seconds if self.loop_steps else 0.0
        before = self.seconds_before / at.step if at.step else 0.0
        step_seconds = 1 / speed if speed else before
        total = pace.steps_in_all(
            settings, at.step, at.total, self.seconds(), step_seconds, self.row_seconds
        )
        to_row = max(settings.row_steps(total) - self._steps_of_row(), 1)
        most = max(int(speed * CALL_SECONDS), 1)
        n = min(to_row, total - at.step, self.source.chunk_steps, most)
        self.devices.from_chief([n, total], 2)
        return n, total

    def _advance(self, bar):
        """One compiled call: as many steps as fit into about CALL_SECONDS, up to the end of the
        epoch."""
        if self._row_is_due():
            return
        n, total = self._next_call()
        self.at = at = dataclasses.replace(self.at, total=total)
        bar.total = total
        if not n:  # the time is over
            return
        chunk = self.source.chunk(at.step, n)
        if not self.compile_seconds:
            bar.set_description_str("compiling")
        start = time.perf_counter()
        with tensor_float_32(self.settings.tf32):
            done, good, weights, moments, sums = self.steps.compiled(
                at.weights,
                at.moments,
                tf.constant(at.sums),
                chunk,
                tf.constant(at.step),
                tf.constant(n),
                tf.constant(total),
            )
        done, good, sums = int(done), bool(good), sums.numpy()
        elapsed = time.perf_counter() - start
        if not good:
            self._diverged(at.step + done - 1, "the objective or its gradient is NaN or Inf")
        if self.compile_seconds == 0.0:
            self.compile_seconds = elapsed
            bar.set_description_str("")
        else:
            self.loop_seconds, self.loop_steps = self.loop_seconds + elapsed, self.loop_steps + n
        self.at = dataclasses.replace(
            at, step=at.step + n, weights=weights, moments=moments, sums=sums
        )
        bar.update(n)
        mean = sums[self.terms.index("objective")] / self._steps_of_row()
        bar.set_postfix_str(f"objective {self._told(mean)}{self.expected}", refresh=False)

    def _diverged(self, step: int, what: str):
        """Ends the run; the model keeps the best weights so far, the folder the last checkpoint."""
        if self.at.best is not None:
            self._keep_best()
        if self.folder and self.saved_step is None:
            self.save()
        kept = f"the last good checkpoint, of step {self.saved_step}, is kept in {self.folder}"
        where = ""
        if self.source.rows is not None:
            number, batch = divmod(step, self.source.per_pass)
            where = f", batch {batch} of pass {number}"
        raise TrainingDiverged(
            f"training diverged at step {step}{where}: {what};"
            f" {kept if self.folder else 'no checkpoints were written'}; look at the rows of this"
            " batch, or start anew with a lower learning_rate or clip_norm"
        )

    def _finish_epoch(self) -> dict:
        """Closes a row of the history: means over the epoch, and the averaged weights on the
        validation data."""
        at = self.at
        count = self._steps_of_row()
        row = {
            "epoch": len(at.rows) + 1,
            "step": at.step,
            "seconds": self.seconds(),
            "learning_rate": self._learning_rate(),
        }
        row |= {f"train_{name}": float(value / count) for name, value in zip(self.terms, at.sums)}
        average = self._averaged()
        objective = row["train_objective"]
        if self.validation is not None:
            values, margin = self._validated(average)
            row |= {f"val_{name}": value for name, value in values.items()}
            objective = row["val_objective"] + margin
            if not np.isfinite(objective):
                self._diverged(at.step - 1, f"the validation objective is {objective}")
        better = objective < at.best_objective
        best = average if better or self.validation is None else at.best
        self.at = dataclasses.replace(
            at,
            rows=(*at.rows, row),
            sums=np.zeros_like(at.sums),
            best=best,
            waited=0 if better else at.waited + 1,
            best_objective=objective if better else at.best_objective,
        )
        return row

    def _learning_rate(self) -> float:
        """Of the last step."""
        total = tf.constant(self.at.total) if self.settings.minutes else None
        return float(learning_rate(self.settings, tf.constant(self.at.step - 1), total))

    def _validated(self, weights) -> tuple[dict[str, float], float]:
        """Means over the validation data, and the standard error of the difference from the start
        (0 where the start is none). Of several workers the first one computes them, so that all
        decide alike."""
        count = len(self.terms) + 1
        if not self.devices.is_chief:
            *means, margin = self.devices.from_chief(None, count)
            return dict(zip(self.terms, means)), margin
        found = self._evaluate(weights, *self.validation.values())
        values = {name: float(np.mean(value, dtype=np.float64)) for name, value in found.items()}
        margin = 0.0
        if self.start_rows is not None:
            change = found["objective"] - self.start_rows
            margin = float(change.std() / len(change) ** 0.5)
        self.devices.from_chief([*(values[name] for name in self.terms), margin], count)
        return values, margin

    def _refresh(self) -> None:
        """Tells the source of the averaged weights, while there are steps to come."""
        if self.at.step < self.at.total:
            self.source.refresh(self.steps.nest(self._averaged()))

    def _averaged(self):
        return self.at.moments["average"] if self.settings.ema else self.at.weights

    def _keep_best(self):
        for variable, value in zip(self.steps.trainable, self.at.best):
            variable.assign(value)

    def save(self):
        """Writes the whole state to the folder, if there is one."""
        if self.folder:
            checkpoint.write(self.folder, self.at, self.steps.frozen, self.identity, self.seconds())
            self.saved_step, self.last_saved = self.at.step, time.perf_counter()

    def _try_to_save(self, may_fail: bool):
        """`save`; where it fails, a warning will do: the checkpoint before is whole, and the next
        one may succeed."""
        try:
            self.save()
        except UserError as error:
            if not may_fail:
                raise
            self.last_saved = time.perf_counter()
            warn(f"no checkpoint of step {self.at.step}: {error}")

    def _restore(self):
        """Takes up the state in the folder."""
        self._take(*checkpoint.read(self.folder, self.at, self.steps.frozen, self.identity))
        self.saved_step = self.at.step

    def _take(self, at: Progress, values: list[np.ndarray], seconds: float):
        """Makes a state that was read this run's."""
        self.at = dataclasses.replace(at, total=at.total or self.settings.steps)
        self.seconds_before = seconds
        for variable, value in zip(self.steps.frozen, values):
            variable.assign(value)


def _default_loss(model):
    """The loss of maximum likelihood, of the observed cells where some are missing; of a continuous
    flow, its own."""
    if is_modelled(model):
        return missing.observed_likelihood(model)
    return paths.loss_of(model) or losses.negative_log_likelihood(model)
