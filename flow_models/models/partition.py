"""The two sides of the network: named blocks of inputs and outputs, and the base distribution."""

import dataclasses
import math

import numpy as np
import tensorflow as tf

from flow_models.core.errors import UserError
from flow_models.core.serializable import Serializable


@dataclasses.dataclass(frozen=True)
class Partition(Serializable):
    """Names the blocks of both sides, in order; nothing else slices vectors by number.

    With f(inputs) = (v_y, v_z) the base density for given y is

        log p(v | y) = log N(v_y; y, sigma_y^2 I) + log N(v_z; 0, I)

    Attributes:
      inputs: block -> width, for example {"x": 4} or {"x": 2, "pad": 6}; blocks of width 0 are left
        out.
      outputs: block -> width, for example {"y": 2, "z": 2}; the same total.
      given: block -> width of what the network reads without transforming it, for example {"y": 2}.
      sigma_y: width of the likelihood of y where y is among the outputs.

    Raises:
      UserError: a width is no whole number of at least 0, or the sides do not add up.

    Example:
      >>> Partition(inputs={"x": 4}, outputs={"y": 2, "z": 2})
    """

    inputs: dict[str, int]
    outputs: dict[str, int]
    given: dict[str, int] = dataclasses.field(default_factory=dict)
    sigma_y: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        for side in ("inputs", "outputs", "given"):
            object.__setattr__(self, side, _without_empty(side, getattr(self, side)))
        if not self.inputs or not self.outputs:
            raise UserError("a partition needs at least one block of inputs and one of outputs")
        if self.size != sum(self.outputs.values()):
            raise UserError(
                f"inputs {self.inputs} have {self.size} dimensions and outputs {self.outputs} have"
                f" {sum(self.outputs.values())}; an invertible network needs the same number"
            )
        if not self.sigma_y > 0:
            raise UserError(f"sigma_y is {self.sigma_y}; it must be above 0")

    @property
    def size(self) -> int:
        """Dimensions of either side."""
        return sum(self.inputs.values())

    @property
    def given_size(self) -> int:
        """Dimensions of what is given."""
        return sum(self.given.values())

    @property
    def observed(self) -> tuple[str, ...]:
        """The blocks that the user's y fills: those of the outputs but z, and those given."""
        return tuple(name for name in (*self.outputs, *self.given) if name != "z")

    @property
    def beside_x(self) -> tuple[str, ...]:
        """The blocks of noise beside x where both go to z: p(x) is an average over them."""
        return tuple(name for name in self.inputs if name != "x" and set(self.outputs) == {"z"})

    def join(self, side: str, **blocks) -> tf.Tensor:
        """One array [..., size of the side] from its blocks [..., width], in order.

        Raises:
          UserError: blocks are missing, unknown, or of another width.
        """
        widths = getattr(self, side)
        if set(blocks) != set(widths):
            raise UserError(f"the {side} are {list(widths)}, got {list(blocks)}")
        arrays = [tf.convert_to_tensor(blocks[name]) for name in widths]
        for (name, width), array in zip(widths.items(), arrays, strict=True):
            if array.shape.rank == 0 or array.shape[-1] != width:
                raise UserError(
                    f"block {name!r} of the {side} has width {width}, got shape"
                    f" {tuple(array.shape)}"
                )
        return arrays[0] if len(arrays) == 1 else tf.concat(arrays, -1)

    def split(self, side: str, array) -> dict[str, tf.Tensor]:
        """The blocks [..., width] of an array [..., size of the side].

        Raises:
          UserError: the array is of another width.
        """
        widths = getattr(self, side)
        array = tf.convert_to_tensor(array)
        if array.shape.rank == 0 or array.shape[-1] != sum(widths.values()):
            raise UserError(
                f"the {side} {widths} have {sum(widths.values())} dimensions, got"
                f" {tuple(array.shape)}"
            )
        return dict(zip(widths, tf.split(array, list(widths.values()), -1), strict=True))

    def base_log_prob(self, v: tf.Tensor, y: tf.Tensor | None = None) -> tf.Tensor:
        """log p(v | y), [..., N] -> [...], in nats; y [..., M] where it is among the outputs."""
        if "y" not in self.outputs:
            return _log_normal(v)
        blocks = self.split("outputs", v)
        v_y = blocks.pop("y")
        deviation = (v_y - self._present(y)) / self.sigma_y
        widths = self.outputs["y"] * math.log(self.sigma_y)
        return _log_normal(deviation) - widths + sum(_log_normal(each) for each in blocks.values())

    def standard_sample(self, n: int, seed, dtype=tf.float32, temperature=1.0) -> tf.Tensor:
        """[n, N] draws of N(0, temperature^2 I), as `from_standardised` takes them.

        Raises:
          UserError: the temperature is not a number of at least 0.
        """
        if not isinstance(temperature, (int, float, np.number)) or not 0 <= temperature < math.inf:
            raise UserError(
                f"sampling_temperature is {temperature!r}; it must be a number of at least 0"
            )
        return temperature * tf.random.stateless_normal([n, self.size], seed, dtype=dtype)

    def from_standardised(self, v, y=None) -> tf.Tensor:
        """Outputs [..., N] from N(0, I) numbers: v_y -> y + sigma_y v_y if y is among them."""
        return self._in_y(v, lambda block: self._present(y) + self.sigma_y * block)

    def standardised(self, v, y=None) -> tf.Tensor:
        """N(0, I) numbers from outputs [..., N] that belong to y; inverts `from_standardised`."""
        return self._in_y(v, lambda block: (block - self._present(y)) / self.sigma_y)

    def with_y(self, v, y=None) -> tf.Tensor:
        """Outputs [..., N] with y [..., M] in its block, where it is among the outputs."""
        return self._in_y(v, lambda _: self._present(y))

    def _in_y(self, v, change):
        """The outputs with the block y changed, where there is one."""
        if "y" not in self.outputs:
            return tf.convert_to_tensor(v)
        blocks = self.split("outputs", v)
        return self.join("outputs", **{**blocks, "y": change(blocks["y"])})

    def _present(self, y):
        if y is None:
            raise UserError(f"y is among the outputs {self.outputs}: give y")
        return y


def _without_empty(side: str, blocks: dict[str, int]) -> dict[str, int]:
    """The blocks of width above 0.

    Raises:
      UserError: a width is not a whole number of at least 0.
    """
    for name, width in blocks.items():
        if not isinstance(width, int) or isinstance(width, bool) or width < 0:
            raise UserError(
                f"{side} block {name!r} has width {width!r}; a width is a whole number of at least"
                " 0"
            )
    return {name: width for name, width in blocks.items() if width}


def _log_normal(v):
    return -0.5 * tf.reduce_sum(v * v, -1) - 0.5 * v.shape[-1] * math.log(2 * math.pi)
