"""The codecs of inverse problems: parameters, data, and the noise level among the data."""

import dataclasses

import numpy as np
import tensorflow as tf

from flow_models.core import principal
from flow_models.core.errors import UserError
from flow_models.models.codecs import Codec, Encoded
from flow_models.models.rows import finite_rows, rows_of
from flow_models.simulators.simulator import Simulator


@dataclasses.dataclass(frozen=True)
class Parameters(Codec):
    """Parameters x [..., P] in the user's units; the network sees whitened ones, theta.

    Attributes:
      simulator: gives their names, their prior and the whitening.
    """

    simulator: Simulator

    @property
    def shape(self):
        return (self.simulator.size,)

    @property
    def columns(self):
        return self.simulator.parameter_names

    def encode(self, values, dtype, seed=0):
        """theta, and log |det dtheta/dx|; NaN outside the support of the prior."""
        rows, lead = rows_of(values, self.columns, "x", self.number(dtype))
        theta, log_det = self.simulator.whiten(tf.constant(rows))
        return Encoded(theta.numpy().astype(dtype), lead, log_det.numpy().astype(dtype))

    def decode(self, rows):
        return np.asarray(self.simulator.physical(tf.constant(rows, self.number(rows.dtype))))

    def number(self, dtype) -> np.dtype:
        """The NumPy type that parameters come and go in; `dtype` is the network's."""
        return np.dtype(np.float64 if self.simulator.needs_float64 else dtype)

    def draw(self, values, dtype, seed):
        """Training data are theta already, as simulators draw them."""
        return tf.cast(values, dtype)


@dataclasses.dataclass(frozen=True)
class Data(Codec):
    """Data y [..., M] in the user's units, taken as they are; a frame scales them.

    Attributes:
      simulator: gives their names.
      kept: data [K, M] of the prior, from which `Model.predict` chooses where no simulator can run.
    """

    simulator: Simulator
    kept: np.ndarray | None = None

    def __post_init__(self):
        """Arrays stay arrays: they are saved beside the description."""

    @property
    def shape(self):
        return (self.simulator.data_size,)

    @property
    def columns(self):
        return self.simulator.data_names

    @property
    def of_prior(self):
        """The kept data as the user has them [K, M]."""
        return self.kept

    @property
    def kept_rows(self) -> np.ndarray | None:
        """The kept data as the network sees them [K, C]."""
        return self.kept

    def encode(self, values, dtype, seed=0):
        return Encoded(*finite_rows(values, self.columns, "y", dtype))

    def arrays(self):
        return {} if self.kept is None else {"kept": self.kept}

    def with_arrays(self, arrays):
        return dataclasses.replace(self, **arrays)


@dataclasses.dataclass(frozen=True)
class Components(Data):
    """Data as principal components [..., K] of the decorrelated data, over one common scale.

    Attributes:
      mean, axes, scale: [M'], [M', K] and a number; from `measured`.
    """

    mean: np.ndarray | None = None
    axes: np.ndarray | None = None
    scale: np.ndarray | None = None

    @classmethod
    def measured(cls, simulator: Simulator, y: np.ndarray, most: int, least_sd: float = 0.0):
        """The components of data y [N, M].

        Args:
          most: components at most.
          least_sd: components whose spread is below so many times the noise are left out.

        Raises:
          UserError: no component is left.
        """
        data = simulator.decorrelated(tf.constant(y)).numpy().astype(np.float64)
        mean, axes, deviations = principal.components(data, min(most, data.shape[1]))
        axes = axes[:, deviations > least_sd]
        if not axes.shape[1]:
            raise UserError(
                f"no component of the data varies by more than {least_sd:g} times its noise"
            )
        arrays = {"mean": mean, "axes": axes, "scale": np.array(float(deviations[0]))}
        return cls(simulator, **{name: value.astype(y.dtype) for name, value in arrays.items()})

    @property
    def padded_shape(self):
        return (self.axes.shape[1],)

    def encode(self, values, dtype, seed=0):
        encoded = super().encode(values, dtype)
        return encoded._replace(rows=self.components(encoded.rows))

    def components(self, y: np.ndarray) -> np.ndarray:
        """[N, K] of data [N, M], or of data that have no column of log sigma."""
        data = self.simulator.decorrelated(tf.constant(y)).numpy()
        return (data - self.mean) @ self.axes / self.scale

    def decode(self, rows):
        """Data [N, M'] without log sigma; components that the network lacks stay at their mean."""
        wanted = self.mean + self.scale * rows @ self.axes.T
        size = self.simulator.data_size
        # all zeros, then one datum at a time; log sigma is 0
        units = np.eye(size + 1, size, -1)[: wanted.shape[1] + 1]
        decorrelated = self.simulator.decorrelated(tf.constant(units, self.mean.dtype)).numpy()
        start, *steps = decorrelated.astype(np.float64)
        return np.linalg.solve((np.array(steps) - start).T, (wanted - start).T).T.astype(rows.dtype)

    def arrays(self):
        return {**super().arrays(), "mean": self.mean, "axes": self.axes, "scale": self.scale}


@dataclasses.dataclass(frozen=True)
class NoiseLevel(Codec):
    """log sigma, standardised: the last column of the data of a simulator whose noise varies.

    Attributes:
      simulator: whose data these are.
      mean, sd: of log sigma.
    """

    simulator: Simulator
    mean: float
    sd: float

    @classmethod
    def measured(cls, simulator: Simulator, y: np.ndarray):
        """From data y [N, M]."""
        log_sigma = np.asarray(y[:, -1], np.float64)
        return cls(simulator, float(log_sigma.mean()), float(log_sigma.std()) or 1.0)

    @property
    def shape(self):
        return (self.simulator.data_size,)

    @property
    def padded_shape(self):
        return (1,)

    def encode(self, values, dtype, seed=0):
        rows, lead = finite_rows(values, self.simulator.data_names, "y", dtype)
        return Encoded(
            (rows[:, -1:] - np.asarray(self.mean, dtype)) / np.asarray(self.sd, dtype), lead
        )
