"""Batches as a network takes them: dictionaries of blocks; and the passes that losses make.

A batch of a user is x, or a dictionary with a value for each block of inputs and for each block
that y fills, and perhaps the "weight" [B, 1] of its rows, whose mean over the data should be 1.
Where a density is annealed, "beta" [B, 1] is its power (see `reverse_kl`).
Behind a frame (see `bijectors.frames`) the data of a training are taken through it once; a batch
then holds "x" in the frame, the "context" of the data, and the "log_det" [B, 1]. Behind a mixture
(see `bijectors.refined`) it holds its latents "x" and the "log_det", that of the codec included.
"""

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.memory import give_back
from flow_models.models import rows
from flow_models.models.codecs import Noise
from flow_models.models.labels import Labels
from flow_models.models.passes import ROWS
from flow_models.models.problem import Parameters

OF_ROWS = ("weight", "beta")  # that a batch may have beside the blocks, a number a row


def as_batch(batch, model, seed=(0, 0)) -> dict[str, tf.Tensor]:
    """A batch as blocks of the network: numbers of its type, of the right widths.

    Args:
      batch: x [B, *event], or a dictionary of blocks.
      seed: a pair of whole numbers, of the noise that pixels get.

    Raises:
      UserError: blocks that the model does not have, or does not find, or of another shape.
    """
    if not isinstance(batch, dict) and not (tf.is_tensor(batch) or isinstance(batch, np.ndarray)):
        raise UserError(f"a batch is x, or a dictionary of blocks; got a {type(batch).__name__}")
    named = batch if isinstance(batch, dict) else {"x": batch}
    if "log_det" in named:
        return {name: tf.cast(value, model.dtype) for name, value in named.items()}
    _check_blocks(named, model)
    ready = {name: tf.cast(value, model.dtype) for name, value in named.items() if name != "x"}
    ready["x"] = model.codec.draw(tf.convert_to_tensor(named["x"]), model.dtype, seed)
    for stream, name in enumerate(_drawn_blocks(named, model)):
        of_block = tf.random.experimental.stateless_fold_in(tf.cast(seed, tf.int32), stream)
        ready[name] = model.codecs[name].draw(tf.shape(ready["x"])[0], model.dtype, of_block)
    return ready


def check_weights(weights) -> None:
    """Raises UserError for weights [N, 1] of rows below 0, or all 0."""
    weights = np.asarray(weights)
    if (weights < 0).any() or not weights.any():
        row = int(np.argmin(weights))
        raise UserError(
            f"the weight of row {row} is {weights.flat[row]:g}: weights are at least 0, and not"
            " all are 0"
        )


def _drawn_blocks(named, model) -> list[str]:
    """Blocks of noise beside x that a batch does not bring along; where y depends on the noise, it
    must."""
    beside = [name for name in model.partition.beside_x if name not in named]
    return [name for name in beside if isinstance(model.codecs[name], Noise)]


def named_rows(data, model):
    """Training data with tables and records taken by name, and labels as rows; arrays, datasets and
    functions as they are.

    Columns that the model does not name are ignored. Named columns are in the user's units, also
    those of parameters, of which arrays are whitened.
    """
    columns = set(model.columns)
    if isinstance(data, dict) and ("x" in data or not columns or not columns <= set(data)):
        return {name: _by_name(values, name, model) for name, values in data.items()}
    return _by_name(data, "x", model)


def _by_name(values, block, model):
    codec, dtype = model.codecs.get(block), model.dtype.as_numpy_dtype
    if isinstance(codec, Labels):
        ready = getattr(values, "ndim", 0) == 2 and isinstance(values, np.ndarray)
        return values if ready or tf.is_tensor(values) else codec.encode(values, dtype).rows
    if codec is None or not rows.is_named(values, codec.columns):
        return values
    if block == "x" and not isinstance(codec, Parameters):
        return codec.array(values)
    return codec.encode(values, dtype).rows


def _check_blocks(named, model) -> None:
    shapes = block_shapes(model) | {name: (1,) for name in OF_ROWS if name in named}
    drawn = _drawn_blocks(named, model)
    for name in {**shapes, **named}:
        if name in drawn:
            continue
        if name not in named:
            raise UserError(f"the data have no {name}, which the model needs")
        if name not in shapes:
            raise UserError(f"the model has no {name}")
        shape, found = shapes[name], tuple(named[name].shape[1:])
        if found != shape and not (name == "x" and found == model.codec.padded_shape):
            what = f"{shape[0]} dimensions" if len(shape) == 1 else f"images {list(shape)}"
            raise UserError(
                f"the model has {what} of {name}, the data shape {tuple(named[name].shape)}"
            )


def block_shapes(model) -> dict[str, tuple[int, ...]]:
    """The shape of a row of each block of a batch."""
    partition = model.partition
    widths = {**partition.inputs, **partition.outputs, **partition.given}
    names = [*partition.inputs, *partition.observed]
    return {name: model.codec.shape if name == "x" else (widths[name],) for name in names}


def inputs(model, batch) -> tf.Tensor:
    """The inputs of the network [B, ...]."""
    blocks = [batch[name] for name in model.partition.inputs]
    return blocks[0] if len(blocks) == 1 else tf.concat(blocks, -1)


