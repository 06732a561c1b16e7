"""The model as MLflow serves it. MLflow copies this file beside the package into the model's folder
and runs it there.

    mlflow models serve -m "models:/flowmodels1/1" --env-manager local --port 8080
    curl localhost:8080/invocations -H 'Content-Type: application/json' \\
         -d '{"inputs": [[0.1, 0.2]], "params": {"method": "log_prob"}}'
"""

from __future__ import annotations

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

METHODS = (
    "log_prob",
    "anomaly_score",
    "bits_per_dim",
    "encode",
    "decode",
    "sample",
    "classify",
    "posterior",
)
OF_DATA = ("posterior", "anomaly_score")  # what an inverse problem answers, for rows of data
PARAMS = (
    ("method", "string", "log_prob"),
    ("n", "long", 1000),
    ("seed", "long", 0),
    ("temperature", "double", 1.0),
)


class FlowPyfunc(mlflow.pyfunc.PythonModel):
    """A flow behind MLflow's `predict`; `params["method"]` says which of METHODS answers.

    log_prob, anomaly_score: rows [B, D] -> [B]; encode, decode: [B, D] -> [B, D]; sample: [n, D],
    whatever the rows;
    classify: [B, D] -> [B, M], of a model of classes.
    posterior: of an inverse problem rows are its data y [B, M], and there are posterior, their
    default: [B, n, P], and
    anomaly_score: [B].
    Of images, events are pixels 0 .. 255, [B, H, W, C], latents [B, N] in that shape, and there is
    bits_per_dim.
    """

    def load_context(self, context) -> None:
        """Loads the flow from the model folder that was logged."""
        import flow_models

        self.model = flow_models.load(context.artifacts["model"])

    def predict(self, context, model_input: np.ndarray, params=None) -> np.ndarray:
        """The answer of one method; a mistake in the request becomes MLflow's error 400."""
        chosen = {name: default for name, _, default in PARAMS} | (params or {})
        method = chosen["method"]
        inverse = hasattr(self.model, "posterior")
        if inverse and method == "log_prob":  # the default of a density
            method = "posterior"
        if (
            method not in METHODS
            or not hasattr(self.model, method)
            or inverse
            and method not in OF_DATA
        ):
            raise MlflowException.invalid_parameter_value(
                f"method must be one of {', '.join(METHODS)}; got {method!r}"
            )
        try:
            n, seed, temperature = (
                int(chosen["n"]),
                int(chosen["seed"]),
                float(chosen["temperature"]),
            )
            if method == "posterior":
                return self.model.posterior(np.asarray(model_input, np.float32), n, seed=seed)
            if method == "sample":
                return self.model.sample(n, seed=seed, temperature=temperature)
            return getattr(self.model, method)(
                self._given(method, np.asarray(model_input, np.float32))
            )
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _given(self, method: str, events: np.ndarray) -> np.ndarray:
        """Rows as they are; images as the whole numbers that pixels are, and their latents as
        rows."""
        if len(self.model.event_shape) == 1:
            return events
        if method == "decode":
            return events.reshape(len(events), -1)
        if events.size and not (events.min() >= 0 and events.max() <= 255):
            raise ValueError(
                f"pixels are numbers from 0 to 255; got {events.min():g} to {events.max():g}"
            )
        return np.rint(events).astype(np.uint8)


def signature(shape: tuple[int, ...]):
    """Events float32 [-1, *shape], the result of the default method, and the parameters of
    `predict`."""
    from mlflow.models import ModelSignature

    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,))]),
        params=ParamSchema([ParamSpec(name, kind, default) for name, kind, default in PARAMS]),
    )


def example(folder) -> np.ndarray:
    """Two events [2, ...] for the model saved in `folder`: draws from it, or zeros where a draw
    needs to be told its y; of an inverse problem two rows of data."""
    import flow_models

    model = flow_models.load(folder)
    if hasattr(model, "posterior"):
        return np.asarray(model.simulator.simulate(2, (0, 0))[1], np.float32)
    try:
        return np.asarray(model.sample(2, seed=0), np.float32)
    except ValueError:
        return np.zeros((2, *model.event_shape), np.float32)


mlflow.models.set_model(FlowPyfunc())
