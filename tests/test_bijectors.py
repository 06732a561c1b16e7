"""One table of all layers, and a few invariants over all of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb

import flow_models as fm
from flow_models.bijectors import (
    ActNorm,
    Additive,
    Affine,
    Autoregressive,
    BatchNorm,
    Chain,
    CheckerboardCoupling,
    CircularCoupling,
    CircularSpline,
    ClassGaussian,
    Composed,
    Continuous,
    ConvCoupling,
    Coupling,
    DeepSigmoid,
    Dequantisation,
    Domain,
    EmergingConv,
    Flatten,
    FlowBijector,
    FreeField,
    FromTFP,
    HalfTurn,
    Householder,
    Hyperbolic,
    Inverse,
    Layer,
    LeakyReLU,
    Levels,
    LULinear,
    MonotonicIntegral,
    MultiScale,
    OnTorus,
    PatchAutoregressive,
    PatchCheckerboard,
    PatchCoupling,
    PeriodicConv,
    Permutation,
    Planar,
    PotentialField,
    Radial,
    RationalQuadratic,
    RecursiveCoupling,
    Repeat,
    Residual,
    Reversible,
    Roll,
    Rotated,
    Squeeze,
    Standardise,
    StudentT,
    Summarised,
    Sylvester,
)
from flow_models.bijectors.argmax import Argmax
from flow_models.bijectors.fold import Absolute, ThreeBranches
from flow_models.bijectors.layer import Frozen, floating, leaves, make_variables
from flow_models.bijectors.markov import Energy, Langevin, Metropolis
from flow_models.bijectors.mixture import FlowMixture, GaussianMixture
from flow_models.bijectors.mixture_cdf import MixtureCDF
from flow_models.bijectors.networks import MLP, of_channels
from flow_models.bijectors.on_columns import OnColumns
from flow_models.bijectors.order import Maximum, Sort
from flow_models.bijectors.refined import Refined
from flow_models.bijectors.resampled import Resampled
from flow_models.bijectors.rounding import Rounding
from flow_models.bijectors.sliced import Slice
from flow_models.core.serializable import from_config, to_config


@dataclasses.dataclass(frozen=True)
class Bent(Layer):
    """y = asinh(x M + c C) without a log-determinant: automatic differentiation gives it."""

    size: int
    condition_size: int = 0

    def init(self, rng):
        weights = {"matrix": np.eye(self.size, dtype=np.float32)}
        if self.condition_size:
            weights["across"] = np.zeros((self.condition_size, self.size), np.float32)
        return weights

    def _shift(self, weights, condition):
        return condition @ weights["across"] if self.condition_size else 0.0

    def forward(self, weights, x, condition=None):
        return tf.asinh(of_channels(x, weights["matrix"]) + self._shift(weights, condition))

    def inverse(self, weights, y, condition=None):
        straight = tf.sinh(y) - self._shift(weights, condition)
        return of_channels(straight, tf.linalg.inv(weights["matrix"]))


def inverted(hinge_softness, skewness, tailweight) -> tfb.Bijector:
    """Numbers with decimals and trained ones, in a bijector made of bijectors."""
    bent = tfb.Chain([tfb.SinhArcsinh(skewness, tailweight), tfb.Scale(hinge_softness)])
    return tfb.Invert(bent)


def with_variables() -> tfb.Bijector:
    return tfb.Shift(tf.Variable(1.0))


def ring(x):
    """log p of a noisy circle, up to a constant."""
    return -2 * (tf.norm(x, axis=-1) - 1.5) ** 2


SMALL = {"hidden": (8, 8), "activation": "silu"}
SEEING = {"condition_size": 2, **SMALL}
PATCHES = {"grid": (2, 2), "heads": 2, "hidden": (4, 4), "activation": "silu"}
SPLINE = Composed(Affine(), RationalQuadratic(bins=6, bound=3.0))
LAYERS = {
    "actnorm": ActNorm(3),
    "standardise": Standardise(3),
    "student_t": StudentT(3),
    "student_t_of_2": StudentT(3, 2.0),
    "lu": LULinear(3),
    "reverse": Permutation(3, "reverse"),
    "random_permutation": Permutation(5, "random"),
    "domain": Domain((None, 0.0, None, -1.0), (None, None, 5.0, 2.0)),
    "affine_coupling": Coupling(3, **SMALL),
    "affine_coupling_2d": Coupling(2, **SMALL),
    "additive_coupling": Coupling(4, Additive(), **SMALL),
    "spline_coupling": Coupling(3, RationalQuadratic(bins=6, bound=3.0), **SMALL),
    "affine_spline_coupling": Coupling(2, SPLINE, **SMALL),
    "conditional_coupling": Coupling(3, SPLINE, condition_size=2, **SMALL),
    "autoregressive": Autoregressive(3, **SMALL),
    "autoregressive_1d": Autoregressive(1, SPLINE, **SMALL),
    "autoregressive_spline": Autoregressive(4, SPLINE, **SMALL),
    "conditional_autoregressive": Autoregressive(3, condition_size=2, **SMALL),
    "conditional_autoregressive_1d": Autoregressive(1, condition_size=2, **SMALL),
    "inverse": Inverse(Autoregressive(3, **SMALL)),
    "chain": Chain([ActNorm(3), LULinear(3), Coupling(3, **SMALL)]),
    "repeat": Repeat(Chain([LULinear(3), Coupling(3, **SMALL)]), 4),
    "repeat_loop": Repeat(
        Chain([Permutation(3, "random"), Coupling(3, SPLINE, **SMALL)]), 4, layers_per_loop_body=2
    ),
    "repeat_conditional_loop": Repeat(
        Coupling(3, condition_size=2, **SMALL), 3, layers_per_loop_body=1
    ),
    "repeat_loop_that_keeps": Repeat(
        Chain([LULinear(3), Coupling(3, SPLINE, **SMALL)]), 4, 2, "everything"
    ),
    "householder": Householder(4),
    "reversible": Reversible(Chain([ActNorm(3), Householder(3), Coupling(3, SPLINE, **SMALL)])),
    "reversible_loop": Reversible(
        Repeat(Chain([ActNorm(3), LULinear(3), Coupling(3, **SMALL)]), 4, 1, "everything")
    ),
    "reversible_conditional_loop": Reversible(
        Repeat(Coupling(3, condition_size=2, **SMALL), 3, 1, "everything")
    ),
    "reversible_autoregressive": Reversible(Autoregressive(3, **SMALL)),
    "summarised_conditional": Summarised(
        Repeat(Coupling(3, condition_size=1, **SMALL), 2, 1), MLP(2, 1, (5,))
    ),
    "conditional_class_gaussian": ClassGaussian(Coupling(3, **SMALL), 3, 2),
    "conditional_class_gaussian_diagonal": ClassGaussian(Coupling(3, **SMALL), 3, 2, "diagonal"),
    "planar": Planar(3),
    "planar_1d": Planar(1),
    "conditional_planar": Planar(3, 2, (8,), "silu"),
    "planar_loop": Repeat(Planar(2), 4, 1),
    "reversible_planar": Reversible(Repeat(Planar(2), 4, 2)),
    "radial": Radial(3),
    "conditional_radial": Radial(2, 2, (8,), "silu"),
    "radial_loop": Repeat(Radial(2), 4, 1),
    "sylvester": Sylvester(3),
    "sylvester_of_two": Sylvester(4, units=2),
    "conditional_sylvester": Sylvester(3, 2, (8,), "silu"),
    "sylvester_loop": Repeat(Sylvester(3), 4, 1),
    "reversible_sylvester": Reversible(Chain([Sylvester(3), Coupling(3, **SMALL)])),
    "continuous": Continuous(FreeField(2, (4,)), 3e-10),
    "conditional_continuous": Continuous(PotentialField(2, 4, 1, condition_size=2), 3e-10),
    "residual": Residual(3, **SMALL),
    "residual_1d": Residual(1, **SMALL),
    "conditional_residual": Residual(2, condition_size=2, **SMALL),
    "residual_attention": Residual(3, heads=2, **SMALL),
    "conditional_residual_attention": Residual(2, heads=1, **SEEING),
    "residual_loop": Repeat(Chain([ActNorm(2), Residual(2, **SMALL)]), 2, 1),
    "reversible_residual": Reversible(Chain([Residual(2, **SMALL), Coupling(2, **SMALL)])),
    "neural_autoregressive": Autoregressive(3, DeepSigmoid(4), **SMALL),
    "conditional_neural_autoregressive": Autoregressive(2, DeepSigmoid(3), **SEEING),
    "neural_coupling_loop": Repeat(Coupling(3, DeepSigmoid(4), **SMALL), 2, 1),
    "reversible_neural_coupling": Reversible(Coupling(3, DeepSigmoid(1), **SMALL)),
    "monotonic_autoregressive": Autoregressive(3, MonotonicIntegral(4), **SMALL),
    "conditional_monotonic_autoregressive": Autoregressive(2, MonotonicIntegral(3, 1.0), **SEEING),
    "monotonic_coupling_loop": Repeat(Coupling(3, MonotonicIntegral(4), **SMALL), 2, 1),
    "circular": CircularCoupling(3, CircularSpline(5), **SMALL),
    "conditional_circular": CircularCoupling(2, CircularSpline(5), **SEEING),
    "torus": OnTorus(Repeat(CircularCoupling(3, CircularSpline(5), **SMALL), 2, 1), 360.0),
    "batch_norm": BatchNorm(3),
    "batch_norm_loop": Repeat(Chain([Coupling(3, **SMALL), BatchNorm(3)]), 2, 1),
    "recursive": RecursiveCoupling(5, **SMALL),
    "recursive_spline": RecursiveCoupling(3, SPLINE, **SMALL),
    "conditional_recursive": RecursiveCoupling(2, **SEEING),
    "reversible_recursive_loop": Reversible(
        Repeat(Chain([LULinear(4), RecursiveCoupling(4, **SMALL)]), 2, 1)
    ),
    "hyperbolic": Hyperbolic(4, 8),
    "conditional_hyperbolic": Hyperbolic(2, 8, "silu", 2),
    "reversible_hyperbolic_loop": Reversible(Repeat(Hyperbolic(4, 8), 3, 1)),
    "rotated": Rotated(3, Coupling(3, Additive(), **SMALL)),
    "conditional_rotated": Rotated(3, Coupling(3, **SEEING)),
    "reversible_rotated_loop": Reversible(
        Repeat(Rotated(3, Coupling(3, Additive(), **SMALL)), 3, 1)
    ),
    "mixture": MixtureCDF(3, 4),
    "refined": Refined(MixtureCDF(3, 4), Coupling(3, **SMALL), (0, 1, 2)),
    "refined_in_part": Refined(MixtureCDF(3, 4), Coupling(2, **SMALL), (0, 2)),
    "automatic": Bent(3),
    "automatic_conditional": Bent(3, 2),
    "automatic_loop": Repeat(Bent(3), 2, 1),
    "automatic_conditional_loop_that_keeps": Repeat(Bent(3, 2), 2, 1, "everything"),
    "reversible_automatic": Reversible(Chain([Bent(3), Coupling(3, **SMALL)])),
    "on_columns": OnColumns(Coupling(3, condition_size=1, **SMALL), 5, (4, 0, 2), (1,)),
    "absolute": Absolute(4, **SMALL),
    "conditional_absolute": Absolute(2, condition_size=2, **SMALL),
    "three_branches": ThreeBranches(3, **SMALL),
    "conditional_three_branches": ThreeBranches(3, condition_size=2, **SMALL),
    "maximum": Maximum(4),
    "sort": Sort(7),
    "gaussian_mixture": GaussianMixture(3, 4),
    "flow_mixture": FlowMixture(3, [Coupling(2, **SMALL), Bent(2)]),
    "slice": Slice(4, SPLINE, kept=3, **SMALL),
    "conditional_slice": Slice(3, kept=1, **SEEING),
    "rounding_1d": Rounding(1, 8, **SMALL),
    "argmax": Argmax(3, shares=(0.2, 0.7, 0.1), **SMALL),
    "conditional_argmax": Argmax(2, SPLINE, **SEEING),
    "resampled": Resampled(9, 4, **SMALL),
    "conditional_resampled": Resampled(5, 2, condition_size=2, **SMALL),
    "langevin": Langevin(4, Energy("test_bijectors:ring", 0.5)),
    "metropolis": Metropolis(5, Energy("test_bijectors:ring", 0.5)),
}
STEP = Chain([ActNorm(8), LULinear(8), ConvCoupling(8, **SMALL)])
LEVELS = [
    Chain([Squeeze(), STEP]),
    Chain([Squeeze("haar"), Repeat(Chain([ConvCoupling(16, **SMALL), Householder(16)]), 2, 1)]),
]
COARSE = [
    LEVELS[0],
    Chain([Squeeze(), ConvCoupling(16, condition_size=2, **SMALL)]),
]  # sees the condition at its coarse end
IMAGE_LAYERS = {  # layer, shape of an event
    "image_actnorm": (ActNorm(3), (2, 4, 3)),
    "image_lu": (LULinear(3), (2, 4, 3)),
    "image_householder": (Householder(3), (4, 2, 3)),
    "image_random_permutation": (Permutation(5, "random"), (2, 3, 5)),
    "image_automatic": (Bent(3), (2, 2, 3)),
    "squeeze": (Squeeze(), (4, 2, 3)),
    "squeeze_haar": (Squeeze("haar"), (2, 4, 3)),
    "flatten": (Flatten((2, 3, 2)), (2, 3, 2)),
    "conv_coupling": (ConvCoupling(3, **SMALL), (3, 4, 3)),
    "conv_prior": (ConvCoupling(4, hidden=()), (2, 3, 4)),
    "additive_conv_coupling": (ConvCoupling(4, Additive(), **SMALL), (3, 2, 4)),
    "spline_conv_coupling": (ConvCoupling(2, SPLINE, **SMALL), (3, 3, 2)),
    "conditional_conv_coupling": (ConvCoupling(3, condition_size=2, **SMALL), (2, 3, 3)),
    "checkerboard": (CheckerboardCoupling(2, **SMALL), (3, 4, 2)),
    "checkerboard_odd": (CheckerboardCoupling(1, colour=1, **SMALL), (4, 3, 1)),
    "image_batch_norm": (BatchNorm(3), (2, 4, 3)),
    "image_hyperbolic": (Hyperbolic(4, 5, images=True), (3, 2, 4)),
    "reversible_image_hyperbolic": (
        Reversible(Repeat(Hyperbolic(4, 5, images=True), 2, 1)),
        (2, 3, 4),
    ),
    "conditional_image_hyperbolic": (Hyperbolic(2, 5, "silu", 2, images=True), (2, 3, 2)),
    "image_rotated": (Rotated(3, ConvCoupling(3, Additive(), **SMALL)), (2, 3, 3)),
    "periodic": (PeriodicConv(3), (4, 5, 3)),
    "periodic_of_two": (PeriodicConv(2, 2), (2, 3, 2)),
    "periodic_loop": (Repeat(Chain([PeriodicConv(2), ConvCoupling(2, **SMALL)]), 2, 1), (3, 3, 2)),
    "half_turn": (HalfTurn(), (2, 3, 2)),
    "roll": (Roll(), (2, 3, 2)),
    "patch_coupling": (PatchCoupling(3, **PATCHES), (2, 2, 3)),
    "conditional_patch_coupling": (PatchCoupling(2, condition_size=2, **PATCHES), (2, 2, 2)),
    "patch_checkerboard": (PatchCheckerboard(2, colour=1, **PATCHES), (2, 2, 2)),
    "patch_autoregressive": (PatchAutoregressive(2, **PATCHES), (2, 2, 2)),
    "conditional_patch_autoregressive": (
        PatchAutoregressive(1, SPLINE, condition_size=2, **PATCHES),
        (2, 2, 1),
    ),
    "patch_autoregressive_loop": (
        Repeat(Chain([PatchAutoregressive(2, **PATCHES), HalfTurn()]), 2, 1),
        (2, 2, 2),
    ),
    "reversible_patches": (
        Reversible(Chain([PatchAutoregressive(2, **PATCHES), PatchCoupling(2, **PATCHES)])),
        (2, 2, 2),
    ),
    "emerging": (EmergingConv(3), (4, 5, 3)),
    "emerging_of_five": (EmergingConv(2, 5), (4, 2, 2)),
    "levels": (Levels(8), (2, 2, 3)),
    "levels_logit": (Levels(8, 0.05), (2, 2, 3)),
    "dequantisation": (Dequantisation(2, 8, hidden=(8,), activation="silu"), (2, 3, 2)),
    "multiscale": (MultiScale((4, 4, 2), LEVELS), (4, 4, 2)),
    "multiscale_one_level": (MultiScale((2, 4, 2), LEVELS[:1]), (2, 4, 2)),
    "reversible_multiscale": (Reversible(MultiScale((4, 4, 2), LEVELS)), (4, 4, 2)),
    "conditional_multiscale": (MultiScale((4, 4, 2), COARSE, 1), (4, 4, 2)),
    "reversible_conditional_multiscale": (Reversible(MultiScale((4, 4, 2), COARSE, 1)), (4, 4, 2)),
    "reversible_conditional_conv": (
        Reversible(Chain([Squeeze(), ConvCoupling(8, condition_size=2, **SMALL)])),
        (2, 4, 2),
    ),
}
MATVEC = FromTFP(tfb.ScaleMatvecTriL, trained={"scale_tril": np.eye(3)})
TFP_LAYERS = {  # layer, shape of an event
    "tfp_soft_clip": (FromTFP(tfb.SoftClip, {"low": -2.0, "high": 3}), (3,)),
    "tfp_softplus": (FromTFP(tfb.Softplus), (4,)),
    "tfp_sigmoid": (FromTFP(tfb.Sigmoid, {"low": (-1.0, -2.0), "high": (3.0, 4.0)}), (2,)),
    "tfp_permutation": (FromTFP(tfb.Permute, {"permutation": (2, 0, 1)}), (3,)),
    "tfp_shift_and_scale": (
        Chain(
            [
                FromTFP(tfb.Shift, trained={"shift": np.zeros(3)}),
                FromTFP(tfb.Scale, trained={"scale": 1.0}),
            ]
        ),
        (3,),
    ),
    "tfp_matvec": (MATVEC, (3,)),
    "tfp_inverted": (
        FromTFP(inverted, {"hinge_softness": 0.7}, {"skewness": (0.0, 0.1), "tailweight": 1.0}),
        (2,),
    ),
    "tfp_exp_and_softplus": (
        Chain([MATVEC, FromTFP(tfb.Exp), Inverse(FromTFP(tfb.Softplus)), Coupling(3, **SMALL)]),
        (3,),
    ),
    "tfp_logit": (
        Chain([FromTFP(tfb.Sigmoid, {"low": 0.2, "high": 0.8}), Inverse(FromTFP(tfb.Sigmoid))]),
        (2,),
    ),
    "tfp_tanh": (
        Chain([FromTFP(tfb.Tanh), FromTFP(tfb.Scale, {"scale": 0.9}), Inverse(FromTFP(tfb.Tanh))]),
        (2,),
    ),
    "leaky_relu": (Chain([LULinear(3), LeakyReLU(), Coupling(3, **SMALL)]), (3,)),
    "tfp_loop": (Repeat(MATVEC, 2, 1), (3,)),
    "reversible_tfp": (Reversible(Chain([MATVEC, Coupling(3, **SMALL)])), (3,)),
    "image_tfp_scale": (FromTFP(tfb.Scale, trained={"scale": np.ones(3)}), (2, 2, 3)),
    "image_tfp_matvec": (MATVEC, (2, 4, 3)),
}
OF_GIVEN_SHAPE = IMAGE_LAYERS | TFP_LAYERS
EVENTS = {name: shape for name, (_, shape) in OF_GIVEN_SHAPE.items()}
LAYERS |= {name: layer for name, (layer, _) in OF_GIVEN_SHAPE.items()}
CONDITIONAL = [name for name in LAYERS if "conditional" in name]
ARCHITECTURES = {
    name: dict(size=size, depth=2, **SMALL, **options)
    for name, size, options in (
        ("realnvp", 3, {}),
        ("spline_coupling", 2, {"affine": True, "linear": True}),
        ("maf", 3, {"bins": 4}),
        ("iaf", 3, {}),
        ("glow", 4, {}),
        ("glow", 2, {"additive": True}),
        ("maf", 1, {"bins": 4}),
        ("planar", 2, {}),
        ("radial", 3, {}),
        ("sylvester", 4, {"units": 3}),
        ("residual", 2, {}),
        ("residual_attention", 2, {"heads": 2}),
        ("ffjord", 2, {"tolerance": 1e-6}),
        ("ot_flow", 2, {"tolerance": 1e-6}),
        ("naf", 3, {"units": 4}),
        ("umnn", 2, {"units": 4}),
        ("realnvp_batch_norm", 3, {}),
        ("hint", 5, {}),
        ("hyperbolic", 4, {}),
        ("irim", 3, {}),
        ("sliced", 5, {"bins": 4}),
    )
}


def size_of(layer):
    if isinstance(layer, Domain):
        return len(layer.lower)
    return (
        layer.size
        if hasattr(layer, "size")
        else size_of(layer.layers[0] if hasattr(layer, "layers") else layer.layer)
    )


def moved_weights(layer, dtype=tf.float64, seed=0):
    """Weights away from their special starting values, so that nothing is the identity."""
    rng = np.random.default_rng(seed)
    weights = make_variables(layer.init(rng), dtype)
    for variable in leaves(weights).values():
        if variable.trainable:
            variable.assign_add(0.3 * rng.normal(size=variable.shape))
    return weights


def rows(layer, n=7, seed=1, scale=1.5):
    name = next((name for name, known in LAYERS.items() if known is layer), "")
    x = scale * np.random.default_rng(seed).normal(
        size=(n, *EVENTS.get(name, (size_of(layer) if name not in EVENTS else 0,)))
    )
    if isinstance(layer, (Levels, Dequantisation)):
        x = np.random.default_rng(seed).uniform(0.01, layer.levels, size=x.shape)
    if isinstance(layer, Argmax):
        category = np.random.default_rng(seed).uniform(0, layer.size, (n, 1))
        x = np.concatenate([category, x[:, 1:]], 1)
    if isinstance(layer, (CircularCoupling, OnTorus)):
        x = np.random.default_rng(seed).uniform(0, getattr(layer, "period", 1.0), size=x.shape)
    if isinstance(layer, Domain):
        x = LAYERS["domain"].inverse_and_log_det({}, tf.constant(x))[0].numpy()
    return tf.constant(x)


def condition_for(name, n=7):
    """Two numbers a row; where they are classes, a mixture of two."""
    if name not in CONDITIONAL:
        return None
    condition = tf.constant(np.random.default_rng(2).normal(size=(n, 2)))
    return tf.nn.softmax(condition) if "class" in name else condition


@pytest.fixture(params=LAYERS)
def case(request):
    layer = LAYERS[request.param]
    return layer, moved_weights(layer), rows(layer), condition_for(request.param)


def test_round_trip_and_opposite_log_dets(case):
    layer, weights, x, condition = case
    condition = layer.prepare(weights, condition)
    y, forward = layer.forward_and_log_det(weights, x, condition)
    back, inverse = layer.inverse_and_log_det(weights, tf.identity(y), condition)
    assert (
        np.prod(y.shape) == np.prod(x.shape)
        and back.shape == x.shape
        and forward.shape == inverse.shape == (len(x),)
    )
    np.testing.assert_allclose(back, x, atol=1e-8)
    np.testing.assert_allclose(inverse, -forward, atol=1e-8)


def test_log_det_is_that_of_the_autodiff_jacobian(case):
    layer, weights, x, condition = case
    condition = layer.prepare(weights, condition)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y, log_det = layer.forward_and_log_det(weights, x, condition)
    jacobian = tape.batch_jacobian(y, x, experimental_use_pfor=False)
    flat = np.reshape(jacobian, (len(x), np.prod(x.shape[1:]), -1))
    np.testing.assert_allclose(log_det, np.linalg.slogdet(flat)[1], atol=1e-8)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_all_conditions_in_one_call_are_each_alone(name):
    layer = LAYERS[name]
    weights, x, conditions = moved_weights(layer), rows(layer), condition_for(name, 3)
    conditions = layer.prepare(weights, conditions)
    y, log_det = layer.forward_of_each(weights, x, conditions)
    for k in range(3):
        alone, one = layer.forward_and_log_det(
            weights, x, tf.repeat(conditions[k : k + 1], len(x), 0)
        )
        np.testing.assert_allclose(y[k::3], alone, atol=1e-10)
        np.testing.assert_allclose(log_det[k::3], one, atol=1e-10)


def test_compiled_equals_eager(case):
    layer, weights, x, condition = case
    condition = layer.prepare(weights, condition)
    run = tf.function(
        lambda v: layer.forward_and_log_det(weights, v, condition),
        jit_compile=True,
        autograph=False,
    )
    for compiled, eager in zip(run(x), layer.forward_and_log_det(weights, x, condition)):
        np.testing.assert_allclose(compiled, eager, atol=1e-10)


def test_every_variable_has_a_gradient_in_both_directions(case):
    layer, weights, x, condition = case
    trainable = [v for v in leaves(weights).values() if v.trainable]
    y = layer.forward_and_log_det(weights, x, layer.prepare(weights, condition))[0]
    for direction, start in (
        (layer.forward_and_log_det, x),
        (layer.inverse_and_log_det, tf.identity(y)),
    ):
        with tf.GradientTape() as tape:
            y, log_det = direction(weights, start, layer.prepare(weights, condition))
            target = tf.reduce_sum(y * y) + tf.reduce_sum(log_det)
        gradients = tape.gradient(target, trainable)
        assert all(g is not None and np.isfinite(g).all() for g in gradients)
        for variable, gradient in zip(trainable, gradients):
            used = np.ones(variable.shape) if "w" not in variable.name else np.abs(gradient)
            assert (
                np.abs(gradient).max() > 0 or used.size == 0 or structurally_dead(layer, variable)
            ), variable.name


def structurally_dead(layer, variable):
    """MADE over one dimension has nothing to look at: only its output bias acts. Triangles of size
    one are empty."""
    return isinstance(layer, Autoregressive) and layer.size == 1


REVERSIBLE = [name for name in LAYERS if name.startswith("reversible")]


@pytest.mark.parametrize("name", [name for name in LAYERS if name not in REVERSIBLE])
def test_gradients_by_inversion_are_those_of_autodiff(name):
    layer = LAYERS[name]
    weights, x = moved_weights(layer), rows(layer)
    condition = layer.prepare(weights, condition_for(name))
    inputs = [x, *floating(weights), *([] if condition is None else [condition])]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y, log_det = layer.forward_and_log_det(weights, x, condition)
        y = tf.identity(y)  # a log-determinant that is computed from y counts once
        target = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(
            log_det * tf.range(1.0, 8.0, dtype=x.dtype)
        )
    dy, d_log_det, *expected = tape.gradient(
        target, [y, log_det, *inputs], unconnected_gradients="zero"
    )
    back, dx, d_weights, d_condition = layer.inverse_and_gradient(
        weights, y, dy, d_log_det, condition
    )
    np.testing.assert_allclose(back, x, atol=1e-8)
    for one, other in zip(
        [dx, *d_weights, *([] if d_condition is None else [d_condition])], expected, strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("name", REVERSIBLE)
def test_reversible_layers_train_as_the_layer_itself_does(name):
    layer = LAYERS[name]
    weights, x, condition = moved_weights(layer), rows(layer), condition_for(name)
    inputs, results = [x, *floating(weights), *([] if condition is None else [condition])], []
    for each in (layer, layer.layer):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y, log_det = each.forward_and_log_det(weights, x, condition)
            target = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(
                log_det * tf.range(1.0, 8.0, dtype=x.dtype)
            )
        results.append(tape.gradient(target, inputs))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)
    assert all(np.abs(gradient).max() > 0 for gradient in results[0])


def test_custom_gradients_agree_with_finite_differences():
    layer = LAYERS["affine_spline_coupling"]
    weights, x = moved_weights(layer), rows(layer)

    def objective():
        z, log_det = layer.forward_and_log_det(weights, x)
        return 0.5 * tf.reduce_sum(z * z) - tf.reduce_sum(log_det)

    for name, variable in leaves(weights).items():
        with tf.GradientTape() as tape:
            value = objective()
        direction = np.random.default_rng(5).normal(size=variable.shape)
        slope = np.sum(tape.gradient(value, variable) * direction)
        variable.assign_add(1e-6 * direction)
        up = objective()
        variable.assign_sub(2e-6 * direction)
        down = objective()
        variable.assign_add(1e-6 * direction)
        assert abs((up - down) / 2e-6 - slope) < 1e-5 * max(1.0, abs(slope)), name


def test_description_survives_json(case):
    import json

    layer = case[0]
    assert from_config(json.loads(json.dumps(to_config(layer)))) == layer


def test_stacked_layers_equal_a_chain_of_their_slices():
    layer, depth = LAYERS["repeat_loop"].layer, 4
    for layers_per_loop_body in (0, 1, 2, 4):
        stacked = Repeat(layer, depth, layers_per_loop_body)
        weights = moved_weights(stacked)
        x = rows(stacked)
        chain = Chain([layer] * depth)
        slices = [
            fm.bijectors.layer.rebuild(weights, [w[k] for w in leaves(weights).values()])
            for k in range(depth)
        ]
        for result, expected in zip(
            stacked.forward_and_log_det(weights, x), chain.forward_and_log_det(slices, x)
        ):
            np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
@pytest.mark.parametrize("name", ["repeat_loop", "repeat_conditional_loop"])
def test_gradients_of_the_loop_are_those_of_the_unrolled_layers(name, direction):
    looped = LAYERS[name]
    weights, x, condition = moved_weights(looped), rows(looped), condition_for(name)
    results = []
    for layer in (looped, Repeat(looped.layer, looped.depth, layers_per_loop_body=0)):
        watched = [x, *([] if condition is None else [condition])]
        with tf.GradientTape() as tape:
            tape.watch(watched)
            y, log_det = getattr(layer, direction)(weights, x, condition)
            target = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(
                log_det * tf.range(1.0, 8.0, dtype=x.dtype)
            )
        trained = [v for v in leaves(weights).values() if v.trainable]
        results.append(tape.gradient(target, [*watched, *trained]))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
        assert np.abs(one).max() > 0


@pytest.mark.parametrize("size", [1, 2, 3, 6])
@pytest.mark.parametrize("condition_size", [0, 2])
def test_masked_network_is_autoregressive_and_sees_all_it_may(size, condition_size):
    layer = Autoregressive(size, hidden=(16, 16), activation="tanh", condition_size=condition_size)
    weights = moved_weights(layer)
    x = tf.constant(np.random.default_rng(0).normal(size=(5, size + condition_size)))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        out = layer.network(weights, x)
    jacobian = (
        np.abs(tape.batch_jacobian(out, x, experimental_use_pfor=False)).max(0).reshape(size, 2, -1)
    )
    allowed = np.tril(np.ones((size, size)), -1)
    for parameter in jacobian.swapaxes(0, 1):
        assert ((parameter[:, :size] > 0) == (allowed > 0)).all()
        assert (parameter[:, size:] > 0).all()


@pytest.mark.parametrize("direction", ["forward_and_log_det", "inverse_and_log_det"])
def test_automatic_log_dets_have_gradients_in_compiled_loops(direction):
    name = "automatic_conditional_loop_that_keeps"
    layer, condition = LAYERS[name], condition_for(name)
    weights, x = moved_weights(layer), rows(layer)
    variables = list(leaves(weights).values())

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y, log_det = getattr(layer, direction)(weights, x, condition)
            target = tf.reduce_sum(tf.sin(y)) + tf.reduce_sum(tf.sin(log_det))
        return tape.gradient(target, [x, *variables])

    compiled = tf.function(gradients, jit_compile=True, autograph=False)
    for one, other in zip(compiled(x), gradients(x), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-8)


def test_an_incomplete_layer_is_one_clear_line():
    @dataclasses.dataclass(frozen=True)
    class Half(Layer):
        def forward(self, weights, x, condition=None):
            return tf.concat([x, x], 1)[:, : x.shape[1] + (x.shape[1] == 2)]

    x = tf.zeros([1, 3])
    assert Half().forward_and_log_det({}, x)[1].shape == (1,), "densities need no inverse"
    for call, message in (
        (lambda: Half().inverse_and_log_det({}, x), r"layer Half .* its method inverse\("),
        (lambda: Layer().forward_and_log_det({}, x), r"layer Layer .* its method forward\("),
        (lambda: Half().forward_and_log_det({}, x[:, :2]), "maps 2 numbers to 3"),
        (
            lambda: Bent(3).forward_and_log_det({"matrix": tf.eye(3)}, tf.zeros([1, 9, 10, 3])),
            "270",
        ),
    ):
        with pytest.raises(fm.UserError, match=message):
            call()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: FromTFP(tfb.Exp()), r"give the class and its arguments, FromTFP\(tfb.Exp, "),
        (lambda: FromTFP("os:system", {"command": "true"}), "neither a class of bijectors nor"),
        (lambda: FromTFP(moved_weights), "annotated with -> tfb.Bijector"),
        (lambda: FromTFP(lambda: tfb.Exp()), "<lambda> has no name"),
        (lambda: FromTFP(tfb.Scale, {"skale": 1.0}), "arguments: .* 'skale'"),
        (lambda: FromTFP(tfb.Scale, {"scale": 1.0}, {"scale": 1.0}), "arguments: .*multiple"),
        (lambda: FlowBijector(FromTFP(with_variables)), "creates variables of its own"),
        (
            lambda: FromTFP(tfb.Reshape, {"event_shape_out": (2, 1)}).forward_and_log_det(
                {}, tf.ones([1, 2])
            ),
            r"shape \(2,\) to \(2, 1\)",
        ),
    ],
)
def test_what_is_no_bijector_of_tfp_is_one_clear_line(make, message):
    with pytest.raises(fm.UserError, match=message):
        make()


def test_new_couplings_are_the_identity_but_for_the_swap():
    layer = Coupling(2, SPLINE, **SMALL)
    weights = make_variables(layer.init(np.random.default_rng(0)), tf.float64)
    x = rows(layer)
    y, log_det = layer.forward_and_log_det(weights, x)
    np.testing.assert_allclose(y, x.numpy()[:, ::-1], atol=1e-12)
    np.testing.assert_allclose(log_det, 0, atol=1e-12)


@pytest.mark.parametrize("x", [-1e30, -3.0000001, -3.0, -2.9999999, 0.0, 2.9999999, 3.0, 1e30])
def test_splines_are_finite_and_continuous_at_the_edges(x):
    spline = RationalQuadratic(bins=5, bound=3.0)
    o = tf.constant(
        10 * np.random.default_rng(0).normal(size=(1, 1, spline.parameters)).astype("f")
    )
    y, log_slope = spline.forward_and_log_det(o, tf.constant([[x]], tf.float32))
    assert np.isfinite(y).all() and np.isfinite(log_slope).all()
    if abs(x) >= 3:
        assert y.numpy() == np.float32(x) and log_slope.numpy() == 0
    elif abs(x) > 2.9:
        assert abs(y.numpy() - x) < 1e-3


def test_domain_refuses_what_lies_outside_and_gives_it_no_density():
    layer = Domain((0.0, None), (1.0, None))
    assert np.isneginf(layer.forward_and_log_det({}, tf.constant([[1.5, 0.0]]))[1].numpy())
    with pytest.raises(fm.UserError, match="column 0: 1 rows are not inside"):
        layer.check(np.array([[0.5, 0.0], [1.0, 0.0]]))
    with pytest.raises(fm.UserError, match="lower bound 2"):
        Domain((2.0,), (1.0,))
    with pytest.raises(fm.UserError, match="give one each"):
        Domain((2.0,), (None, None))


def test_actnorm_and_standardise_start_from_the_data():
    x = tf.constant(np.random.default_rng(0).normal(3, 5, (2000, 3)))
    for layer in (
        ActNorm(3),
        Standardise(3),
        Repeat(Chain([ActNorm(3), Coupling(3, **SMALL)]), 2, layers_per_loop_body=1),
    ):
        weights, y = layer.data_dependent_init(moved_weights(layer), x)
        np.testing.assert_allclose(y, layer.forward_and_log_det(weights, x)[0], atol=1e-8)
    weights, y = ActNorm(3).data_dependent_init(moved_weights(ActNorm(3)), x)
    np.testing.assert_allclose(np.mean(y, 0), 0, atol=1e-6)
    np.testing.assert_allclose(np.std(y, 0), 1, atol=1e-5)
    weights, _ = Standardise(2).data_dependent_init({}, tf.constant([[1.0, 2.0], [3.0, 2.0]]))
    assert weights["sd"].numpy()[1] == 1, "constant in the rows looked at, perhaps not in others"


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES)))
def test_architectures_work_inside_tfp(name):
    f = fm.architectures.ARCHITECTURES[name](**ARCHITECTURES[name])
    assert isinstance(f, tfp.bijectors.Bijector)
    size = ARCHITECTURES[name]["size"]
    base = tfp.distributions.MultivariateNormalDiag(tf.zeros(size))
    density = tfp.distributions.TransformedDistribution(base, tfp.bijectors.Invert(f))
    x = density.sample((3, 4), seed=(1, 2))
    assert x.shape == (3, 4, size) and density.log_prob(x).shape == (3, 4)
    assert (
        len(density.trainable_variables)
        == len([v for v in leaves(f.weights).values() if v.trainable])
        > 0
    )
    np.testing.assert_allclose(f.inverse(tf.identity(f.forward(x))), x, atol=2e-4)
    np.testing.assert_allclose(
        f.inverse_log_det_jacobian(tf.identity(f.forward(x)), 1),
        -f.forward_log_det_jacobian(x, 1),
        atol=2e-4,
    )
    before = f.forward(x)
    for variable in f.trainable_variables:
        variable.assign_add(0.1 * tf.ones_like(variable))
    assert np.abs(before - f.forward(x)).max() > 1e-3, (
        "a cached result from before the variables changed"
    )


def test_permutations_follow_the_seed_and_are_variables():
    first, again, other = (FlowBijector(Permutation(20, "random"), seed=s) for s in (0, 0, 1))
    assert (first.weights["permutation"].numpy() == again.weights["permutation"].numpy()).all()
    assert (first.weights["permutation"].numpy() != other.weights["permutation"].numpy()).any()
    assert len(first.variables) == 1 and not first.trainable_variables
    assert isinstance(
        Permutation(20, "random").init(np.random.default_rng(0))["permutation"], Frozen
    )


def test_wrong_use_is_one_clear_line():
    with pytest.raises(fm.UserError, match="at least 2 dimensions, got 1; use maf"):
        fm.realnvp(1)
    with pytest.raises(fm.UserError, match="no architecture 'nvp'"):
        fm.architectures.build("nvp", 2)
    with pytest.raises(fm.UserError, match="bounds for 3 columns, but the data have 2"):
        fm.realnvp(2, lower=[0.0, 0.0, 0.0])
    with pytest.raises(fm.UserError, match="does not have"):
        from_config({"__class__": "flow_models.bijectors.coupling:Coupl"})


def test_steep_splines_are_inverted_in_float32():
    spline = RationalQuadratic(bins=8, bound=4.0)
    rng = np.random.default_rng(0)
    o = tf.constant(10 * rng.normal(size=(200_000, 1, spline.parameters)).astype("f"))
    y = tf.constant(rng.uniform(-4, 4, (200_000, 1)).astype("f"))
    x, log_slope = spline.inverse_and_log_det(o, y)
    assert np.isfinite(log_slope).all() and (np.abs(x) <= 4).all()
    np.testing.assert_allclose(spline.forward_and_log_det(o, x)[0], y, atol=0.02)