def given(model, batch) -> tf.Tensor | None:
    """What is given [B, C]; None where nothing is."""
    blocks = [batch[name] for name in model.partition.given]
    return tf.concat(blocks, -1) if blocks else None


def forward(model, weights, batch):
    """v [B, N] and log |det| [B] of a batch."""
    if "context" in batch:
        layer, weights = model.layer.layer, weights["layer"]
        context = layer.prepare(weights, batch["context"])
        v, log_det = layer.forward_and_log_det(weights, batch["x"], context)
        return v, log_det + batch["log_det"][:, 0]
    if "log_det" in batch:
        v, log_det = model.layer.refine(weights, batch["x"])
        return v, log_det + batch["log_det"][:, 0]
    condition = model.layer.prepare(weights, given(model, batch))
    return model.layer.forward_and_log_det(weights, inputs(model, batch), condition)


def inverse(model, weights, v, batch):
    """Inputs [B, ...] of outputs v [B, N], for the y of a batch; in the frame if there is one."""
    if "context" in batch:
        layer, weights = model.layer.layer, weights["layer"]
        context = layer.prepare(weights, batch["context"])
        return layer.inverse_and_log_det(weights, v, context)[0]
    condition = model.layer.prepare(weights, given(model, batch))
    return model.layer.inverse_and_log_det(weights, v, condition)[0]


def seen(model, weights, batch) -> list[tf.Tensor]:
    """What the base density and the couplings are given of a batch, [B, ...] each."""
    outputs = [batch["y"]] if "y" in model.partition.outputs else []
    if "context" in batch:
        return [*outputs, batch["context"]]
    condition = given(model, batch)
    if condition is None:
        return outputs
    if model.frame is not None:
        condition = model.frame.prepare(weights["frame"], condition)["context"]
    return [*outputs, condition]


def y_of(model, batch) -> tf.Tensor | None:
    """The y that the base density is of; None where it is not among the outputs."""
    return batch["y"] if "y" in model.partition.outputs else None


def log_det_of_codec(model, batch):
    """log |det d rows / d values| [B] of a batch, where `forward` does not count it."""
    return 0.0 if "log_det" in batch else model.codec.log_det(batch["x"])


def through_mixture(model, arrays, training: bool):
    """Rows as latents of the mixture that a flow starts at: `training` rows as if they were new;
    validation rows are rows of the network already, with their noise."""
    named = arrays if isinstance(arrays, dict) else {"x": arrays}
    rows = {name: tf.cast(value, model.dtype) for name, value in named.items()}
    ready = as_batch(named, model) if training else rows
    weights, layer = model.weights, model.layer
    if training:
        z, log_det = layer.cross_fitted(weights, ready["x"])
    else:
        z, log_det = (each.numpy() for each in layer.start(weights, ready["x"]))
    log_det = log_det + np.asarray(model.codec.log_det(ready["x"]))
    of_rows = {"weight": ready["weight"].numpy()} if "weight" in ready else {}
    return {"x": z, "log_det": log_det[:, None].astype(z.dtype), **of_rows}


def into_frame(model):
    """A function of a batch of blocks that gives it in the frame, as `through_frame` does arrays;
    for streams, while they are read."""
    frame = model.frame
    weights = {name: tf.constant(value) for name, value in model.weights["frame"].items()}

    def change(batch):
        ready = as_batch(batch, model)
        state = frame.prepare(weights, given(model, ready))
        z, log_det = frame.forward_and_log_det(weights, ready["x"], state)
        of_rows = {name: ready[name] for name in OF_ROWS if name in ready}
        return {"x": z, "context": state["context"], "log_det": log_det[:, None], **of_rows}

    return change


def through_frame(model, arrays):
    """Training arrays taken through the frame, once; arrays as they are where there is none.

    Raises:
      UserError: the frame's numbers are not finite.
    """
    if model.frame is None or "context" in arrays:
        return arrays
    weights, condition = model.weights["frame"], given(model, arrays)
    found: dict[str, np.ndarray] = {}
    for first in range(0, len(arrays["x"]), ROWS):
        part = slice(first, first + ROWS)
        state = model.passes.state(np.asarray(condition[part]))
        tensors = {name: tf.constant(value) for name, value in state.items()}
        x = tf.constant(arrays["x"][part])
        z, log_det = model.frame.forward_and_log_det(weights, x, tensors)
        log_det = log_det.numpy()[:, None]
        of_rows = {"weight": arrays["weight"][part]} if "weight" in arrays else {}
        done = {"x": z.numpy(), "context": state["context"], "log_det": log_det, **of_rows}
        for name, values in done.items():
            if not first:
                found[name] = np.empty((len(arrays["x"]), *values.shape[1:]), values.dtype)
            found[name][part] = values
        give_back()  # each part leaves pieces in the heaps of all threads
    if not all(np.isfinite(each).all() for each in found.values()):
        raise UserError(
            "posteriors of these data are too narrow for 32-bit numbers: the tolerance is too small"
            " beside the data"
        )
    return found
