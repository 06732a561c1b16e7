"""The model: an invertible network, the partition of its two sides, and a codec for each block."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from flow_models.bijectors.chain import Chain
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.frames import Framed
from flow_models.bijectors.layer import Layer
from flow_models.core.errors import UserError
from flow_models.models import classification, missing, notes, posteriors, saving, shown, wider
from flow_models.models.arguments import checked_count, checked_seed, generator
from flow_models.models.codecs import Codec, Encoded, Shape, common_lead
from flow_models.models.columns import as_codec, completed
from flow_models.models.denoised import denoised
from flow_models.models.labels import Labels
from flow_models.models.partition import Partition
from flow_models.models.passes import Passes
from flow_models.models.pixels import Pixels
from flow_models.models.rescaled import rescaled
from flow_models.models.truncated import Truncated
from flow_models.simulators.simulator import Simulator


class Model(tf.Module):
    """An exact density over the block x, and what follows from where the other blocks stand.

    Without y it is p(x). Where y is a class label, among the outputs or given, it is p(x | y) for
    every class, and with it p(y | x) and p(x). Where y are data, it is the posterior p(x | y).

    Args:
      bijector: data to latents, of `flow_models.architectures` or of one's own layers.
      partition: the blocks of both sides; by default {"x": N} to {"z": N}.
      codecs: block -> what it is to the user; a list of names stands for `Columns`. By default
        columns without names for x and y, and noise for other inputs.
      data_model: density of the context of data y, p(y), which `anomaly_score` then is of.
      jit: compile with XLA.

    Values come as arrays or tensors, by position, or as data frames, series, records and structured
    arrays, by the names of the columns; further columns are ignored and missing ones refused. They
    go as NumPy arrays, in the user's units. Densities are in nats per event. Equal seeds give equal
    results. For gradients, or inside TFP code, use `distribution` or the bijector.

    Example:
      >>> model = Model(realnvp(2), codecs={"x": ["easting_km", "depth_km"]})
      >>> fit(model, x)
      >>> model.log_prob(x), model.sample(100, seed=0)
    """

    def __init__(
        self,
        bijector: FlowBijector,
        partition: Partition | None = None,
        codecs: Mapping[str, Codec | Sequence[str]] | None = None,
        *,
        data_model: "Model | None" = None,
        jit: bool = True,
    ):
        super().__init__(name="model")
        given = {name: as_codec(name, codec) for name, codec in (codecs or {}).items()}
        partition = partition or _all_of_x(bijector, given.get("x"))
        _check_noise(bijector.layer, partition)
        self.bijector, self.partition, self.jit = bijector, partition, jit
        self.codecs = completed(given, partition)
        self.data_model = data_model
        self.started = False  # data-dependent initial weights are there, and stay
        self.passes = Passes(bijector, self.codec.tiles, jit)
        self.compiled: dict = {}  # further compiled functions, by name

    def __repr__(self) -> str:
        return shown.text(self)

    # what it is

    @property
    def layer(self) -> Layer:
        """The layer that the network is: its description, without weights."""
        return self.bijector.layer

    @property
    def weights(self):
        """Variables, nested as the layers are."""
        return self.bijector.weights

    @property
    def dtype(self) -> tf.DType:
        """Of weights and latents: float32, or float64."""
        return self.bijector.dtype

    @property
    def codec(self) -> Codec:
        """Of the block x."""
        return self.codecs["x"]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of x; none of images."""
        return list(self.codec.columns)

    @property
    def event_shape(self) -> Shape:
        """(D,) of vectors, (H, W, C) of images."""
        return self.codec.shape

    @property
    def event_size(self) -> int:
        """Numbers of an event, as the user sees it."""
        return math.prod(self.event_shape)

    @property
    def latent_size(self) -> int:
        """Dimensions N of z, padding included."""
        return self.partition.size

    @property
    def members(self) -> list["Model"]:
        """The models that it averages: itself alone, but for an `Ensemble`."""
        return [self]

    @property
    def labels(self) -> Labels | None:
        """The codec of the class label, where there is one."""
        codec = self.codecs.get("y")
        return codec if isinstance(codec, Labels) else None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; none where the model has no label."""
        return self.labels.classes if self.labels else ()

    @property
    def frame(self):
        """The frame in front of the flow, where there is one."""
        return self.layer.frame if isinstance(self.layer, Framed) else None

    @property
    def simulator(self) -> Simulator:
        """The problem whose parameters x are.

        Raises:
          UserError: x are not the parameters of an inverse problem.
        """
        found = getattr(self.codec, "simulator", None)
        if found is None:
            raise UserError("this model is not of an inverse problem")
        return found

    def distribution(self, y=None):
        """p(x), or p(x | y) for y among the outputs, as a `tfd.TransformedDistribution`.

        Its methods take what is given: `log_prob(x, bijector_kwargs={"condition": c})`.

        Raises:
          UserError: y is given and not among the outputs, or x are not plain numbers.
        """
        import tensorflow_probability as tfp

        self.refuse_kinds("distribution")
        if y is not None and "y" not in self.partition.outputs:
            raise UserError(
                "y is not among the outputs: give it as bijector_kwargs={'condition': y}"
            )
        blocks = self.observed(y)[0] if "y" in self.partition.outputs else {}
        mean = {name: tf.zeros(width, self.dtype) for name, width in self.partition.outputs.items()}
        scale = {name: tf.ones(width, self.dtype) for name, width in self.partition.outputs.items()}
        if "y" in mean:
            mean["y"] = tf.constant(blocks["y"][0])
            scale["y"] *= self.partition.sigma_y
        base = tfp.distributions.MultivariateNormalDiag(
            self.partition.join("outputs", **mean), self.partition.join("outputs", **scale)
        )
        return tfp.distributions.TransformedDistribution(base, tfp.bijectors.Invert(self.bijector))

    def fit_codec(self, x) -> None:
        """Lets the codec measure training data x [N, ...], and counts bounds of the network as it
        counts them; before the first training.

        Raises:
          UserError: a layer has bounds that cannot be counted otherwise.
        """
        sides = notes.bounds_of(self.layer)
        codec = self.codec.fitted_to(x, sides)
        if codec is self.codec:
            return
        self.codecs["x"] = codec
        if sides is not None:
            self.bijector.layer = rescaled(self.layer, codec)
            self.passes = Passes(self.bijector, codec.tiles, self.jit)
            self.compiled.clear()

    def refuse_kinds(self, what: str) -> None:
        """Raises UserError where rows of the network are not the user's numbers."""
        if not self.codec.is_counted_as_it_is:
            raise UserError(
                f"{what} is of the network's rows, and the columns of this model are centred or of"
                " several kinds: use log_prob and sample"
            )

    # densities

    def log_prob(self, x, y=None, *, priors=None, seed: int = 0) -> np.ndarray:
        """log p(x), or log p(x | y), [..., *event] -> [...], nats in the units of x.

        Of pixels it is a bound for levels, with noise from the seed. It is -inf outside the domain
        of x and where it is too small to compute, and NaN where a value is missing; a warning
        names these rows, the column and the reason. Models made for missing cells give
        log p(x_obs) there, see `missing.observed_log_prob`.

        Args:
          y: [..., M]; classes as `Labels` takes them. Without y, classes are summed over.
          priors: of the classes, where they differ from those of the training data.

        Raises:
          UserError: x or y do not fit the model; the density of x alone is not known.
        """
        x, seed = self.codec.array(x), checked_seed(seed)
        if self.labels:
            value = classification.log_prob(self, x, y, priors, seed)
        else:
            value = self._log_prob(x, y, seed)
        notes.warn(self, x, value)
        return value

    def _log_prob(self, x, y, seed):
        if missing.is_modelled(self) and self.codec.missing(x).any():
            return missing.observed_log_prob(self, x, seed=seed)[0]
        encoded = self.codec.encode(x, self.dtype.as_numpy_dtype, seed)
        value = self.log_prob_of_rows(encoded, y) + _led(encoded.log_det, encoded.lead)
        lost = self.codec.missing(x)
        return np.where(lost, np.nan, np.where(np.isnan(value), -np.inf, value))

    def log_prob_of_rows(self, encoded: Encoded, y=None) -> np.ndarray:
        """log p [...] of rows of the network [B, N], nats, without the log-determinant of their
        codec; NaN where it cannot be computed.

        Raises:
          UserError: the inputs hold more than x and noise, so that no density of x is known.
        """
        if self.partition.beside_x:
            return wider.log_prob(self, encoded, y)
        if set(self.partition.inputs) != {"x"}:
            raise UserError(
                f"the inputs are {', '.join(self.partition.inputs)}: the density of x alone is not"
                " known in this form"
            )
        return self.log_prob_of_inputs(encoded, y)

    def log_prob_of_inputs(self, encoded: Encoded, y=None) -> np.ndarray:
        """log p of all inputs of the network, rows [B, N]."""
        value = self.log_prob_of_network(encoded, y)
        if not isinstance(self.codec, Truncated):
            return value
        _, blocks, number, lead = self.together(encoded, y)
        return value - posteriors.log_share_inside(self, blocks)[number].reshape(lead)

    def log_prob_of_network(self, encoded: Encoded, y=None) -> np.ndarray:
        """`log_prob_of_inputs` [...], nats, without bounds that the network does not know."""
        rows, blocks, number, lead = self.together(encoded, y)

        def base(v, some):
            of_y = {"y": blocks["y"][number[some]]} if "y" in self.partition.outputs else {}
            return self.partition.base_log_prob(tf.constant(v), **of_y).numpy()

        return self.passes.log_prob(base, rows, self.given_rows(blocks), number).reshape(lead)

    def bits_per_dim(self, x, y=None, *, priors=None, seed: int = 0) -> np.ndarray:
        """-log_2 p a dimension, [..., H, W, C] -> [...]: what an ideal code needs for a pixel.

        Raises:
          UserError: x are not pictures.
        """
        if not isinstance(self.codec, Pixels):
            raise UserError(
                "bits per dimension are of pixels, and this model is of others: use log_prob"
            )
        return self.codec.bits_per_dim(self.log_prob(x, y, priors=priors, seed=seed))

    def anomaly_score(self, x, y=None, *, priors=None, seed: int = 0) -> np.ndarray:
        """-log p, [..., *event] -> [...]: higher is stranger.

        Of models of a posterior the argument is data y, and the score says how far they are from
        what the simulator makes.

        Raises:
          UserError: x or y do not fit the model.
        """
        if self.is_posterior:
            return posteriors.anomaly_score(self, x)
        return -self.log_prob(x, y, priors=priors, seed=seed)

    # latents

    def encode(self, x, y=None, *, seed: int = 0) -> np.ndarray:
        """Latents [..., N] of x, N(0, I) where x belongs to y.

        Without y, a model with classes takes the most probable one, and one with data among its
        outputs gives f(x) = (v_y, v_z) as it is. Missing cells are drawn given the others, as
        `impute` with the same seed does, where the model was made for them.

        Raises:
          UserError: x or y do not fit the model.
        """
        x, seed = self.codec.array(x), checked_seed(seed)
        if self.labels:
            y = self.classify(x).argmax(-1) if y is None else y
        elif y is None and not self.partition.given:
            return self._outputs(self._completed(x, seed), seed)
        encoded = self.codec.encode(x, self.dtype.as_numpy_dtype, seed)
        rows, blocks, number, lead = self.together(encoded, y)
        v = self.passes.forward(self.with_noise(rows, seed), self.given_rows(blocks), number)[0]
        of_y = {"y": blocks["y"][number]} if "y" in self.partition.outputs else {}
        z = self.partition.standardised(v, **of_y).numpy().reshape(*lead, self.latent_size)
        if lead == encoded.lead:
            notes.warn(self, x, z.sum(-1))
        return z

    def _completed(self, x, seed):
        """Rows of the network, with missing cells drawn where the model knows how."""
        if missing.is_modelled(self) and self.codec.missing(x).any():
            return missing.drawn(self, x, 1, seed)[0]
        return self.codec.encode(x, self.dtype.as_numpy_dtype, seed)

    def _outputs(self, encoded, seed):
        v = self.passes.forward(self.with_noise(encoded.rows, seed))[0]
        return v.reshape(*encoded.lead, self.latent_size)

    def decode(self, z, y=None) -> np.ndarray:
        """The x that has latents z [..., N], for y where the model has one: [..., *event].

        `decode(encode(x, y), other)` carries x into another class.

        Raises:
          UserError: z or y do not fit the model.
        """
        rows, lead = self._inverted(z, y)
        return _shaped(self.codec.decode(rows), (*lead, *self.event_shape))

    def sample(
        self, n: int, y=None, *, seed: int = 0, priors=None, sampling_temperature: float = 1.0
    ) -> np.ndarray:
        """n draws [n, *event] of x; of pictures, pixels 0 .. 255.

        Args:
          y: one for all draws, or n of them; classes are drawn by their priors where it is missing
            (`draw_labels` with the same seed has them).
          sampling_temperature: standard deviation of the latents; below 1 draws nearer the modes.

        Raises:
          UserError: n is no count, y is missing, or its rows are not one or n.
        """
        n, seed = checked_count(n), checked_seed(seed)
        if self.is_posterior:
            return self.posterior(y, n, seed=seed, sampling_temperature=sampling_temperature)
        if self.labels and y is None:
            y = self.draw_labels(n, seed=seed, priors=priors)
        z = self.partition.standard_sample(n, (seed, 0), self.dtype, sampling_temperature)
        rows, lead = self._inverted(z, y)
        if lead != (n,):
            raise UserError(f"{n} samples, but y of {list(lead)} rows: give one y, or as many")
        if isinstance(self.codec, Pixels) and self.codec.noise:
            rows = denoised(self, rows, y)
        return _shaped(self.codec.samples(rows), (-1, *self.event_shape))

    def impute(self, x, n: int | None = None, *, seed: int = 0):
        """Draws of the missing cells of x given the others, [..., D], or [..., n, D].

        Raises:
          UserError: the model was not made for missing cells (`architectures.with_missing`).
        """
        return missing.impute(self, x, n, seed=seed)

    # classes

    def classify(self, x, *, priors=None) -> np.ndarray:
        """p(class | x), [..., *event] -> [..., M], by Bayes' rule.

        Where x is so far from all classes that no density can be computed, the priors are left.

        Raises:
          UserError: the model has no classes.
        """
        x = self.codec.array(x)
        of_each = classification.averaged_log_prob(self, x)
        notes.warn(self, x, of_each.max(-1))
        return classification.shares(self, of_each, priors)

    def class_log_prob(self, x, *, draws: int | None = None, tighten: bool = True) -> np.ndarray:
        """log p(x | class), [..., *event] -> [..., M], nats in the units of x.

        Args:
          draws: of the noise, where the density is a bound over noise; more draws tighten it.
          tighten: take log mean p over the draws, and not mean log p (Huang, Dinh and Courville
            2020).

        Raises:
          UserError: the model has no classes.
        """
        return classification.class_log_prob(self, x, draws, tighten)

    def draw_labels(self, n: int, *, seed: int = 0, priors=None) -> np.ndarray:
        """n class numbers [n], int32, drawn by their priors; equal seeds give equal labels."""
        shares = np.exp(classification.labels_of(self).log_priors(priors))
        return generator(seed).choice(len(shares), checked_count(n), p=shares)

    # posteriors

    @property
    def is_posterior(self) -> bool:
        """Whether the model is of parameters given data."""
        return "y" in self.codecs and not self.labels and hasattr(self.codec, "simulator")

    def posterior(
        self, y, n: int, *, seed: int = 0, sampling_temperature: float = 1.0
    ) -> np.ndarray:
        """n draws of p(x | y): [n, P] for one observation y [M], [B, n, P] for y [B, M].

        Raises:
          UserError: the model is not of an inverse problem, or y does not fit.
        """
        theta = posteriors.whitened_samples(self, y, n, seed, sampling_temperature)
        return self.codec.decode(theta)

    def predict(self, x, n: int, *, seed: int = 0) -> np.ndarray:
        """n draws of the data that x would give, noise included: [n, M], or [B, n, M] for x [B, P].

        Raises:
          UserError: the model is not of an inverse problem, or x is outside the prior's support.
        """
        return posteriors.predict(self, x, n, seed)

    # saving

    def save(self, folder: str) -> None:
        """Writes all that `load` needs into `folder` (a path or s3://): model.json and arrays.

        Raises:
          UserError: a part has no name at the top level of a file.
        """
        saving.save(self, folder)

    # blocks

    def observed(self, y) -> tuple[dict[str, np.ndarray], Shape]:
        """The blocks that y fills, each [B, width], and the leading shape of y.

        Raises:
          UserError: y is missing, or the model has none.
        """
        names = self.partition.observed
        if (y is None) == bool(names):
            raise UserError(
                f"this model needs y [..., {self.codecs[names[0]].shape[-1]}]"
                if names
                else "this model has no y"
            )
        encoded = {name: self.codecs[name].encode(y, self.dtype.as_numpy_dtype) for name in names}
        lead = encoded[names[0]].lead if names else ()
        return {name: each.rows for name, each in encoded.items()}, lead

    def given_rows(self, blocks: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """The blocks that are given, side by side [B, C]; None where there are none."""
        names = list(self.partition.given)
        return np.concatenate([blocks[name] for name in names], 1) if names else None

    def with_noise(self, rows: np.ndarray, seed: int = 0) -> np.ndarray:
        """Inputs of the network [B, N]: rows of x, and N(0, 1) noise for the other input blocks."""
        blocks = {
            name: self.codecs[name].encode(len(rows), rows.dtype, seed).rows
            for name in self.partition.inputs
            if name != "x"
        }
        return np.concatenate([rows, *blocks.values()], 1) if blocks else rows

    def together(self, encoded: Encoded, y):
        """Rows of x, the blocks of y, the number of each row's y, and the leading shape of both."""
        blocks, of_y = self.observed(y)
        lead = common_lead(encoded.lead, of_y)
        event = encoded.rows.shape[1:]
        rows = np.broadcast_to(encoded.rows.reshape(*encoded.lead, *event), (*lead, *event))
        number = np.arange(math.prod(of_y)).reshape(of_y)
        number = np.broadcast_to(number, lead).reshape(-1)
        return rows.reshape(-1, *event), blocks, number, lead

    def _inverted(self, z, y):
        """Rows of x of latents z [..., N], and their leading shape."""
        z = np.asarray(z, self.dtype.as_numpy_dtype)
        if z.ndim == 0 or z.shape[-1] != self.latent_size:
            raise UserError(f"z must have shape [..., {self.latent_size}], got {list(z.shape)}")
        encoded = Encoded(z.reshape(-1, self.latent_size), z.shape[:-1])
        rows, blocks, number, lead = self.together(encoded, y)
        of_y = {"y": blocks["y"][number]} if "y" in self.partition.outputs else {}
        v = self.partition.from_standardised(rows, **of_y).numpy()
        inputs = self.passes.inverse(v, self.given_rows(blocks), number)
        return inputs[:, : self.codec.flat_size] if len(self.partition.inputs) > 1 else inputs, lead


def _shaped(values, shape):
    """Values [B, *event] of a codec in a shape; a DataFrame of rows as it is."""
    if hasattr(values, "columns"):
        return values if len(shape) == 2 else values.to_numpy(object).reshape(shape)
    return values.reshape(shape)


def _led(log_det, lead: Shape):
    """A log-determinant [B] by the leading shape; 0 as it is."""
    return log_det.reshape(lead) if np.ndim(log_det) else log_det


def _all_of_x(bijector: FlowBijector, codec: Codec | None) -> Partition:
    """x to z, as wide as the layers say; for images, and where layers say nothing, as the codec.

    Raises:
      UserError: neither says it.
    """
    size = _size(bijector.layer) if bijector.event_ndims[0] == 1 else None
    if size is None:
        if codec is None:
            raise UserError("the layers do not say how many dimensions they have: give a partition")
        size = codec.flat_size
    noise = getattr(bijector.layer, "noise", 0)
    return Partition(inputs={"x": size - noise, "eps": noise}, outputs={"z": size})


def _check_noise(layer: Layer, partition: Partition) -> None:
    """Raises UserError where layers of data and noise stand in a partition of another width."""
    noise = getattr(layer, "noise", 0)
    if noise and partition.size != _size(layer):
        raise UserError(
            f"this architecture takes {noise} dimensions of noise beside the data: the sides of the"
            f' partition are {partition.size} wide, and must be {_size(layer)}, with noise as "eps"'
        )


def _size(layer: Layer) -> int | None:
    """Dimensions of the first layer that states them."""
    inner: Layer | None = layer
    while inner is not None and not hasattr(inner, "size"):
        if isinstance(inner, Chain):
            sized = [one for one in inner.layers if hasattr(one, "size") or hasattr(one, "layer")]
            inner = sized[0] if sized else None
        else:
            inner = getattr(inner, "layer", None)
    return getattr(inner, "size", None)
