"""Invertible layers, one file per family, and `FlowBijector`, their face as a `tfb.Bijector`."""

from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.batchnorm import BatchNorm
from flow_models.bijectors.chain import Chain, Inverse, Repeat, Reversible
from flow_models.bijectors.circular import CircularCoupling, CircularSpline, OnTorus
from flow_models.bijectors.class_gaussian import ClassGaussian
from flow_models.bijectors.continuous import Continuous
from flow_models.bijectors.conv1x1 import Householder, LULinear
from flow_models.bijectors.coupling import CheckerboardCoupling, ConvCoupling, Coupling
from flow_models.bijectors.domain import Domain, Standardise
from flow_models.bijectors.elementwise import Additive, Affine, Composed, Elementwise
from flow_models.bijectors.emerging import EmergingConv
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.fields import FreeField, PotentialField
from flow_models.bijectors.from_tfp import FromTFP
from flow_models.bijectors.hint import RecursiveCoupling
from flow_models.bijectors.hyperbolic import Hyperbolic
from flow_models.bijectors.integral import MonotonicIntegral
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.leaky_relu import LeakyReLU
from flow_models.bijectors.levels import Dequantisation, Levels
from flow_models.bijectors.multiscale import MultiScale
from flow_models.bijectors.patches import (
    HalfTurn,
    PatchAutoregressive,
    PatchCheckerboard,
    PatchCoupling,
    Roll,
)
from flow_models.bijectors.periodic import PeriodicConv
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.planar import Planar, Radial
from flow_models.bijectors.residual import Residual
from flow_models.bijectors.rotated import Rotated
from flow_models.bijectors.sigmoidal import DeepSigmoid
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.bijectors.squeeze import Flatten, Squeeze
from flow_models.bijectors.student_t import StudentT
from flow_models.bijectors.summary import Summarised
from flow_models.bijectors.sylvester import Sylvester
from flow_models.bijectors.yeo_johnson import YeoJohnson

__all__ = [
    "ActNorm",
    "Additive",
    "Affine",
    "Autoregressive",
    "BatchNorm",
    "Chain",
    "CheckerboardCoupling",
    "CircularCoupling",
    "CircularSpline",
    "ClassGaussian",
    "Composed",
    "Continuous",
    "ConvCoupling",
    "Coupling",
    "DeepSigmoid",
    "Dequantisation",
    "Domain",
    "Elementwise",
    "EmergingConv",
    "Flatten",
    "FlowBijector",
    "FreeField",
    "FromTFP",
    "HalfTurn",
    "Householder",
    "Hyperbolic",
    "Inverse",
    "LULinear",
    "Layer",
    "LeakyReLU",
    "MonotonicIntegral",
    "MultiScale",
    "OnTorus",
    "PatchAutoregressive",
    "PatchCheckerboard",
    "PatchCoupling",
    "PeriodicConv",
    "Permutation",
    "PotentialField",
    "Planar",
    "Radial",
    "Levels",
    "RationalQuadratic",
    "RecursiveCoupling",
    "Repeat",
    "Residual",
    "Reversible",
    "Roll",
    "Rotated",
    "Squeeze",
    "Standardise",
    "StudentT",
    "Summarised",
    "Sylvester",
    "YeoJohnson",
]
