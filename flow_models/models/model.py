"""The model: an invertible network, the partition of its two sides, and what one asks of them."""

import importlib
import math
import os
import sys

import numpy as np
import tensorflow as tf

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.core import archive as serialisation
from flow_models.core.errors import UserError
from flow_models.core.serializable import from_config, to_config
from flow_models.core.tiling import Tiled
from flow_models.models.codecs import Images, Vectors
from flow_models.models.partition import Partition

FORMAT = 2  # of the saved folder; raised when an older version could not read it

_READERS = {
    "posterior": "models.posterior_model",
    "joint posterior": "models.joint_posterior",
}  # of saved models, and the modules that read them


class FlowModel(tf.Module):
    """A density over x with exact likelihood and sampling.

    Args:
      bijector: data to latent, from `flow_models.architectures.vectors` or of one's own layers.
      partition: blocks of both sides; by default {"x": N} to {"z": N}.
      columns: names of the columns of x where events are vectors, kept with the model.
      event: what an event is where it is no vector: an `Images`.
      jit: compile with XLA.

    Events come as NumPy arrays or tensors, vectors [..., D] or images [..., H, W, C] (pixels 0 ..
    255, or the levels with decimals that `decode` gives), and results are NumPy arrays. For
    gradients, or inside other TFP code, use `distribution`. Where pixels get noise, it follows from
    `seed`.

    Example:
      >>> model = FlowModel(realnvp(2))
      >>> fit(model, x)
      >>> model.log_prob(x), model.sample(100, seed=0)
    """

    def __init__(
        self,
        bijector: FlowBijector,
        partition: Partition | None = None,
        columns=None,
        event: Vectors | Images | None = None,
        jit: bool = True,
    ):
        super().__init__(name="flow_model")
        vectors = event is None or isinstance(event, Vectors)
        size = (
            self._event_width(partition)
            if partition
            else _size(bijector.layer)
            if vectors
            else math.prod(event.canvas)
        )
        if event is None:
            event = Vectors(columns if columns is not None else [f"x{i + 1}" for i in range(size)])
        if math.prod(event.canvas) != size:
            raise UserError(
                f"{len(event.columns)} column names for {size} dimensions"
                if vectors
                else f"a partition of {size} dimensions for images of {event.canvas}"
            )
        self.bijector, self.event = bijector, event
        self.partition = partition or Partition(inputs={"x": size}, outputs={"z": size})
        self.jit = jit
        self.started = False  # data-dependent starting values are there, and stay
        self._forward = Tiled(
            lambda w, x, *c: self.layer.forward_and_log_det(w, x, *c), event.tiles, jit
        )
        self._inverse = Tiled(
            lambda w, z, *c: self.layer.inverse_and_log_det(w, z, *c)[0], event.tiles, jit
        )

    @staticmethod
    def _event_width(partition: Partition) -> int:
        """How many inputs of the network are an event's own."""
        return partition.size

    @property
    def layer(self) -> Layer:
        return self.bijector.layer

    @property
    def weights(self):
        """Variables, nested as the layers are."""
        return self.bijector.weights

    @property
    def columns(self) -> list[str]:
        """Names of the columns of x, where events are vectors."""
        return list(getattr(self.event, "columns", ()))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(D,) of vectors, (H, W, C) of images."""
        return self.event.shape

    @property
    def event_size(self) -> int:
        """Dimensions of x."""
        return math.prod(self.event.shape)

    @property
    def batch_shape(self) -> tuple[int, ...]:
        """Of x in a row of training data."""
        return self.event.shape

    @property
    def latent_size(self) -> int:
        """Dimensions N of z: more than those of x where images are padded."""
        return self.partition.size

    @property
    def dtype(self) -> tf.DType:
        return self.bijector.dtype

    def distribution(self, y=None):
        """p(x) as a `tfd.TransformedDistribution`, for TFP code around it; p(x | y) where y is
        among the outputs."""
        import tensorflow_probability as tfp

        mean = {name: np.zeros(width) for name, width in self.partition.outputs.items()}
        scale = {name: np.ones(width) for name, width in self.partition.outputs.items()}
        self._matching(y, (), self.partition.outputs.get("y", 0), "y")
        if y is not None:
            mean["y"], scale["y"] = np.asarray(y, float), np.full(len(y), self.partition.sigma_y)
        mean, scale = (
            tf.cast(self.partition.join("outputs", **blocks), self.dtype)
            for blocks in (mean, scale)
        )
        base = tfp.distributions.MultivariateNormalDiag(mean, scale)
        return tfp.distributions.TransformedDistribution(base, tfp.bijectors.Invert(self.bijector))

    def log_prob(self, x, y=None, condition=None, seed: int = 0) -> np.ndarray:
        """log p(x), [..., *event] -> [...], nats per event in the units of x (images: of levels);
        -inf outside the domain and where it is too small to compute.

        y [..., M] where y is among the outputs; condition [..., C] where the network has one.
        """
        rows, lead = self.event.rows(x, self.dtype.as_numpy_dtype, seed)
        y = self._matching(y, lead, self.partition.outputs.get("y", 0), "y")
        z, log_det = self._run(self._forward, rows, lead, condition)
        log_prob = self.partition.base_log_prob(z, y).numpy() + log_det
        overflown = np.isnan(log_prob) & ~np.isnan(rows).any(tuple(range(1, rows.ndim)))
        return np.where(overflown, -np.inf, log_prob).reshape(lead)

    def bits_per_dim(self, x, y=None, condition=None, seed: int = 0) -> np.ndarray:
        """-log_2 p(x) a dimension, [..., H, W, C] -> [...]: what an ideal code based on the model
        needs for a pixel.

        Raises:
          UserError: the model is not one of images.
        """
        return self._in_bits(self.log_prob(x, y, condition, seed))

    def _in_bits(self, log_prob):
        if not isinstance(self.event, Images):
            raise UserError(
                "bits per dimension are of images; this model is of vectors: use log_prob"
            )
        return self.event.bits_per_dim(log_prob)

    def encode(self, x, condition=None, seed: int = 0) -> np.ndarray:
        """Latents z = f(x), [..., *event] -> [..., N]."""
        rows, lead = self.event.rows(x, self.dtype.as_numpy_dtype, seed)
        return self._run(self._forward, rows, lead, condition)[0].reshape(*lead, self.latent_size)

    def decode(self, z, condition=None) -> np.ndarray:
        """x = f^-1(z), [..., N] -> [..., *event]."""
        z, lead = self._latents(z)
        return self.event.uncovered(self._run(self._inverse, z, lead, condition)).reshape(
            *lead, *self.event_shape
        )

    def sample(
        self, n: int, seed: int = 0, y=None, condition=None, temperature: float = 1.0
    ) -> np.ndarray:
        """n draws [n, *event] of x, pixels 0 .. 255 where x are images; equal seeds give equal
        draws.

        Args:
          y: [M] or [n, M] where y is among the outputs; condition [C] or [n, C] where the network
            has one.
          temperature: standard deviation of the latents; below 1 draws nearer the modes.
        """
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 0:
            raise UserError(f"the number of samples is a whole number of at least 0, got {n!r}")
        y = self._matching(y, (int(n),), self.partition.outputs.get("y", 0), "y")
        z, lead = self._latents(
            self.partition.base_sample(int(n), (seed, 0), y, self.dtype, temperature)
        )
        return self.event.samples(self._run(self._inverse, z, lead, condition))

    def anomaly_score(self, x, y=None, condition=None, seed: int = 0) -> np.ndarray:
        """-log p(x), [..., *event] -> [...]: higher is stranger."""
        return -self.log_prob(x, y, condition, seed)

    def _run(self, function, rows, lead, condition):
        """A compiled function of rows and, where the network has one, of the condition."""
        condition = self._matching(condition, lead, self.partition.condition_size, "condition")
        return function(self.weights, rows, *([] if condition is None else [condition]))

    def _latents(self, z):
        """z as rows [B, N] of the model's dtype, and its leading shape."""
        z = np.asarray(z, self.dtype.as_numpy_dtype)
        if z.ndim == 0 or z.shape[-1] != self.latent_size:
            raise UserError(f"z must have shape [..., {self.latent_size}], got {list(z.shape)}")
        return z.reshape(-1, self.latent_size), z.shape[:-1]

    def _matching(self, value, lead, width, name):
        """A condition or y as rows [B, width], broadcast over the rows of x; None where the model
        has none."""
        if (value is None) != (width == 0):
            raise UserError(
                f"this model needs {name} [..., {width}]" if width else f"this model has no {name}"
            )
        if value is None:
            return None
        value = np.asarray(value, self.dtype.as_numpy_dtype)
        if value.ndim == 0 or value.shape[-1] != width:
            raise UserError(f"{name} must have shape [..., {width}], got {list(value.shape)}")
        return np.broadcast_to(value, (*lead, width)).reshape(-1, width)

    def save(self, folder: str) -> None:
        """Writes all that `load` needs into `folder` (a path or s3://): model.json and the
        weights."""
        serialisation.write(folder, "model", self.arrays(), self.header())

    def header(self) -> dict:
        """What the model is, without its weights, for JSON."""
        return {
            "format": FORMAT,
            "layer": to_config(self.layer),
            "partition": to_config(self.partition),
            "event": to_config(self.event),
            "event_ndims": list(self.bijector.event_ndims),
            "dtype": self.dtype.name,
            "started": self.started,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name."""
        return {name: variable.numpy() for name, variable in self.bijector.named_weights().items()}

    def take(self, arrays: dict[str, np.ndarray]) -> bool:
        """Takes over weights by name; False where they do not fit, and none is taken."""
        variables = self.bijector.named_weights()
        if set(arrays) != set(variables) or any(
            arrays[k].shape != variables[k].shape for k in variables
        ):
            return False
        for name, variable in variables.items():
            variable.assign(arrays[name])
        return True


def load(folder: str, jit: bool = True) -> FlowModel:
    """The model saved in `folder`, or in `folder`/model where `folder` is that of a run; path or
    s3://.

    Raises:
      UserError: no model there, a damaged one, or one of a newer format.
    """
    folder = str(folder).rstrip("/")
    inner = f"{folder}/model"
    if not os.path.exists(f"{folder}/model.json") and serialisation.storage.exists(
        f"{inner}/model.json"
    ):
        folder = inner
    header = serialisation.read_header(folder, "model", "model")
    if header.get("format") == 1:  # vectors only
        header |= {"event": to_config(Vectors(header.pop("columns", ()))), "event_ndims": 1}
    if not isinstance(header.get("format"), int) or header["format"] > FORMAT:
        raise UserError(
            f"{folder} is of format {header.get('format')}, this version reads up to {FORMAT}: "
            "install a newer flow_models"
        )
    reader = _READERS.get(header.get("kind"))
    try:
        model = (
            importlib.import_module(f"flow_models.{reader}") if reader else sys.modules[__name__]
        ).build(header, jit)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{folder}/model.json is damaged: {error!r}") from None
    if not model.take(serialisation.read_arrays(folder, header, "model")):
        raise UserError(f"{folder} is damaged: its weights do not fit its description")
    return model


def build(header: dict, jit: bool = True) -> FlowModel:
    """The model that `header()` described, with weights not yet taken."""
    layer, partition = from_config(header["layer"]), from_config(header["partition"])
    bijector = FlowBijector(
        layer, dtype=tf.as_dtype(header["dtype"]), event_ndims=header["event_ndims"]
    )
    model = _kind(partition)(bijector, partition, event=from_config(header["event"]), jit=jit)
    model.started = header["started"]
    return model


def _kind(partition: Partition) -> type[FlowModel]:
    """The class of model that has this partition."""
    if not partition.classes:
        return FlowModel
    from flow_models.models.class_model import ClassModel

    return ClassModel


def _size(layer: Layer) -> int:
    """Dimensions of the first layer that states them."""
    while not hasattr(layer, "size"):
        if isinstance(layer, Chain):
            sized = [
                inner for inner in layer.layers if hasattr(inner, "size") or hasattr(inner, "layer")
            ]
            layer = sized[0] if sized else None
        else:
            layer = getattr(layer, "layer", None)
        if layer is None:
            raise UserError("the layers do not say how many dimensions they have: give a partition")
    return layer.size
