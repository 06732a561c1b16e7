"""Recipe of stochastic normalizing flows: steps of Markov chains between couplings."""

from collections.abc import Callable, Sequence

from tensorflow_probability import bijectors as tfb

from flow_models.architectures.columns import with_bounds
from flow_models.architectures.registry import ARCHITECTURES, in_units_of_the_data
from flow_models.architectures.wider import NOISE, noise_columns
from flow_models.bijectors.autoregressive import Autoregressive
from flow_models.bijectors.chain import Chain
from flow_models.bijectors.elementwise import Affine, Composed
from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.from_tfp import FromTFP
from flow_models.bijectors.layer import Layer
from flow_models.bijectors.markov import Energy, Langevin, Metropolis
from flow_models.bijectors.on_columns import OnColumns, Widened
from flow_models.bijectors.permutation import Permutation
from flow_models.bijectors.sliced import Slice
from flow_models.bijectors.spline import RationalQuadratic
from flow_models.core.errors import UserError
from flow_models.core.serializable import import_name, imported

DEPTH, STEPS = 4, 2


@with_bounds
def stochastic(
    size: int,
    depth: int = DEPTH,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    *,
    energy: str | Callable = "",
    scale: float = 1.0,
    chain: str = "metropolis",
    chain_steps: int = STEPS,
    chain_size: float = 0.0,
    bins: int = 8,
    bound: float = 5.0,
    condition_size: int = 0,
    layers_per_loop_body: int = 0,
    seed: int = 0,
    **data,
) -> FlowBijector:
    """Couplings, and between them steps of Markov chains towards a density (stochastic normalizing
    flows, Wu, Koehler and Noe 2020): `fit_density` trains them, and reweighted expectations are
    unbiased whatever was learnt. log p is a bound, which draws of the noise tighten.

    Args:
      depth: blocks of two spline couplings, which keep the order of the columns, and of steps.
      energy: log p(x) up to a constant, of `fit_density`: a function at the top level of a module,
        or its name "module:function". The steps of block i are those of
        (1 - s) log N + s log p, s = (depth - i) / depth. Without one, for data, s is 0.
      scale: with an energy, x is divided by it; as in `fit_density`.
      chain: metropolis, or langevin, which needs a smooth energy.
      chain_steps: steps of each block.
      chain_size: of a step, in units of `scale`; 0: 0.3 for metropolis, 0.01 for langevin.
      layers_per_loop_body: not used: every block has its own energy.

    Others as in `spline_coupling`.

    Raises:
      UserError: no such chain, or an energy that no other process could find.
    """
    noise = noise_columns("stochastic", size, depth=depth, chain=chain, chain_steps=chain_steps)
    name, columns = _named(energy), list(range(size))
    front = in_units_of_the_data([], size, seed, **data)
    first = FromTFP(tfb.Scale, {"scale": 1 / scale}) if name else front.layer
    transform = Composed(Affine(), RationalQuadratic(bins, bound))
    block = _block(size, transform, hidden, activation, condition_size)
    layers: list[Layer] = [OnColumns(first, size + noise, columns)]
    free = iter(range(size, size + noise))
    for i in range(depth):
        towards = Energy(name, (depth - i) / depth if name else 0.0, scale)
        step = CHAINS[chain](size, towards, chain_size)
        for _ in range(chain_steps):
            own = [next(free) for _ in range(step.size - size)]
            layers.append(OnColumns(step, size + noise, [*columns, *own]))
        layers.append(OnColumns(block, size + noise, columns))
    return FlowBijector(Widened(layers, size + noise, noise), seed, front.dtype)


CHAINS: dict[str, Callable[..., Langevin | Metropolis]] = {
    "metropolis": lambda size, energy, step: Metropolis(2 * size + 1, energy, step or 0.3),
    "langevin": lambda size, energy, step: Langevin(2 * size, energy, step or 0.01),
}


def _named(energy: str | Callable) -> str:
    """The name of an energy, which any process can import; empty for none."""
    name = energy if isinstance(energy, str) else import_name(energy)
    if name and not callable(imported(name)):
        raise UserError(f"the energy {name} is no function")
    return name


def _block(size, *options):
    """Both halves of the columns transformed, in their order."""
    if size == 1:
        return Autoregressive(1, *options)
    half = Slice(size, *options, kept=size // 2)
    other = Slice(size, *options, kept=size - size // 2)
    reverse = Permutation(size, "reverse")
    return Chain([half, reverse, other, reverse])


def _noise(size: int, options: dict) -> int:
    chain = options.get("chain") or "metropolis"
    if chain not in CHAINS:
        raise UserError(f"no chain {chain!r}; there are {', '.join(CHAINS)}")
    steps = (options.get("depth") or DEPTH) * (options.get("chain_steps") or STEPS)
    return steps * (size + (chain == "metropolis"))


ARCHITECTURES["stochastic"] = stochastic
NOISE["stochastic"] = _noise
