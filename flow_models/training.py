"""`fit`: many compiled steps a call, weights and moments carried as tensors, resumable at any step."""

import dataclasses
import sys
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from flow_models import losses, serialisation
from flow_models.bijectors.layer import leaves, rebuild
from flow_models.described import to_config
from flow_models.errors import UserError
from flow_models.optimizer import adam, initial_moments, learning_rate
from flow_models.settings import FitSettings
from flow_models.sources import as_arrays, fingerprint, make_source
from flow_models.tiling import Tiled

START_ROWS = 10_000  # rows that data-dependent starting values are computed from
CALL_SECONDS = 0.5  # a compiled call is meant to last this long: the progress bar's and Ctrl-C's granularity
CHECKPOINT_FORMAT = 1


class TrainingDiverged(UserError):
    """The objective or its gradient became NaN or Inf."""


@dataclasses.dataclass
class FitResult:
    """What training did. `history` has a list a column, one entry an epoch."""

    history: dict[str, list[float]]
    train_seconds: float  # wall time of fit, compilation and evaluation included, all sessions of a resumed run
    compile_seconds: float  # of the training step, this session's
    steps_per_second: float  # of the training loop once compiled, this session's
    stopped: str  # "finished" or "early"

    def metrics(self) -> dict[str, float]:
        """The three figures of speed, by the names of metrics.json."""
        names = ("train_seconds", "compile_seconds", "steps_per_second")
        return {name: getattr(self, name) for name in names}


def fit(model, data, validation=None, settings: FitSettings | None = None, *, loss: Callable | None = None,
        folder: str | None = None, resume: bool = False, on_epoch: Callable[[dict], None] | None = None,
        progress: bool | None = None) -> FitResult:  # fmt: skip
    """Trains the model in place by stochastic gradient descent on `loss`.

    The weights that stay in the model are the running average (EMA), taken at the epoch with the best validation
    objective where there are validation data.

    Args:
      model: a `FlowModel`.
      data: array [n, D] (or a dictionary with "x", "y", "condition"), a `tf.data.Dataset` of such, or a simulator
        draw(n, seed) -> tensors, pure and compilable, with seed an int32 pair.
      validation: arrays like `data`, or None.
      settings: see `FitSettings`.
      loss: loss(weights, batch) -> {"objective": [B], ...}; by default the negative log-likelihood.
      folder: where checkpoints go (a path or s3://); None: none are written.
      resume: go on from the checkpoint in `folder`, exactly as if never interrupted; start if there is none.
      on_epoch: called with every new row of the history.
      progress: show a progress bar; by default where stderr is a terminal.

    Raises:
      UserError: data, settings or checkpoint do not fit.
      TrainingDiverged: NaN or Inf; the message names step, batch and the last good checkpoint.
      KeyboardInterrupt: on Ctrl-C, after a checkpoint has been written.
    """
    settings = settings or FitSettings()
    trainer = _Trainer(model, data, validation, settings, loss or losses.negative_log_likelihood(model), folder)
    if resume and folder:
        trainer.restore()
    return trainer.run(on_epoch or (lambda row: None), progress)


