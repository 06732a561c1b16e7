"""Invertible layers, one file a family, and their outer face as `tfb.Bijector`s."""

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain, Inverse, Repeat, Reversible
from flow_models.bijectors.class_gaussian import ClassGaussian
from flow_models.bijectors.conv1x1 import Householder, LULinear
from flow_models.bijectors.coupling import CheckerboardCoupling, ConvCoupling, Coupling
from flow_models.bijectors.domain import Domain, Standardise
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.multiscale import MultiScale
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.pixels import Dequantisation, Pixels
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.squeeze import Flatten, Squeeze
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.yeo_johnson import YeoJohnson

__all__ = [
    "ActNorm",
    "Additive",
    "Affine",
    "Autoregressive",
    "Chain",
    "CheckerboardCoupling",
    "ClassGaussian",
    "Composed",
    "ConvCoupling",
    "Coupling",
    "Dequantisation",
    "Domain",
    "Flatten",
    "FlowBijector",
    "Householder",
    "Inverse",
    "LULinear",
    "Layer",
    "MultiScale",
    "Permutation",
    "Pixels",
    "RationalQuadratic",
    "Repeat",
    "Reversible",
    "Squeeze",
    "Standardise",
    "Summarised",
    "YeoJohnson",
]
