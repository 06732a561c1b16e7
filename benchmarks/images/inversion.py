"""Accuracy of training by inversion: the same weights, differentiated in three ways."""

import numpy as np
import tensorflow as tf

import flow_models as fm
from flow_models.bijectors.layer import leaves
from flow_models.training import losses
from images.data import dequantised


def measure(spec: dict, pixels: np.ndarray, steps: list[int]) -> dict:
    """Errors of a model trained by inversion, after each number of steps in `steps` (ascending,
    from 0).

    Returns:
      One row for each of `steps`: `round_trip`, the largest |f^-1(f(x)) - x| of a batch, in levels
      of 256; the relative error of the gradient in the Euclidean norm, by inversion and as usual,
      both in float32, against the usual one in float64; the same of the worst single tensor.
    """
    model = _model(spec, "yes", tf.float32)
    batch, rows, done = dequantised(pixels[: spec["batch"]], 0), [], 0
    for wanted in steps:
        # the first row is after a single step with rate 0
        _train(model, pixels, spec, max(wanted - done, 1))
        done = wanted
        rows.append({"steps": wanted, **_errors(model, spec, batch)})
    return {"rows": rows}


def _model(spec, reversible, dtype):
    glow = fm.glow_image(
        tuple(spec["shape"]),
        spec["levels"],
        spec["depth"],
        spec["hidden"],
        reversible=reversible,
        seed=spec["seed"],
        dtype=dtype,
    )
    return fm.Model(glow, codecs={"x": fm.Pixels(*spec["shape"])})


def _train(model, pixels, spec, steps):
    rate = spec["recipe"]["learning_rate"] if model.started else 1e-12
    settings = fm.FitSettings(
        steps=steps,
        batch_size=spec["batch"],
        learning_rate=rate,
        schedule="constant",
        warmup_steps=0,
        ema=0.0,
    )
    fm.fit(model, pixels, settings=settings, progress=False)


def _errors(model, spec, batch):
    back = model.decode(model.encode(batch))
    exact = _gradient(_copy(model, spec, tf.float64), batch)
    errors = {"round_trip": float(np.abs(back - batch).max())}
    for name, other in (("inversion", model), ("plain", _copy(model, spec, tf.float32))):
        gradient = _gradient(other, batch)
        errors[name] = _relative(gradient, exact)
        errors[f"{name}_worst"] = max(_relative([g], [e]) for g, e in zip(gradient, exact))
    return errors


def _copy(model, spec, dtype):
    """The same weights without inversion."""
    copy = _model(spec, "no", dtype)
    for variable, value in zip(
        copy.bijector.named_weights().values(), model.bijector.named_weights().values()
    ):
        variable.assign(tf.cast(value, variable.dtype))
    return copy


def _gradient(model, batch):
    variables = [v for v in leaves(model.weights).values() if v.trainable]
    loss = losses.negative_log_likelihood(model)

    @tf.function(jit_compile=True, autograph=False)
    def run(x):
        with tf.GradientTape() as tape:
            objective = tf.reduce_mean(loss(model.weights, {"x": x})["objective"])
        return tape.gradient(objective, variables)

    return [g.numpy().astype(np.float64) for g in run(tf.constant(batch, model.dtype))]


def _relative(gradient, exact):
    difference = np.sqrt(sum(np.sum((g - e) ** 2) for g, e in zip(gradient, exact)))
    return float(difference / max(np.sqrt(sum(np.sum(e**2) for e in exact)), 1e-30))
