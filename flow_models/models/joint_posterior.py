"""The joint form of an inverse problem: data among the outputs of the network, (x) or (x, noise) to
(y, z)."""

import numpy as np
import tensorflow as tf

from flow_models.core import archive as serialisation
from flow_models.core import principal
from flow_models.core.errors import UserError
from flow_models.core.serializable import from_config, to_config
from flow_models.models import model
from flow_models.models.model import FlowModel
from flow_models.models.partition import Partition
from flow_models.models.posterior_model import OfSimulator, know_problems, one_or_many, whitened
from flow_models.simulators.simulator import Simulator

ROWS = 2**15  # decoded in one go


class JointPosterior(OfSimulator):
    """x ~ f^-1(y, z), z ~ N(0, I), of a network f(x) = (y, z) trained by maximum likelihood.

    Analyzing inverse problems with invertible neural networks (Ardizzone et al. 2019); with the
    noise of the data among the inputs, (x, noise) to (y, z), it is the form of Zhang and Curtis
    (2021, JGR 126, e2021JB022320). Right only as
    sigma_y goes to 0: to first order v_y = F - sigma_y^2 grad log p(y), and a diffeomorphism cannot
    follow F through a critical point. It stands here to be compared with `PosteriorModel`.

    The network sees y as principal components of the decorrelated data over one common scale.

    Args:
      simulator: the problem.
      constants: "mean" [M'], "axes" [M', K] and "scale" of the components, from `measured`.
      flow: p(theta, noise | y) with y among its outputs; its condition is log sigma where that
        varies.
    """

    def __init__(self, simulator: Simulator, constants: dict[str, np.ndarray], flow: FlowModel):
        super().__init__(name="joint_posterior")
        self.simulator, self.flow = simulator, flow
        self.constants = {
            name: np.asarray(value, flow.dtype.as_numpy_dtype) for name, value in constants.items()
        }

    def prepare(self, theta, clean, y) -> dict[str, np.ndarray]:
        """What `fit` takes, for pairs theta [N, P], data without noise [N, M'] and with it [N,
        M]."""
        rows = {"x": np.asarray(theta, self.dtype.as_numpy_dtype)}
        if (
            "noise" not in self.flow.partition.inputs
        ):  # the width of the likelihood stands for the noise
            return {**rows, "y": self._components(clean)}
        rows["y"] = self._components(y)
        noise = (rows["y"] - self._components(self._with_sigma(clean, y))) * self._noise_scale(y)
        return {"x": np.concatenate([theta, noise], 1), "y": rows["y"], **self._condition(y)}

    def posterior(self, y, n: int, seed: int = 0) -> np.ndarray:
        """n draws of x given y: [n, P] for one observation y [M], [B, n, P] for y [B, M]."""
        return np.asarray(self.simulator.physical(tf.constant(self.posterior_theta(y, n, seed))))

    def posterior_theta(self, y, n: int, seed: int = 0) -> np.ndarray:
        """`posterior` in whitened parameters."""
        y, lead = one_or_many(y, n, seed, self.simulator.data_names, "y", self.dtype)
        size, drawn = self.simulator.size, []
        for first, row in enumerate(np.array_split(y, max(len(y) * n // ROWS, 1))):
            given = {"y": np.repeat(self._components(row), n, 0)}
            given |= {name: np.repeat(value, n, 0) for name, value in self._condition(row).items()}
            drawn.append(self.flow.sample(len(given["y"]), seed + 7919 * first, **given)[:, :size])
        return np.concatenate(drawn).reshape(*lead, n, size)

    def predict(self, x, n: int, seed: int = 0) -> np.ndarray:
        """n draws of the data that x would give, by the network: [n, M] for one x [P], [B, n, M]
        for x [B, P].

        f(x) = (v_y, v_z) says v_y, give or take the width that it was trained with; with noise
        among the inputs, f(x, noise) says the noisy data. Components of the data that the network
        does not have stay at their mean.

        Raises:
          UserError: x outside the prior's support.
        """
        x, lead = one_or_many(x, n, seed, self.simulator.parameter_names, "x", self.dtype)
        theta, partition = np.repeat(whitened(self.simulator, x), n, 0), self.flow.partition
        normal = (
            np.random.default_rng(int(seed) % 2**64)
            .normal(size=(len(theta), partition.outputs["y"]))
            .astype(theta.dtype)
        )
        levels, noise_inputs = self._noise_levels(len(theta), seed), "noise" in partition.inputs
        inputs = partition.join("inputs", x=theta, **({"noise": normal} if noise_inputs else {}))
        outputs = self.flow.encode(inputs.numpy(), **self._condition(levels))
        components = partition.split("outputs", outputs)["y"].numpy()
        components += 0.0 if noise_inputs else partition.sigma_y * normal
        return np.concatenate([self._data(components), levels], 1).reshape(
            *lead, n, self.simulator.data_size
        )

    def _noise_levels(self, rows: int, seed: int) -> np.ndarray:
        """Log sigma [N, 1] as data have it, or no column where it does not vary."""
        nothing = tf.zeros(
            [rows, self.simulator.data_size - self.simulator.noise_varies], self.dtype
        )
        return self.simulator.observe(nothing, tf.constant([seed % 2**31, 0])).numpy()[
            :, nothing.shape[1] :
        ]

    def _components(self, y) -> np.ndarray:
        """[N, K] of data [N, M], or of data that have no column of log sigma."""
        data = self.simulator.decorrelated(tf.constant(y, self.dtype)).numpy()
        return (data - self.constants["mean"]) @ self.constants["axes"] / self.constants["scale"]

    def _data(self, components) -> np.ndarray:
        """Data [N, M'] without log sigma from components [N, K], the inverse of `_components`."""
        wanted = (
            self.constants["mean"] + self.constants["scale"] * components @ self.constants["axes"].T
        )
        size = self.simulator.data_size
        rows = np.eye(size + 1, size, -1)[
            : wanted.shape[1] + 1
        ]  # all zeros, then one datum at a time; log sigma is 0
        start, *steps = (
            self.simulator.decorrelated(tf.constant(rows, self.dtype)).numpy().astype(np.float64)
        )
        return np.linalg.solve((np.array(steps) - start).T, (wanted - start).T).T.astype(
            components.dtype
        )

    def _with_sigma(self, clean, y):
        """Data without noise with the log sigma of y beside them, where there is one."""
        return np.concatenate([clean, y[:, -1:]], 1) if self.simulator.noise_varies else clean

    def _noise_scale(self, y):
        """What makes the noise of the components N(0, 1)."""
        sigma = np.exp(y[:, -1:]) if self.simulator.noise_varies else 1.0
        return self.constants["scale"] / sigma

    def _condition(self, y) -> dict[str, np.ndarray]:
        if not self.simulator.noise_varies:
            return {}
        mean, deviation = self.constants["log_sigma"]
        return {"condition": (y[:, -1:] - mean) / deviation}

    def save(self, folder: str) -> None:
        """Writes all that `load` needs into `folder` (a path or s3://)."""
        header = {
            "format": model.FORMAT,
            "kind": "joint posterior",
            "simulator": to_config(self.simulator),
            "flow": self.flow.header(),
        }
        arrays = {f"constants/{name}": value for name, value in self.constants.items()}
        arrays |= {f"flow/{name}": value for name, value in self.flow.arrays().items()}
        serialisation.write(folder, "model", arrays, header)

    def take(self, arrays: dict[str, np.ndarray]) -> bool:
        """Takes over constants and weights by name; False where they do not fit."""
        self.constants = {
            k.removeprefix("constants/"): v for k, v in arrays.items() if k.startswith("constants/")
        }
        return self.flow.take(
            {k.removeprefix("flow/"): v for k, v in arrays.items() if k.startswith("flow/")}
        )


def build(header: dict, jit: bool = True) -> JointPosterior:
    """The model that `save` described, with weights not yet taken."""
    know_problems()
    return JointPosterior(from_config(header["simulator"]), {}, model.build(header["flow"], jit))


def untrained(
    simulator: Simulator,
    y: np.ndarray,
    bijector_of,
    *,
    noise_inputs: bool,
    sigma_y: float,
    least_sd: float = 0.0,
) -> JointPosterior:
    """A model measured on data y [N, M]; its flow is bijector_of(N, C).

    Args:
      noise_inputs: whether the noise of the data is among the inputs.
      sigma_y: width of the likelihood, in units of the data's noise; with noise inputs, of the
        data's spread.
      least_sd: components whose spread is below so many times the noise are left out: there the
        form is biased.
    """
    data = simulator.decorrelated(tf.constant(y)).numpy().astype(np.float64)
    most = data.shape[1] if noise_inputs else min(data.shape[1], simulator.size)
    mean, axes, deviations = principal.components(data, most)
    axes = axes[:, deviations > least_sd]
    count, size = axes.shape[1], simulator.size
    if not count:
        raise UserError(
            f"no component of the data varies by more than {least_sd:g} times its noise"
        )
    scale = float(deviations[0])
    constants = {"mean": mean, "axes": axes, "scale": np.array(scale)}
    inputs = {"x": size} | ({"noise": count} if noise_inputs else {})
    rest = sum(inputs.values()) - count
    outputs = {"y": count} | ({"z": rest} if rest else {})
    condition = {}
    if simulator.noise_varies:
        condition = {"log_sigma": 1}
        constants["log_sigma"] = np.array([y[:, -1].mean(), y[:, -1].std() or 1.0])
    width = sigma_y if noise_inputs else sigma_y / scale
    partition = Partition(inputs=inputs, outputs=outputs, condition=condition, sigma_y=width)
    names = [f"theta{i + 1}" for i in range(size)] + [
        f"noise{i + 1}" for i in range(partition.size - size)
    ]
    return JointPosterior(
        simulator,
        constants,
        FlowModel(bijector_of(partition.size, len(condition)), partition, names),
    )
