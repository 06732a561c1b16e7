"""The model as MLflow serves it. MLflow copies this file, and the package, into the folder of the
model and runs it there; doc/serving.md has a request of each kind.

    mlflow models serve -m "models:/flowmodels1/1" --env-manager local --port 8080
    curl localhost:8080/invocations -H 'Content-Type: application/json' \\
         -d '{"dataframe_records": [{"x1": 0.1, "x2": 0.2}], "params": {"method": "log_prob"}}'
"""

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

PARAMS = (
    ("method", "string", ""),
    ("n", "long", 1000),
    ("seed", "long", 0),
    ("temperature", "double", 1.0),
    ("label", "string", ""),
)
MOST = 5_000_000  # numbers of one answer
DRAWS = ("sample", "posterior", "predict")


class FlowPyfunc(mlflow.pyfunc.PythonModel):
    """A flow behind MLflow's `predict`; `params["method"]` says which method answers.

    Rows are taken by the names of their columns; missing names are refused, others ignored. Numbers
    that are not finite come back as null.

    log_prob, the default, and anomaly_score: rows of x -> [B]; encode: [B, N]; decode: rows of the
    latents z1 .. zN -> [B, D]; sample: [n, D], whatever the rows; describe: what the model is.

    With classes, classify: [B, classes], in the order that describe tells; `label` is the class of
    log_prob, encode, decode and sample.

    For images, rows are pixels 0 .. 255, [B, H, W, C], and latents [B, N] in that shape;
    bits_per_dim: [B].

    For inverse problems, posterior, the default: rows of data y -> [B, n, P]; anomaly_score: of y;
    predict: rows of parameters x -> data [B, n, M]; log_prob: rows of x and y together -> [B].
    """

    def load_context(self, context) -> None:
        """Loads the model from the folder that was logged."""
        import flow_models
        from flow_models.runs.warned import plain

        plain()
        self.model = flow_models.load(context.artifacts["model"])

    def predict(self, context, model_input, params=None):
        """The answer of one method; a mistake in the request becomes MLflow's error 400."""
        chosen = {name: default for name, _, default in PARAMS} | (params or {})
        method = self._method(str(chosen["method"]))
        try:
            return as_json(self._answer(method, model_input, chosen))
        except ValueError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error

    def _answer(self, method: str, rows, chosen):
        model, seed, label = self.model, int(chosen["seed"]), str(chosen["label"])
        if method == "describe":
            return described(model)
        if label and not model.classes:
            raise ValueError("label is of models with classes; this one has none")
        y = {"y": rows if y_columns(model) else label} if label or y_columns(model) else {}
        if method in DRAWS:
            n = self._count(method, rows, int(chosen["n"]))
            if method != "sample":
                return getattr(model, method)(rows, n, seed=seed)
            temperature = float(chosen["temperature"])
            return model.sample(n, **y, seed=seed, sampling_temperature=temperature)
        if method == "decode":
            return model.decode(self._latents(rows), **y)
        if method in ("classify", "bits_per_dim") or model.is_posterior and method != "log_prob":
            y = {}
        return getattr(model, method)(self._events(rows), **y)

    def _method(self, asked: str) -> str:
        """The method to call, if this model has it; the first where none is named."""
        offered = methods(self.model)
        asked = asked or offered[0]
        if asked not in offered:
            raise MlflowException.invalid_parameter_value(
                f"method must be one of {', '.join(offered)}; got {asked!r}"
            )
        return asked

    def _count(self, method: str, rows, n: int) -> int:
        """n, which is bounded by the size of the answer."""
        data = self.model.codecs["y"].shape[0] if method == "predict" else self.model.event_size
        most = max(MOST // (data * (1 if method == "sample" else max(len(rows), 1))), 1)
        if not 1 <= n <= most:
            raise ValueError(
                f"the number of samples n is 1 to {most:,} here, as an answer holds {MOST:,}"
                f" numbers; got {n}: ask several times, with other seeds"
            )
        return n

    def _latents(self, rows):
        """Latents [B, N]: columns z1 .. zN, or, for images, numbers in the shape of an event."""
        if isinstance(rows, np.ndarray):
            return rows.reshape(len(rows), -1)
        from flow_models.models.rows import by_name

        return by_name(rows, latents(self.model), "z")

    def _events(self, rows):
        """Rows as they are, and images as whole pixels."""
        if len(self.model.event_shape) == 1:
            return rows
        if rows.size and not (rows.min() >= 0 and rows.max() <= 255):
            raise ValueError(
                f"pixels are numbers from 0 to 255; got {rows.min():g} to {rows.max():g}"
            )
        return np.rint(rows).astype(np.uint8)


def methods(model) -> tuple[str, ...]:
    """The methods that the model answers, the default first."""
    if model.is_posterior:
        score = ("anomaly_score",) if model.data_model else ()
        return ("posterior", *score, "log_prob", "predict", "describe")
    of_images = ("bits_per_dim",) if len(model.event_shape) > 1 else ()
    of_classes = ("classify",) if model.classes else ()
    shared = ("log_prob", "anomaly_score", *of_images, "encode", "decode", "sample")
    return (*shared, *of_classes, "describe")


def described(model) -> dict:
    """What a client needs to know: methods, columns of rows and of y, classes, latents."""
    return {
        "methods": list(methods(model)),
        "columns": model.columns or list(model.event_shape),
        "y": list(y_columns(model)),
        "classes": list(model.classes),
        "latents": model.latent_size,
    }


def y_columns(model) -> tuple[str, ...]:
    """The names of the data y that a row holds beside x; none where the model has no such y."""
    return () if model.classes or "y" not in model.codecs else tuple(model.codecs["y"].columns)


def latents(model) -> list[str]:
    """The names that latents have in a request."""
    return [f"z{number + 1}" for number in range(model.latent_size)]


def as_json(answer):
    """The answer with None for numbers that are not finite, which JSON does not know."""
    if hasattr(answer, "columns"):  # samples of several kinds
        text = answer.to_json(orient="records", date_format="iso", double_precision=15)
        import json

        return json.loads(text)
    if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f" or np.isfinite(answer).all():
        return answer
    return np.where(np.isfinite(answer), answer.astype(object), None).tolist()


def signature(model) -> ModelSignature:
    """Columns by name, of which each method needs its own, or pixels; and the parameters of
    `predict`."""
    params = ParamSchema([ParamSpec(name, kind, default) for name, kind, default in PARAMS])
    outputs = Schema([TensorSpec(np.dtype(np.float32), (-1,))])
    if len(model.event_shape) > 1:
        pixels = TensorSpec(np.dtype(np.float32), (-1, *model.event_shape))
        return ModelSignature(Schema([pixels]), outputs, params)
    types = dict.fromkeys([*model.columns, *y_columns(model), *latents(model)], DataType.double)
    kinds = getattr(model.codec, "kinds", ())
    texts = [name for name, kind in zip(model.columns, kinds) if kind.is_text]
    types |= dict.fromkeys(texts, DataType.string)
    columns = [ColSpec(kind, name, required=False) for name, kind in types.items()]
    return ModelSignature(Schema(columns), outputs, params)


def example(model):
    """Two rows: data of an inverse problem, else draws from the model, or zeros where a draw needs
    a y."""
    import pandas as pd

    if model.is_posterior and model.simulator.simulates:
        values = np.asarray(model.simulator.simulate(2, (0, 0))[1])
    elif y_columns(model):
        values = np.zeros((2, len(y_columns(model))))
    else:
        values = model.sample(2, seed=0)
    if np.ndim(values) > 2:
        return np.asarray(values, np.float32)
    names = y_columns(model) or model.columns
    frame = values if hasattr(values, "columns") else pd.DataFrame(values, columns=list(names))
    numbers = frame.select_dtypes("number").columns
    return frame.astype({name: "float64" if name in numbers else str for name in frame})


def simulator_of(model):
    """The simulator of an inverse problem; None for other models."""
    try:
        return model.simulator
    except (AttributeError, ValueError):
        return None


mlflow.models.set_model(FlowPyfunc())
