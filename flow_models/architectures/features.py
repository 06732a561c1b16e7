"""A recipe for feature maps [h, w, D]."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from flow_models.architectures.images import repeated
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.chain import Chain
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import ConvCoupling
from flow_models.bijectors.elementwise import Affine
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.squeeze import Flatten


def fastflow(
    shape: Sequence[int],
    depth: int = 8,
    hidden: Sequence[int] = (64,),
    *,
    activation: str = "relu",
    reversible: str = "auto",
    layers_per_loop_body: int = 1,
    seed: int = 0,
    dtype: tf.DType = tf.float32,
) -> FlowBijector:
    """Couplings of the channels at one resolution, with convolutions, so that each latent keeps its
    place (FastFlow, Yu et al. 2021; a learned 1x1 convolution in place of its permutations).

    Args:
      shape: (h, w, D) of the maps, D at least 2.
      depth, hidden, activation, reversible, layers_per_loop_body: as in `glow_image`.
      seed: of the initial weights.
    """
    channels = shape[2]
    coupling = ConvCoupling(channels, Affine(bound=1.0), hidden, activation)
    step = Chain([ActNorm(channels), LULinear(channels), coupling])
    layers = [repeated(step, depth, layers_per_loop_body, reversible), ActNorm(channels)]
    return FlowBijector(Chain([*layers, Flatten(tuple(shape))]), seed, dtype, event_ndims=(3, 1))
