"""Invertible layers, one file per family, and `FlowBijector`, their face as a `tfb.Bijector`."""

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain, Inverse, Repeat, Reversible
from flow_models.bijectors.class_gaussian import ClassGaussian
from flow_models.bijectors.conv1x1 import Householder, LULinear
from flow_models.bijectors.coupling import CheckerboardCoupling, ConvCoupling, Coupling
from flow_models.bijectors.domain import Domain, Standardise
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.from_tfp import FromTFP
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.levels import Dequantisation, Levels
from flow_models.bijectors.multiscale import MultiScale
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.planar import Planar, Radial
from flow_models.bijectors.residual import Residual
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.squeeze import Flatten, Squeeze
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.sylvester import Sylvester
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
    "FromTFP",
    "Householder",
    "Inverse",
    "LULinear",
    "Layer",
    "MultiScale",
    "Permutation",
    "Planar",
    "Radial",
    "Levels",
    "RationalQuadratic",
    "Repeat",
    "Residual",
    "Reversible",
    "Squeeze",
    "Standardise",
    "Summarised",
    "Sylvester",
    "YeoJohnson",
]
