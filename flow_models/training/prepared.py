"""What a training takes in: its data made ready for the network, or refused."""

import dataclasses
import time

import numpy as np
import tensorflow as tf

from flow_models.bijectors.refined import Refined
from flow_models.core.arrays import as_arrays
from flow_models.core.errors import UserError
from flow_models.core.memory import give_back
from flow_models.core.serializable import to_config
from flow_models.data.shards.stream import EndlessBatches
from flow_models.models.missing import is_modelled, refuse_new_gaps
from flow_models.training import batches
from flow_models.training.batches import as_batch
from flow_models.training.devices import Devices
from flow_models.training.settings import FitSettings
from flow_models.training.sources import fingerprint, make_source

# data-dependent starting values: about so many numbers, least and most rows
START_NUMBERS, START_ROWS = 2**18, (64, 10_000)
MOST_TIMES = 4  # that complete rows are repeated among those with missing cells
# settings that a resumed run may change
FREE = ("checkpoint_seconds", "jit", "microbatches", "strategy")


class PreparedData:
    """Training and validation data of a model, which starts from their first rows.

    Args:
      loss: its `identity`, if it has one, is part of the run's.

    Others as in `fit`.

    Attributes:
      source: of the training batches.
      validation: blocks of the network [N, ...] with noise that stays the same, or None.
      identity: what must be equal for a run to be resumed exactly.
      frame_seconds: that taking all through the frame took.

    Raises:
      UserError: data that the model cannot take.
    """

    def __init__(self, model, data, validation, settings: FitSettings, devices: Devices, loss):
        self.model, self.settings, self.devices = model, settings, devices
        data, validation = (batches.named_rows(each, model) for each in (data, validation))
        data, validation = self._telling(self._by_codec(data)), self._by_codec(validation)
        self._data, self.source = data, self._source(data)
        self.validation = None if validation is None else self._ready(validation)
        rows = int(np.clip(START_NUMBERS // model.partition.size, *START_ROWS))
        of_all = isinstance(model.layer, Refined) and self.source.arrays is not None
        first = as_batch(self.source.arrays if of_all else self.source.first_rows(rows), model)
        self._check_rows(first)
        self.identity = self._identity(data, loss, first)
        start(model, first)
        self.frame_seconds = 0.0
        self._pass_through_frame()
        self._pass_through_mixture(getattr(loss, "of_latents", False))

    def _by_codec(self, data):
        """Arrays of x as their codec prepares them, which is measured by the training data."""
        if data is None or callable(data) or isinstance(data, tf.data.Dataset):
            return data
        named = data if isinstance(data, dict) else {"x": data}
        if "x" not in named:
            return data
        named = {**named, "x": self.model.codec.as_numbers(named["x"])}
        if not self.model.started:
            self.model.fit_codec(named["x"])
        self.model.codec.check_bounds(named["x"])
        x = self.model.codec.prepare(named["x"])
        if is_modelled(self.model):
            refuse_new_gaps(self.model.codec, named["x"], x)
        return {**named, "x": x} if isinstance(data, dict) else x

    def _telling(self, data):
        """Arrays without the rows of x whose cells are all missing, which say nothing; complete
        rows, which say most, are repeated until they are half of all, or MOST_TIMES."""
        x = data.get("x") if isinstance(data, dict) else data
        if not is_modelled(self.model) or not isinstance(x, np.ndarray) or x.ndim != 2:
            return data
        gaps = np.isnan(np.asarray(x, np.float64))
        whole, partial = np.flatnonzero(~gaps.any(1)), np.flatnonzero(gaps.any(1) & ~gaps.all(1))
        times = int(np.clip(np.ceil(len(partial) / max(len(whole), 1)), 1, MOST_TIMES))
        kept = np.sort(np.concatenate([np.tile(whole, times), partial]))
        if not len(partial) or len(kept) < self.settings.batch_size:
            return data
        return tf.nest.map_structure(lambda array: np.asarray(array)[kept], data)

    def _source(self, data):
        settings, dtype = self.settings, self.model.dtype.as_numpy_dtype
        workers = self.devices.worker, self.devices.workers
        modelled, batch = is_modelled(self.model), settings.batch_size
        if modelled and not (callable(data) or isinstance(data, tf.data.Dataset)):
            batch *= 1 + (len(tf.nest.flatten(data)[0]) >= 2 * batch)  # half complete rows, at best
        return make_source(data, batch, settings.seed, dtype, *workers, missing=modelled)

    def _ready(self, validation) -> dict[str, np.ndarray]:
        """Validation data as blocks of the network, with noise that stays the same."""
        dtype = self.model.dtype.as_numpy_dtype
        arrays = as_arrays(validation, dtype, "validation data", is_modelled(self.model))
        named = arrays if isinstance(arrays, dict) else {"x": arrays}
        as_batch(tf.nest.map_structure(lambda a: a[:1], named), self.model)
        if len(self.model.event_shape) == 1:
            return self._drawn(named)
        return {**named, "x": self.model.codec.encode(named["x"], dtype).rows}

    def _drawn(self, named) -> dict[str, np.ndarray]:
        """Vectors of the user as rows of the network, all at once."""
        return {name: rows.numpy() for name, rows in as_batch(named, self.model).items()}

    def _check_rows(self, first) -> None:
        """Refuses rows of another shape than the model's, outside its domain, or without a
        density."""
        for rows in (first, self.validation):
            if rows is not None:
                self._check_offsets(rows["x"])
                self.model.layer.check(np.asarray(batches.inputs(self.model, rows)))
        if self.source.arrays is not None:
            arrays = self.source.arrays
            named = arrays if isinstance(arrays, dict) else {"x": arrays}
            as_batch(tf.nest.map_structure(lambda a: a[:1], named), self.model)
            if len(self.model.event_shape) == 1:
                self.model.layer.check(np.asarray(batches.inputs(self.model, self._drawn(named))))
            self.model.codec.check(np.asarray(named["x"]))
        for arrays in (self.source.arrays, self.validation):
            if isinstance(arrays, dict) and "weight" in arrays:
                batches.check_weights(arrays["weight"])

    def _check_offsets(self, x) -> None:
        """Refuses rows that a simulator or a dataset gives so far from 0 that float32 rounds
        them; those of arrays are centred by now, and so are rows that the codec has prepared."""
        codec = self.model.codec
        codec = dataclasses.replace(codec, kinds=()) if getattr(codec, "kinds", ()) else codec
        if self.source.arrays is None and codec.fitted_to(np.asarray(x)).far:
            raise UserError(
                "rows of this simulator or dataset lie too far from 0 for 32-bit numbers: subtract"
                " an offset in it, or give an array of float64"
            )

    def _pass_through_frame(self) -> None:
        """Takes the data through a frame in front of the flow now, rather than in every step."""
        if self.model.frame is None:
            return
        before = time.perf_counter()
        arrays = self.source.arrays
        if isinstance(self._data, EndlessBatches):
            self.source = self._source(self._data.each(batches.into_frame(self.model)))
        elif arrays is not None:
            if getattr(self.model.codec, "kinds", ()) and "context" not in arrays:
                arrays = {**arrays, "x": self._drawn(arrays)["x"]}  # exact whatever their noise
            self.source = self._source(batches.through_frame(self.model, arrays))
        if self.validation is not None:
            self.validation = batches.through_frame(self.model, self.validation)
        give_back()
        self.frame_seconds = time.perf_counter() - before

    def _pass_through_mixture(self, of_latents: bool) -> None:
        """Takes arrays through a mixture that the flow starts at."""
        if not (of_latents and isinstance(self.model.layer, Refined)):
            return
        if self.source.arrays is not None:
            passed = batches.through_mixture(self.model, self.source.arrays, training=True)
            self.source = self._source(passed)
        if self.validation is not None:
            self.validation = batches.through_mixture(self.model, self.validation, training=False)

    def _identity(self, draws, loss, first) -> dict:
        """What must be equal for a run to be resumed exactly."""
        fields = dataclasses.asdict(self.settings)
        data = first if self.source.arrays is None else self.source.arrays
        return {
            **{name: value for name, value in fields.items() if name not in FREE},
            "layer": to_config(self.model.layer),
            "partition": to_config(self.model.partition),
            "draws": getattr(draws, "identity", None),
            "loss": getattr(loss, "identity", None),
            "dtype": self.model.dtype.name,
            "training data": fingerprint(data),
            "validation data": fingerprint(self.validation),
        }


def start(model, batch) -> None:
    """Data-dependent initial weights from a batch, once in the life of a model.

    `Trainer` does it with its first rows.
    """
    if model.started:
        return
    inputs, condition = batches.inputs(model, batch), batches.given(model, batch)
    model.bijector.data_dependent_init(inputs, condition)
    model.started = True
