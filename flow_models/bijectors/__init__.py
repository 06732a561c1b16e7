"""Invertible layers, one file a family, and their outer face as `tfb.Bijector`s."""

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain, Inverse, Repeat
from flow_models.bijectors.class_gaussian import ClassGaussian
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.domain import Domain, Standardise
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.yeo_johnson import YeoJohnson

__all__ = [
    "ActNorm", "Additive", "Affine", "Autoregressive", "Chain", "ClassGaussian", "Composed", "Coupling", "Domain", "FlowBijector",
    "Inverse", "LULinear", "Layer", "Permutation", "RationalQuadratic", "Repeat", "Standardise",
    "YeoJohnson",
]  # fmt: skip
