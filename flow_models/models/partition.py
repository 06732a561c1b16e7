"""The two sides of the network: named blocks of its inputs and outputs, and the base distribution
over the outputs."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.serializable import Described


@dataclasses.dataclass(frozen=True)
class Partition(Described):
    """Names the blocks of both sides, in order; nothing else slices vectors by number.

    With f(inputs) = (v_y, v_z) the base density for given y is

        log p(v | y) = log N(v_y; y, sigma_y^2 I) + log N(v_z; 0, I)

    Attributes:
      inputs: block -> width, for example {"x": 4} or {"x": 2, "pad": 6}.
      outputs: block -> width, for example {"y": 2, "z": 2}; the same total.
      condition: block -> width of what the network also reads without transforming it, for example
        {"y": 2}.
      sigma_y: width of the likelihood of y where y is among the outputs.
      classes: where y is the one-hot label of a class, the names of the classes.
      priors: of the classes, in the training data.
      temperature: log p(x | class) is divided by it where p(class | x) is asked for; above 1 these
        are less sure.
      mirrored: of images: a mirror image is of the same class, so both are looked at where a class
        is asked for.

    Raises:
      UserError: a width is not a positive whole number, or the sides do not add up.

    Example:
      >>> Partition(inputs={"x": 4}, outputs={"y": 2, "z": 2})
    """

    inputs: dict[str, int]
    outputs: dict[str, int]
    condition: dict[str, int] = dataclasses.field(default_factory=dict)
    sigma_y: float = 0.1
    classes: tuple[str, ...] = ()
    priors: tuple[float, ...] = ()
    temperature: float = 1.0
    mirrored: bool = False

    def __post_init__(self):
        super().__post_init__()
        for side in ("inputs", "outputs", "condition"):
            for name, width in getattr(self, side).items():
                if not isinstance(width, int) or isinstance(width, bool) or width < 1:
                    raise UserError(
                        f"{side} block {name!r} has width {width!r}; a width is a whole number"
                        " above 0"
                    )
        if not self.inputs or not self.outputs:
            raise UserError("a partition needs at least one block of inputs and one of outputs")
        if self.size != sum(self.outputs.values()):
            raise UserError(
                f"inputs {self.inputs} have {self.size} dimensions and outputs {self.outputs} have "
                f"{sum(self.outputs.values())}; an invertible network needs the same number"
            )
        if not 0 < self.temperature < math.inf:
            raise UserError(f"temperature is {self.temperature}; it must be above 0")
        if not self.sigma_y > 0:
            raise UserError(f"sigma_y is {self.sigma_y}; it must be above 0")
        if (
            self.classes
            and len(self.classes) != (self.outputs | self.condition).get("y")
            or len(self.priors) != len(self.classes)
        ):
            raise UserError(
                f"{len(self.classes)} classes and {len(self.priors)} priors: y must be as wide"
            )

    @property
    def size(self) -> int:
        """Dimensions of either side."""
        return sum(self.inputs.values())

    @property
    def condition_size(self) -> int:
        return sum(self.condition.values())

    def join(self, side: str, **blocks) -> tf.Tensor:
        """One array [..., size of the side] from its blocks [..., width], in order."""
        widths = getattr(self, side)
        if set(blocks) != set(widths):
            raise UserError(f"the {side} are {list(widths)}, got {list(blocks)}")
        arrays = [tf.convert_to_tensor(blocks[name]) for name in widths]
        for (name, width), array in zip(widths.items(), arrays):
            if array.shape.rank == 0 or array.shape[-1] != width:
                raise UserError(
                    f"block {name!r} of the {side} has width {width}, got shape"
                    f" {tuple(array.shape)}"
                )
        return tf.concat(arrays, -1)

    def split(self, side: str, array) -> dict[str, tf.Tensor]:
        """The blocks [..., width] of an array [..., size of the side]."""
        widths = getattr(self, side)
        array = tf.convert_to_tensor(array)
        if array.shape.rank == 0 or array.shape[-1] != sum(widths.values()):
            raise UserError(
                f"the {side} {widths} have {sum(widths.values())} dimensions, got"
                f" {tuple(array.shape)}"
            )
        return dict(zip(widths, tf.split(array, list(widths.values()), -1)))

    def base_log_prob(self, v: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        """log p(v | y), [..., N] -> [...], in nats; y [..., M] is needed where y is among the
        outputs."""
        if "y" not in self.outputs:
            return _log_normal(v)
        blocks = self.split("outputs", v)
        v_y = blocks.pop("y")
        deviation = (v_y - self._given(y)) / self.sigma_y
        widths = self.outputs["y"] * math.log(self.sigma_y)
        return (
            _log_normal(deviation) - widths + sum(_log_normal(block) for block in blocks.values())
        )

    def base_sample(
        self, n: int, seed, y: tf.Tensor | None = None, dtype=tf.float32, temperature=1.0
    ) -> tf.Tensor:
        """[n, N] draws of the outputs; y [n, M] or [M] where y is among them. The same seed pair
        gives the same draws.

        The temperature multiplies the standard deviations, not y.
        """
        return self.from_standardised(self.standard_sample(n, seed, dtype, temperature), y)

    def standard_sample(self, n: int, seed, dtype=tf.float32, temperature=1.0) -> tf.Tensor:
        """[n, N] draws of N(0, temperature^2 I), as `from_standardised` takes them.

        Raises:
          UserError: the temperature is no number from 0 on.
        """
        if not isinstance(temperature, (int, float, np.number)) or not 0 <= temperature < math.inf:
            raise UserError(f"temperature is {temperature!r}; it must be a number of at least 0")
        return temperature * tf.random.stateless_normal([n, self.size], seed, dtype=dtype)

    def from_standardised(self, v, y=None) -> tf.Tensor:
        """Outputs [..., N] from N(0, I) numbers: v_y -> y + sigma_y v_y where y is among the
        outputs."""
        return self._in_y(v, lambda block: self._given(y) + self.sigma_y * block)

    def standardised(self, v, y=None) -> tf.Tensor:
        """N(0, I) numbers from outputs [..., N] that belong to y: the inverse of
        `from_standardised`."""
        return self._in_y(v, lambda block: (block - self._given(y)) / self.sigma_y)

    def with_y(self, v, y=None) -> tf.Tensor:
        """Outputs [..., N] with y [..., M] in its block, where it is among the outputs."""
        return self._in_y(v, lambda _: self._given(y))

    def _in_y(self, v, change):
        """The outputs with the block y changed, where there is one."""
        if "y" not in self.outputs:
            return tf.convert_to_tensor(v)
        blocks = self.split("outputs", v)
        return self.join("outputs", **{**blocks, "y": change(blocks["y"])})

    def _given(self, y):
        if y is None:
            raise UserError(f"y is among the outputs {self.outputs}: give y")
        return y


def _log_normal(v):
    return -0.5 * tf.reduce_sum(v * v, -1) - 0.5 * v.shape[-1] * math.log(2 * math.pi)
