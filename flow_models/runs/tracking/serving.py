"""The model as MLflow serves it. MLflow copies this file, and the package, into the folder of the
model and runs it there.

    mlflow models serve -m "models:/flowmodels1/1" --env-manager local --port 8080
    curl localhost:8080/invocations -H 'Content-Type: application/json' \\
         -d '{"inputs": [[0.1, 0.2]], "params": {"method": "log_prob"}}'
"""

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ParamSchema, ParamSpec, Schema, TensorSpec

PARAMS = (
    ("method", "string", "log_prob"),
    ("n", "long", 1000),
    ("seed", "long", 0),
    ("temperature", "double", 1.0),
)


class FlowPyfunc(mlflow.pyfunc.PythonModel):
    """A flow behind MLflow's `predict`; `params["method"]` says which method answers.

    log_prob, anomaly_score: rows [B, D] -> [B]; encode, decode: [B, D] -> [B, D]; sample: [n, D],
    whatever the rows; classify, for models with classes: [B, D] -> [B, classes].

    For images, rows are pixels 0 .. 255, [B, H, W, C], and latents [B, N] in that shape;
    bits_per_dim: [B].

    For inverse problems, rows are data y [B, M]; posterior, the default: [B, n, P], and
    anomaly_score: [B].
    """

    def load_context(self, context) -> None:
        """Loads the model from the folder that was logged."""
        import flow_models

        self.model = flow_models.load(context.artifacts["model"])

    def predict(self, context, model_input: np.ndarray, params=None) -> np.ndarray:
        """The answer of one method; a mistake in the request becomes MLflow's error 400."""
        chosen = {name: default for name, _, default in PARAMS} | (params or {})
        rows, method = np.asarray(model_input, np.float32), self._method(str(chosen["method"]))
        n, seed = int(chosen["n"]), int(chosen["seed"])
        try:
            if method == "posterior":
                return self.model.posterior(rows, n, seed=seed)
            if method == "sample":
                temperature = float(chosen["temperature"])
                return self.model.sample(n, seed=seed, sampling_temperature=temperature)
            return getattr(self.model, method)(self._events(method, rows))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _method(self, asked: str) -> str:
        """The method to call, if this model has it."""
        offered = methods(self.model)
        if asked == "log_prob" and "log_prob" not in offered:  # the default of a request
            asked = offered[0]
        if asked not in offered:
            raise MlflowException.invalid_parameter_value(
                f"method must be one of {', '.join(offered)}; got {asked!r}"
            )
        return asked

    def _events(self, method: str, rows: np.ndarray) -> np.ndarray:
        """Vectors as they are, images as whole pixels, and latents of images as vectors."""
        if len(self.model.event_shape) == 1:
            return rows
        if method == "decode":
            return rows.reshape(len(rows), -1)
        if rows.size and not (rows.min() >= 0 and rows.max() <= 255):
            raise ValueError(
                f"pixels are numbers from 0 to 255; got {rows.min():g} to {rows.max():g}"
            )
        return np.rint(rows).astype(np.uint8)


def methods(model) -> tuple[str, ...]:
    """The methods that the model answers, the default first."""
    if simulator_of(model) is not None:
        return ("posterior", "anomaly_score")
    of_images = ("bits_per_dim",) if len(model.event_shape) > 1 else ()
    of_classes = ("classify",) if model.classes else ()
    return ("log_prob", "anomaly_score", *of_images, "encode", "decode", "sample", *of_classes)


def signature(shape: tuple[int, ...]) -> ModelSignature:
    """Rows float32 [-1, *shape], the result of the default method, and the parameters of
    `predict`."""
    return ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *shape))]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1,))]),
        params=ParamSchema([ParamSpec(name, kind, default) for name, kind, default in PARAMS]),
    )


def example(model) -> np.ndarray:
    """Two rows [2, ...]: data of an inverse problem, else draws from the model, or zeros where a
    draw needs a y."""
    simulator = simulator_of(model)
    if simulator is not None:
        return np.asarray(simulator.simulate(2, (0, 0))[1], np.float32)
    try:
        return np.asarray(model.sample(2, seed=0), np.float32)
    except ValueError:
        return np.zeros((2, *model.event_shape), np.float32)


def simulator_of(model):
    """The simulator of an inverse problem; None for other models."""
    try:
        return model.simulator
    except (AttributeError, ValueError):
        return None


mlflow.models.set_model(FlowPyfunc())
