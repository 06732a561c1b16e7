"""Posteriors of an inverse problem: a conditional flow in a frame that knows the simulator."""

import importlib
import math

import numpy as np
import tensorflow as tf

from flow_models.core import archive as serialisation
from flow_models.core.errors import UserError
from flow_models.core.serializable import Described, from_config, to_config
from flow_models.core.tiling import Tiled
from flow_models.models import model
from flow_models.models.model import FlowModel
from flow_models.models.partition import Partition
from flow_models.simulators.drawn import Drawn

TILES = ((1, 8), (1, 256), (16, 256))  # rows of data whose frames are found in one go
MOST_SAMPLES = 2**17  # drawn in one go
PROBLEMS = (
    "ballistics",
    "dispersion",
    "drawn",
    "gravity",
    "kinematics",
    "linear_gaussian",
    "seismic",
)
FEWEST = 20.0  # effective draws that a prediction is made from
ROWS = 2**14  # of which densities are computed in one go


class OfSimulator(tf.Module):
    """What a model of parameters x says of them: it has a `simulator`, and a `flow` whose type of
    numbers is its own."""

    @property
    def columns(self) -> list[str]:
        """Names of the parameters."""
        return list(self.simulator.parameter_names)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(P,) of x."""
        return (self.simulator.size,)

    @property
    def dtype(self) -> tf.DType:
        return self.flow.dtype


class PosteriorModel(OfSimulator):
    """p(x | y) with exact densities: log p(x | y) = log p_flow(z | context(y)) + log |det dz/dx|.

    x are parameters [..., P] and y data [..., M], both in the units of `simulator`; z are the
    parameters in the `frame` of y. The flow is an ordinary conditional `FlowModel`, trained by
    `fit` on what `prepare` gives.

    Args:
      frame: a `PriorFrame` or `LaplaceFrame`.
      constants: of the frame, from its `measure`.
      flow: density of z given the context.
      data_flow: density of the data's own context, p(y), where one was trained: what
        `anomaly_score` is.
      draws: data [K, M] of the prior, from which `predict` chooses where nothing can simulate.

    Example:
      >>> model = fm.load("runs/flowmodels6/latest")
      >>> model.posterior(y, 10_000, seed=0)      # [10_000, P] for y [M], [B, 10_000, P] for y [B, M]
      >>> model.log_prob(x, y)
    """

    def __init__(
        self,
        frame: Described,
        constants: dict[str, np.ndarray],
        flow: FlowModel,
        data_flow: FlowModel | None = None,
        draws: np.ndarray | None = None,
    ):
        super().__init__(name="posterior_model")
        self.frame, self.flow, self.data_flow, self.draws = frame, flow, data_flow, draws
        self.constants = {
            name: np.asarray(value, flow.dtype.as_numpy_dtype) for name, value in constants.items()
        }
        self._locate = Tiled(
            self.frame.locate, TILES, jit=False
        )  # its linear algebra is faster outside XLA

    @property
    def simulator(self):
        return self.frame.simulator

    def prepare(self, theta, y) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """What `fit` takes to train the flow on pairs theta [N, P], y [N, M], and log |det
        dz/dtheta| [N]."""
        state = self._state(self._data(y)[0])
        z, log_det = self.frame.forward_and_log_det(state, tf.constant(theta, self.dtype))
        return {"x": z.numpy(), "condition": state["context"]}, log_det.numpy()

    def log_prob(self, x, y) -> np.ndarray:
        """log p(x | y), x [..., P] and y [..., M] or [M] -> [...], nats in the units of x; -inf
        outside the prior's support."""
        x = rows_of(x, self.simulator.parameter_names, "x", self.dtype)
        theta, log_det = self.simulator.whiten(tf.constant(x.reshape(-1, x.shape[-1])))
        value = self.log_prob_theta(theta.numpy().reshape(x.shape), y)
        value = value + log_det.numpy().reshape(x.shape[:-1])
        return np.where(np.isnan(value) & np.isfinite(x).all(-1), -np.inf, value)

    def log_prob_theta(self, theta, y) -> np.ndarray:
        """`log_prob` of whitened parameters."""
        y, of_y = self._data(y)
        try:
            lead = np.broadcast_shapes(theta.shape[:-1], of_y)
        except ValueError:
            raise UserError(
                f"x [..., {theta.shape[-1]}] of {list(theta.shape[:-1])} rows and y [...,"
                f" {y.shape[-1]}] of {list(of_y)} do not go together: give as many, or one y"
            ) from None
        distinct, number = np.unique(y, axis=0, return_inverse=True)
        number = np.broadcast_to(number.reshape(of_y), lead).reshape(-1)
        rows = np.broadcast_to(theta, (*lead, theta.shape[-1])).reshape(-1, theta.shape[-1])
        states, values = self._state(distinct), []
        for first in range(0, max(len(rows), 1), ROWS):
            state = {
                name: tf.constant(value[number[first : first + ROWS]])
                for name, value in states.items()
            }
            z, log_det = self.frame.forward_and_log_det(
                state, tf.constant(rows[first : first + ROWS])
            )
            values.append(
                self.flow.log_prob(z.numpy(), condition=state["context"].numpy()) + log_det.numpy()
            )
        return np.concatenate(values).reshape(lead)

    def posterior(self, y, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """n draws of p(x | y): [n, P] for one observation y [M], [B, n, P] for y [B, M]; equal
        seeds give equal draws."""
        return np.asarray(
            self.simulator.physical(tf.constant(self.posterior_theta(y, n, seed, temperature)))
        )

    def posterior_theta(self, y, n: int, seed: int = 0, temperature: float = 1.0) -> np.ndarray:
        """`posterior` in whitened parameters."""
        y, lead = one_or_many(y, n, seed, self.simulator.data_names, "y", self.dtype)
        state, size = self._state(y), self.simulator.size
        drawn = np.empty((len(y), n, size), self.dtype.as_numpy_dtype)
        most = max(MOST_SAMPLES // n, 1)
        for first in range(0, len(y), most):
            part = {name: value[first : first + most] for name, value in state.items()}
            count = len(part["context"])
            z = self.flow.partition.standard_sample(
                count * n, (seed, first), self.dtype, temperature
            )
            z = self.flow.decode(z, condition=np.repeat(part["context"], n, 0)).reshape(
                count, n, size
            )
            drawn[first : first + most] = self.frame.inverse(
                {k: tf.constant(v) for k, v in part.items()}, tf.constant(z)
            )
        return drawn.reshape(*lead, n, size)

    def sample(self, n: int, seed: int = 0, y=None, temperature: float = 1.0) -> np.ndarray:
        """`posterior` under the name that all models share."""
        if y is None:
            raise UserError(f"this model is of p(x | y): give y [..., {self.simulator.data_size}]")
        return self.posterior(y, n, seed, temperature)

    def predict(self, x, n: int, seed: int = 0) -> np.ndarray:
        """n draws of the data that x would give, noise included: [n, M] for one x [P], [B, n, M]
        for x [B, P].

        Where the problem has a simulator, by it; NaN where that cannot simulate x. Where pairs are
        all there is, by the network, from Bayes' rule: p(y | x) ~ p(x | y) p(y), resampled from
        data of the prior.

        Raises:
          UserError: x outside the prior's support; by the network, where fewer than FEWEST of these
            data are like what x would give, or the model was saved without them.
        """
        x, lead = one_or_many(x, n, seed, self.simulator.parameter_names, "x", self.dtype)
        if self.draws is not None:
            drawn = [self._resampled(row, n, (int(seed) % 2**64, i)) for i, row in enumerate(x)]
        elif isinstance(self.simulator, Drawn):
            raise UserError("this model was saved without data to predict from: train it anew")
        else:
            drawn = self._simulated(x, n, seed)
        none = np.empty((0, self.simulator.data_size), self.dtype.as_numpy_dtype)  # of no x
        return np.concatenate([none, *drawn]).reshape(*lead, n, self.simulator.data_size)

    def _simulated(self, x, n, seed):
        """Parts [R, M] of n noisy data for each row of x."""
        theta = np.repeat(whitened(self.simulator, x), n, 0)
        for first in range(0, len(theta), ROWS):
            clean = self.simulator.forward(tf.constant(theta[first : first + ROWS]))
            yield self.simulator.observe(clean, tf.constant([seed, first])).numpy()

    def _resampled(self, x, n, seed):
        """n of the draws [n, M], by the weights p(x | y)."""
        log_weights = self.log_prob(x, self.draws).astype(np.float64)
        weights = np.exp(
            log_weights - max(log_weights.max(), np.finfo(float).min)
        )  # all may be -inf
        effective = weights.sum() ** 2 / max(np.square(weights).sum(), 1e-300)
        if not effective >= FEWEST:
            raise UserError(
                f"of {len(weights)} simulated data only {effective:.1f} are like what x ="
                f" {x.tolist()} would give, too few to predict from: simulate it, or give more"
                " pairs"
            )
        return self.draws[
            np.random.default_rng(seed).choice(len(weights), n, p=weights / weights.sum())
        ]

    def anomaly_score(self, y) -> np.ndarray:
        """-log p(y) of the data in their context, [..., M] -> [...]: higher is further from what
        the simulator makes."""
        if self.data_flow is None:
            raise UserError("this model has no density of the data")
        y, lead = self._data(y)
        return self.data_flow.anomaly_score(
            self.frame.data_context(self._state(y)["context"])
        ).reshape(lead)

    def _state(self, y) -> dict[str, np.ndarray]:
        """The frame's state of rows of data [B, M]."""
        return self._locate({name: tf.constant(value) for name, value in self.constants.items()}, y)

    def _data(self, y):
        """y as rows [B, M], and its leading shape."""
        return finite_rows(y, self.simulator.data_names, "y", self.dtype)

    def save(self, folder: str) -> None:
        """Writes all that `load` needs into `folder` (a path or s3://)."""
        flows = {"flow": self.flow, "data_flow": self.data_flow}
        header = {
            "format": model.FORMAT,
            "kind": "posterior",
            "frame": to_config(self.frame),
            **{name: flow and flow.header() for name, flow in flows.items()},
        }
        arrays = {f"frame/{name}": value for name, value in self.constants.items()}
        arrays |= {
            f"{name}/{key}": value
            for name, flow in flows.items()
            if flow
            for key, value in flow.arrays().items()
        }
        arrays |= {} if self.draws is None else {"draws/y": self.draws}
        serialisation.write(folder, "model", arrays, header)

    def take(self, arrays: dict[str, np.ndarray]) -> bool:
        """Takes over constants and weights by name; False where they do not fit."""
        parts: dict[str, dict] = {"frame": {}, "flow": {}, "data_flow": {}, "draws": {}}
        for name, value in arrays.items():
            part, _, key = name.partition("/")
            parts.setdefault(part, {})[key] = value
        self.constants, self.draws = parts["frame"], parts["draws"].get("y")
        fits = self.flow.take(parts["flow"]) and (
            self.data_flow is None or self.data_flow.take(parts["data_flow"])
        )
        return fits and len(parts) == 4


def build(header: dict, jit: bool = True) -> PosteriorModel:
    """The model that `save` described, with weights not yet taken."""
    know_problems()
    flow, data_flow = (
        header[name] and model.build(header[name], jit) for name in ("flow", "data_flow")
    )
    return PosteriorModel(from_config(header["frame"]), {}, flow, data_flow)


def know_problems() -> None:
    """Imports what a saved model can name: classes are known once their module is loaded."""
    for name in ("bijectors.frames", *(f"simulators.{name}" for name in PROBLEMS)):
        importlib.import_module(f"flow_models.{name}")


def rows_of(values, names, what: str, dtype: tf.DType) -> np.ndarray:
    """Numbers [..., len(names)] of a type.

    Raises:
      UserError: something else.
    """
    try:
        values = np.asarray(values, dtype.as_numpy_dtype)
    except (TypeError, ValueError):
        raise UserError(f"{what} must be numbers [..., {len(names)}]") from None
    if values.ndim == 0 or values.shape[-1] != len(names):
        few = ", ".join(names if len(names) < 9 else [*names[:3], "...", names[-1]])
        raise UserError(
            f"{what} must have shape [..., {len(names)}] ({few}), got {list(values.shape)}"
        )
    return values


def finite_rows(values, names, what: str, dtype: tf.DType) -> tuple[np.ndarray, tuple[int, ...]]:
    """`rows_of` as [B, len(names)], and its leading shape; refuses what is not finite."""
    values = rows_of(values, names, what, dtype)
    if not np.isfinite(values).all():
        raise UserError(f"{what} has values that are not finite")
    return values.reshape(-1, values.shape[-1]), values.shape[:-1]


def one_or_many(values, n, seed, names, what: str, dtype) -> tuple[np.ndarray, tuple[int, ...]]:
    """What n draws are asked for: one row [M] or many [B, M] of len(names) numbers; as rows, and
    the leading shape.

    Raises:
      UserError: something else, or an n or a seed that is none.
    """
    if not _is_whole(n) or n < 1:
        raise UserError(f"the number of samples is a whole number of at least 1, got {n!r}")
    if not _is_whole(seed) or not -(2**63) <= seed < 2**63:
        raise UserError(f"a seed is a whole number of 64 bits, got {seed!r}")
    rows, lead = finite_rows(values, names, what, dtype)
    if len(lead) > 1:
        raise UserError(f"{what} must have shape [{len(names)}] or [B, {len(names)}]")
    return rows, lead


def _is_whole(number) -> bool:
    return isinstance(number, (int, np.integer)) and not isinstance(number, bool)


def whitened(simulator, x: np.ndarray) -> np.ndarray:
    """theta [B, P] of the user's parameters x [B, P].

    Raises:
      UserError: outside the prior's support.
    """
    theta = simulator.whiten(tf.constant(x))[0].numpy()
    outside = np.flatnonzero(~np.isfinite(theta).all(-1))
    if len(outside):
        raise UserError(f"x = {x[outside[0]].tolist()} is outside what the prior allows")
    return theta


def untrained(frame: Described, theta: np.ndarray, y: np.ndarray, bijector_of) -> PosteriorModel:
    """A model whose frame is measured on draws theta [N, P], y [N, M]; its flow is bijector_of(P,
    C), C of the context."""
    constants = frame.measure(theta, y)
    size, width = theta.shape[1], frame.context_size
    partition = Partition(inputs={"x": size}, outputs={"z": size}, condition={"context": width})
    flow = FlowModel(bijector_of(size, width), partition, [f"z{i + 1}" for i in range(size)])
    return PosteriorModel(frame, constants, flow)


def mean_laplace_entropy(log_det: np.ndarray, size: int) -> float:
    """Of N(m, (L L^T)^-1), mean over rows with log |det L|: what a perfect Gaussian posterior's
    validation loss would be."""
    return 0.5 * size * (1 + math.log(2 * math.pi)) - float(np.mean(log_det))
