"""Recipes of what is no bijection of the data alone: flows of the data and of noise beside them."""

from collections.abc import Callable, Sequence

from flow_models.architectures.columns import with_bounds
from flow_models.architectures.registry import ARCHITECTURES, in_units_of_the_data
from flow_models.bijectors.actnorm import ActNorm
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.bernoulli import Bernoulli
from flow_models.bijectors.chain import Chain, Repeat
from flow_models.bijectors.conditioned import Given
from flow_models.bijectors.continuous import Continuous
from flow_models.bijectors.conv1x1 import LULinear
from flow_models.bijectors.coupling import Coupling
from flow_models.bijectors.elementwise import Additive, Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.fields import FreeField
from flow_models.bijectors.fold import Absolute, ThreeBranches
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.mixture import FlowMixture, GaussianMixture
from flow_models.bijectors.on_columns import OnColumns, Widened
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.resampled import Resampled
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.errors import UserError

PROPOSALS = 16  # of the base of learned rejection


@with_bounds
def augmented(
    size: int,
    depth: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    noise: int = 0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Linear maps and affine couplings of the data and of noise dimensions (augmented flows,
    Huang, Dinh and Courville 2020): log p is a bound, which draws of the noise tighten.

    Args:
      noise: its dimensions; 0: as many as the data have.

    Others as in `realnvp`.
    """
    noise = noise_columns("augmented", size, noise=noise)
    coupling = Coupling(size + noise, Affine(), hidden, activation, condition_size)
    # linear maps mix data and noise: of independent noise nothing is learned
    step = Chain([LULinear(size + noise), coupling])
    layers = [Repeat(step, depth, layers_per_loop_body)]
    return _widened(size, noise, layers, False, seed, **data)


@with_bounds
def augmented_ode(
    size: int,
    depth: int = 1,
    hidden: Sequence[int] = (64, 64),
    activation: str = "silu",
    *,
    noise: int = 0,
    divergence: str = "auto",
    tolerance: float = 1e-4,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """A continuous flow of the data and of noise dimensions, through which paths of the data may
    cross (augmented neural ODEs, Dupont, Doucet and Teh 2019, with noise where they have zeros):
    log p is a bound, as that of `augmented`.

    Args:
      noise: its dimensions; 0: as many as the data have.

    Others as in `ffjord`.
    """
    noise = noise_columns("augmented_ode", size, noise=noise)
    field = FreeField(size + noise, hidden, activation, condition_size, divergence)
    flow = Repeat(Continuous(field, tolerance), depth, layers_per_loop_body)
    return _widened(size, noise, [flow], False, seed, **data)


@with_bounds
def absolute(
    size: int,
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """The absolute value of every column, then spline couplings: for symmetric data (SurVAE flows,
    Nielsen et al. 2020). The density is exact.

    Others as in `spline_coupling`.
    """
    folds = [
        OnColumns(
            Absolute(size + 1, tuple(hidden)[:1], activation, condition_size),
            2 * size,
            [i, *(j for j in range(size) if j != i), size + i],
        )
        for i in range(size)
    ]
    couplings = _splines(size, hidden, activation, bins, bound, condition_size)
    flow = OnColumns(Repeat(couplings, depth, layers_per_loop_body), 2 * size, list(range(size)))
    return _widened(size, size, [*folds, flow], True, seed, **data)


@with_bounds
def rad(
    size: int,
    depth: int = 4,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Folds of three branches between spline couplings (RAD, Dinh et al. 2019): separate modes
    without a bridge. A fold takes each column in turn, and starts where this falls in two parts.
    The density is exact.

    Others as in `spline_coupling`.
    """
    fold = ThreeBranches(size + 1, tuple(hidden)[:1], activation, condition_size)
    couplings = _splines(size, hidden, activation, bins, bound, condition_size)
    layers: list[Layer] = []
    for i in range(depth):
        column = [i % size, *(j for j in range(size) if j != i % size), size + i]
        layers.append(OnColumns(fold, size + depth, column))
        layers.append(OnColumns(couplings, size + depth, list(range(size))))
    return _widened(size, depth, layers, True, seed, **data)


@with_bounds
def mixture(
    size: int,
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    components: int = 10,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Spline couplings in front of a learned Gaussian mixture as the base. The density is exact.

    Args:
      components: of the mixture.

    Others as in `spline_coupling`.
    """
    couplings = _splines(size, hidden, activation, bins, bound, condition_size)
    flow = OnColumns(Repeat(couplings, depth, layers_per_loop_body), size + 1, list(range(size)))
    base = GaussianMixture(size + 1, components)
    return _widened(size, 1, [flow, base], True, seed, **data)


@with_bounds
def resampled(
    size: int,
    depth: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    proposals: int = PROPOSALS,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Spline couplings in front of a base of learned rejection (Stimper, Schoelkopf and
    Hernandez-Lobato 2022), which may cut a Gaussian in parts: log p is a bound, which draws of the
    noise tighten.

    Args:
      proposals: T, of which the first that is accepted is taken; sampling makes all of them.

    Others as in `spline_coupling`.
    """
    noise = noise_columns("resampled", size, proposals=proposals)
    couplings = _splines(size, hidden, activation, bins, bound, condition_size)
    columns = list(range(size))
    flow = OnColumns(Repeat(couplings, depth, layers_per_loop_body), size + noise, columns)
    options = tuple(hidden)[:1], activation, condition_size
    base = Resampled(size + noise, proposals, *options)
    return _widened(size, noise, [flow, base], False, seed, **data)


@with_bounds
def flow_mixture(
    size: int,
    depth: int = 3,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    components: int = 4,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """A mixture of flows of spline couplings, each with its own weights. The density is exact.

    Args:
      components: flows.

    Others as in `spline_coupling`.
    """
    couplings = _splines(size, hidden, activation, bins, bound, condition_size)
    flows = [
        Chain([ActNorm(size), Repeat(couplings, depth, layers_per_loop_body)])
        for _ in range(components)
    ]
    return _widened(size, 1, [FlowMixture(size + 1, flows)], True, seed, **data)


LIKELIHOODS = {"gaussian": Affine(), "bernoulli": Bernoulli()}


@with_bounds
def vae(
    size: int,
    depth: int = 2,
    hidden: Sequence[int] = (128, 128),
    activation: str = "relu",
    *,
    noise: int = 0,
    likelihood: str = "gaussian",
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """A variational autoencoder with flows: an inverse autoregressive posterior (Kingma et al.
    2016) and a prior of couplings. log p is a bound, which draws of the noise tighten.

    The noise e becomes the latent z given x, x is then standardised given z, by the decoder, and
    the prior carries z to N(0, I): three conditional layers, and the network is invertible.

    Args:
      depth: layers of posterior and prior; 0: the plain autoencoder.
      noise: dimensions of z; 0: as many as the data have.
      likelihood: of x given z: gaussian, or bernoulli for bits with uniform noise, x = k + u in
        [0, 2); log p(x) is log P(k) then.

    Others as in `realnvp`.

    Raises:
      UserError: another likelihood.
    """
    if likelihood not in LIKELIHOODS:
        raise UserError(f"likelihood is {likelihood!r}, must be {' or '.join(LIKELIHOODS)}")
    data = {"standardise": likelihood == "gaussian", **data}
    noise = noise_columns("vae", size, noise=noise)
    x, z = list(range(size)), list(range(size, size + noise))
    given_x, given_z = size + condition_size, noise + condition_size
    step = Autoregressive(noise, Affine(), hidden, activation, given_x)
    bent = [Chain([step, Permutation(noise, "reverse")])] * depth
    # of a z that starts independent of x the decoder learns nothing
    shift = Given(noise, Additive(), hidden, activation, given_x, spread=3.0)
    scale = Given(noise, Affine(), hidden, activation, given_x)
    posterior = Chain([shift, scale, *bent])
    decoder = Given(size, LIKELIHOODS[likelihood], hidden, activation, given_z)
    prior = Chain([_splines(noise, hidden, activation, 8, 5.0, condition_size)] * depth)
    layers = [
        OnColumns(posterior, size + noise, z, x),
        OnColumns(decoder, size + noise, x, z),
        OnColumns(prior, size + noise, z),
    ]
    return _widened(size, noise, layers, False, seed, **data)


ARCHITECTURES.update(
    absolute=absolute,
    augmented=augmented,
    augmented_ode=augmented_ode,
    flow_mixture=flow_mixture,
    mixture=mixture,
    rad=rad,
    resampled=resampled,
    vae=vae,
)
NOISE: dict[str, Callable[[int, dict], int]] = {
    "augmented": lambda size, options: options.get("noise") or size,
    "augmented_ode": lambda size, options: options.get("noise") or size,
    "absolute": lambda size, options: size,
    "rad": lambda size, options: options.get("depth") or 4,
    "mixture": lambda size, options: 1,
    "flow_mixture": lambda size, options: 1,
    "resampled": lambda size, options: size * ((options.get("proposals") or PROPOSALS) - 1) + 1,
    "vae": lambda size, options: options.get("noise") or size,
}


def noise_columns(architecture: str, size: int, **options) -> int:
    """Dimensions of the noise that an architecture takes beside data of `size` dimensions; 0 where
    it is a bijection of the data alone.

    Args:
      options: of the architecture; for argmax, `columns` are the distribution functions.

    Example:
      >>> e = noise_columns("augmented", 2)
      >>> fm.Partition(inputs={"x": 2, "eps": e}, outputs={"z": 2 + e})
    """
    return NOISE[architecture](size, options) if architecture in NOISE else 0


def _widened(size, noise, layers, exact, seed, **data):
    """The layers of data and noise, behind those that remove the data's units."""
    front = in_units_of_the_data([], size, seed, **data)
    first = OnColumns(front.layer, size + noise, list(range(size)))
    return FlowBijector(Widened([first, *layers], size + noise, noise, exact), seed, front.dtype)


def _splines(size, hidden, activation, bins, bound, condition_size):
    """A coupling of affine maps and splines; of one dimension, the map alone."""
    layer = Coupling if size > 1 else Autoregressive
    transform = Composed(Affine(), RationalQuadratic(bins, bound))
    return layer(size, transform, hidden, activation, condition_size)