class _Trainer:
    """The state of one run: tensors on the device, and counters."""

    def __init__(self, model, data, validation, settings, loss, folder):
        began = time.perf_counter()
        self.model, self.settings, self.loss, self.folder = model, settings, loss, folder
        dtype = model.dtype.as_numpy_dtype
        self.source = make_source(data, settings.batch_size, settings.seed, dtype)
        self.validation = None if validation is None else as_arrays(validation, dtype)
        self.variables = list(leaves(model.weights).values())
        self.trainable = [v for v in self.variables if v.trainable]
        if not self.trainable:
            raise UserError("the model has nothing to train")
        self.step = 0
        self._fresh_start()
        self.terms = None  # names of the loss's terms, known when the step is traced
        self.sums = None  # of the terms since the last row of the history
        self.rows: list[dict] = []
        self.best, self.best_objective, self.waited = None, np.inf, 0
        self.seconds_before, self.began, self.last_saved = 0.0, began, time.perf_counter()
        self.compile_seconds, self.loop_seconds, self.loop_steps = 0.0, 0.0, 0
        self._compiled = tf.function(self._steps, jit_compile=settings.jit, autograph=False)
        self._evaluate = Tiled(self._evaluate_rows, settings.jit)

    def _fresh_start(self):
        """Data-dependent starting values, moments at zero."""
        first = self.source.first_rows(START_ROWS)
        named = first if isinstance(first, dict) else {"x": first}
        if named["x"].shape[-1] != self.model.event_size:
            raise UserError(f"the model has {self.model.event_size} dimensions, the data {named['x'].shape[-1]}")
        self._check_domain(first)
        started, _ = self.model.layer.start(self.model.weights, named["x"], named.get("condition"))
        for variable, value in zip(self.variables, leaves(started).values()):
            if value is not variable:
                variable.assign(value)
        self.weights = [tf.identity(v) for v in self.trainable]
        self.moments = initial_moments(self.weights)

    def _check_domain(self, first):
        """Refuses training and validation rows outside the domain of the model."""
        for rows in (first, self.source.arrays, self.validation):
            x = rows["x"] if isinstance(rows, dict) else rows
            if x is not None:
                self.model.layer.check(np.asarray(x))

    def _nest(self, weights):
        """The model's nest of weights with the trained ones replaced, frozen ones as they are."""
        trained = iter(weights)
        return rebuild(self.model.weights, [next(trained) if v.trainable else v for v in self.variables])

    def _loss_and_gradients(self, weights, batch):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            shards = [self.loss(self._nest(weights), shard) for shard in _shards(batch, self.settings.shards)]
            terms = [tf.add_n([tf.reduce_mean(shard[name]) for shard in shards]) / len(shards) for name in self.terms]
            objective = terms[self.terms.index("objective")]
        gradients = tape.gradient(objective, weights, unconnected_gradients="zero")
        return tf.stack([tf.cast(term, tf.float32) for term in terms]), gradients

    def _steps(self, weights, moments, sums, chunk, step, n):
        """Up to n optimizer steps; stops before the update of a step whose objective or gradient is not finite."""

        def body(i, good, weights, moments, sums):
            batch = self.source.batch(chunk, i, step + i)
            values, gradients = self._loss_and_gradients(weights, batch)
            weights, moments, norm = adam(self.settings, step + i, weights, gradients, moments)
            good = tf.math.is_finite(tf.reduce_sum(values)) & tf.math.is_finite(norm)
            return i + 1, good, weights, moments, sums + values

        state = [0, True, weights, moments, sums]
        return tf.while_loop(lambda i, good, *_: (i < n) & good, body, state)

    def _evaluate_rows(self, weights, *arrays):
        batch = arrays[0] if not isinstance(self.validation, dict) else dict(zip(self.validation, arrays))
        return self.loss(self._nest(weights), batch)

    def run(self, on_epoch, progress) -> FitResult:
        total, stopped = self.settings.steps, "finished"
        show = sys.stderr.isatty() if progress is None else progress
        with tqdm(total=total, initial=self.step, disable=not show, unit="step", dynamic_ncols=True) as bar:
            try:
                while self.step < total:
                    if self.settings.patience and self.waited >= self.settings.patience:
                        stopped = "early"
                        break
                    self._advance(bar)
                    if self.step % self.settings.row_steps == 0 or self.step == total:
                        on_epoch(self._finish_epoch())
                    if time.perf_counter() - self.last_saved > self.settings.checkpoint_seconds:
                        self.save()
            except KeyboardInterrupt:
                self.save()
                raise
        self.save()
        self._keep_weights()
        history = {name: [row[name] for row in self.rows] for name in self.rows[-1]}
        speed = self.loop_steps / self.loop_seconds if self.loop_steps else 0.0
        return FitResult(history, self.seconds(), self.compile_seconds, speed, stopped)

    def seconds(self) -> float:
        return self.seconds_before + time.perf_counter() - self.began

    def _advance(self, bar):
        """One compiled call: as many steps as fit into about CALL_SECONDS, up to the end of the epoch."""
        to_boundary = self.settings.row_steps - self.step % self.settings.row_steps
        pace = self.loop_steps / self.loop_seconds if self.loop_steps else 0.0
        n = min(to_boundary, self.settings.steps - self.step, self.source.chunk_steps, max(int(pace * CALL_SECONDS), 1))
        chunk = self.source.chunk(self.step, n)
        if self.terms is None:
            self._trace_terms(chunk)
        if not self.compile_seconds:
            bar.set_description_str("compiling")
        start = time.perf_counter()
        done, good, weights, moments, sums = self._compiled(
            self.weights, self.moments, tf.constant(self.sums), chunk, tf.constant(self.step), tf.constant(n)
        )
        done, good = int(done), bool(good)
        elapsed = time.perf_counter() - start
        if not good:
            self._diverged(self.step + done - 1)
        if self.compile_seconds == 0.0:
            self.compile_seconds = elapsed
            bar.set_description_str("")
        else:
            self.loop_seconds, self.loop_steps = self.loop_seconds + elapsed, self.loop_steps + n
        self.weights, self.moments, self.step = weights, moments, self.step + n
        self.sums = sums.numpy()
        bar.update(n)
        mean = self.sums / max(self.step % self.settings.row_steps or self.settings.row_steps, 1)
        bar.set_postfix_str(f"objective {mean[self.terms.index('objective')]:.4f}", refresh=False)

    def _trace_terms(self, chunk):
        """Learns the names of the loss's terms from a trace that is never run."""
        traced = tf.function(lambda: self.loss(self._nest(self.weights), self.source.batch(chunk, 0, 0)), autograph=False)
        self.terms = list(traced.get_concrete_function().structured_outputs)
        self.sums = np.zeros(len(self.terms), np.float32)

    def _diverged(self, step):
        where = "no checkpoint had been written"
        if self.folder:
            self.save()
            where = f"the state of step {self.step}, before it, is kept in {self.folder}"
        per_pass = "" if self.source.rows is None else f" of pass {step // (self.source.rows // self.settings.batch_size)}"
        batch = step if self.source.rows is None else step % (self.source.rows // self.settings.batch_size)
        raise TrainingDiverged(f"training diverged: NaN or Inf at step {step}, batch {batch}{per_pass}; {where}; "
                               "try a lower learning_rate or a smaller clip_norm")  # fmt: skip

    def _finish_epoch(self) -> dict:
        """Closes a row of the history: means over the epoch, and the averaged weights on the validation data."""
        settings = self.settings
        count = self.step % settings.row_steps or settings.row_steps
        row = {"epoch": len(self.rows) + 1, "step": self.step, "seconds": self.seconds(),
               "learning_rate": float(learning_rate(settings, tf.constant(self.step - 1)))}  # fmt: skip
        row |= {f"train_{name}": float(value / count) for name, value in zip(self.terms, self.sums)}
        average = self._averaged()
        objective = row["train_objective"]
        if self.validation is not None:
            arrays = self.validation.values() if isinstance(self.validation, dict) else [self.validation]
            values = self._evaluate(average, *arrays)
            row |= {f"val_{name}": float(np.mean(value, dtype=np.float64)) for name, value in values.items()}
            objective = row["val_objective"]
        better = objective < self.best_objective
        if self.validation is None or better or self.best is None:
            self.best, self.best_objective = average, min(objective, self.best_objective)
        self.waited = 0 if better else self.waited + 1
        self.rows.append(row)
        self.sums = np.zeros_like(self.sums)
        return row

    def _averaged(self):
        return self.moments["average"] if self.settings.ema else self.weights

    def _keep_weights(self):
        for variable, value in zip(self.trainable, self.best):
            variable.assign(value)

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def _identity(self) -> dict:
        """What must be equal for a run to be resumed exactly."""
        fields = dataclasses.asdict(self.settings)
        fields = {k: v for k, v in fields.items() if k not in ("checkpoint_seconds", "jit")}
        return {**fields, "layer": to_config(self.model.layer), "training data": fingerprint(self.source.arrays),
                "validation data": fingerprint(self.validation)}  # fmt: skip

    def save(self):
        """Writes the whole state to the folder, if there is one."""
        if not self.folder:
            return
        groups = {"weights": self.weights, **self.moments, "frozen": [v for v in self.variables if not v.trainable]}
        if self.best is not None:
            groups["best"] = self.best
        arrays = {f"{name}/{i}": np.asarray(a) for name, group in groups.items() for i, a in enumerate(group)}
        header = {"format": CHECKPOINT_FORMAT, "identity": self._identity(), "step": self.step, "rows": self.rows,
                  "terms": self.terms, "sums": None if self.sums is None else [float(s) for s in self.sums],
                  "best_objective": float(self.best_objective), "waited": self.waited,
                  "seconds": self.seconds()}  # fmt: skip
        serialisation.write(self.folder, "checkpoint", arrays, header)
        self.last_saved = time.perf_counter()

    def restore(self):
        """Takes up the state in the folder; nothing happens where there is none."""
        if not serialisation.storage.exists(f"{self.folder}/checkpoint.json"):
            return
        header = serialisation.read_header(self.folder, "checkpoint", "checkpoint")
        if header.get("format") != CHECKPOINT_FORMAT:
            raise UserError(f"the checkpoint in {self.folder} is of format {header.get('format')}, this version reads "
                            f"{CHECKPOINT_FORMAT}")  # fmt: skip
        for key, value in self._identity().items():
            if header["identity"].get(key) != value:
                raise UserError(f"cannot resume {self.folder}: {key} was {header['identity'].get(key)!r} and is now "
                                f"{value!r}; use the same settings, or start a new run")  # fmt: skip
        arrays = serialisation.read_arrays(self.folder, header, "checkpoint")
        group = lambda name, like: [tf.constant(arrays[f"{name}/{i}"]) for i in range(len(like))]  # noqa: E731
        self.weights = group("weights", self.trainable)
        self.moments = {name: group(name, self.trainable) for name in self.moments}
        frozen = [v for v in self.variables if not v.trainable]
        for variable, value in zip(frozen, group("frozen", frozen)):
            variable.assign(value)
        self.best = group("best", self.trainable) if "best/0" in arrays else None
        self.step, self.rows, self.terms = header["step"], header["rows"], header["terms"]
        self.sums = None if header["sums"] is None else np.array(header["sums"], np.float32)
        self.best_objective, self.waited = header["best_objective"], header["waited"]
        self.seconds_before = header["seconds"]


def _shards(batch, count: int) -> list:
    """The batch in `count` equal parts, or whole where it cannot be cut so."""
    rows = tf.nest.flatten(batch)[0].shape[0]
    if count < 2 or rows % count:
        return [batch]
    height = rows // count
    return [tf.nest.map_structure(lambda a, i=i: a[i * height : (i + 1) * height], batch) for i in range(count)]
