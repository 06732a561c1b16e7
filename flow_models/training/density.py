"""`fit_density`: training on a density instead of data (variational inference)."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from flow_models.bijectors.face import FlowBijector
from flow_models.bijectors.layer import leaves
from flow_models.core.errors import UserError
from flow_models.diagnostics.importance import WeightedSamples
from flow_models.models.model import Model
from flow_models.models.weighted import weighted_samples
from flow_models.training.annealed import Buffer
from flow_models.training.prepared import START_ROWS, start
from flow_models.training.reverse_kl import Latents, forward_kl, reverse_kl
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import FitResult, Trainer

SHARES = {"annealed": 0.75, "reverse_kl": 0.5}  # method -> share of the steps of its first part
# of the rate, for the reverse divergence of a flow that is nearly right: its path gradient does not
# see the masses of modes far from each other, and large steps would change them
FINE = 0.1
WEIGHED = 0.15  # of the steps, at that rate, set right the masses that "reverse_kl" has left
JUDGED = 8192  # draws that tell whether they have
ANNEALINGS = 20  # of draws of the flow, where the settings do not say how many


@dataclasses.dataclass(repr=False)
class DensityFit(FitResult):
    """What the training did, the trained model, and the density that it was trained on.

    `history` is that of the reverse divergence; `forward` is the training on annealed draws before
    it, where there was one. `train_seconds` are of all.
    """

    model: Model
    log_density: Callable
    forward: FitResult | None = None

    def sample(self, n: int, seed: int = 0) -> WeightedSamples:
        """n draws of the model with importance weights: log Z, its standard error, the effective
        share and expectations under the density."""
        return weighted_samples(self.model, self.log_density, n, seed)


def fit_density(
    log_density: Callable[[tf.Tensor], tf.Tensor],
    model: Model | FlowBijector,
    settings: FitSettings | None = None,
    *,
    method: str = "annealed",
    location: float = 0.0,
    scale: float = 1.0,
    forward_share: float | None = None,
    folder: str | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool | None = None,
) -> DensityFit:
    """Trains a model on an unnormalised density, without data.

    Args:
      log_density: log p(x) up to a constant, tensors [B, D] -> [B], written with TensorFlow.
      model: a `Model` of vectors without y, or a flow; it is trained in place. Other input blocks
        than x are noise, N(0, I).
      settings: of both trainings together; `eval_every_steps` is also the number of steps between
        annealings; 0: so many that there are ANNEALINGS.
      method: "annealed" learns draws that are annealed from the Gaussian and then from the flow
        (see `annealed`), by maximum likelihood, and then minimises the reverse divergence, which is
        exact in the end; "reverse_kl" minimises that while the density is annealed, then the
        forward one with weighted draws of the flow (see `weigh`), which costs less and may lose
        modes.
      location, scale: mean and standard deviation of the Gaussian that a new model starts from;
        wide enough to reach all modes. A trained model starts as it is.
      forward_share: of the steps that go to annealed draws, three quarters by default; or, with
        "reverse_kl", over which the density is annealed, half of them; 0 leaves the reverse
        divergence alone.
      folder, resume, on_epoch, progress: as in `fit`.

    Raises:
      UserError: the density or the model does not fit.
      TrainingDiverged: NaN or Inf, also where the density is infinite for draws of the model.

    Example:
      >>> found = fit_density(log_density, realnvp(2), scale=5.0)
      >>> found.model.sample(100), found.sample(2000).log_z
    """
    model = model if isinstance(model, Model) else Model(model)
    settings = settings or FitSettings()
    share = SHARES.get(method, 0.0) if forward_share is None else forward_share
    _check(method, scale, share)
    forward, last = None, None
    if method == "reverse_kl" and share:
        settings, last = parts(settings)
    first = max(int(share * settings.steps), 0 if method == "reverse_kl" else 1)
    if method == "annealed":
        draws = annealed_draws(log_density, model, location, scale, settings.seed)
        of_first = of_steps(settings, first, ANNEALINGS)
        trainer = Trainer(
            model, draws, None, of_first, folder=_inside(folder, "forward"), resume=resume
        )
        forward = trainer.run(on_epoch, progress)
        settings, first = finish(settings, settings.steps - first), 0
    begin(model, location, scale, settings.seed)
    result = reverse(
        model,
        log_density,
        settings,
        location,
        scale,
        annealed_steps=first,
        folder=_inside(folder, "reverse"),
        resume=resume,
        on_epoch=on_epoch,
        progress=progress,
    )
    if last:
        of_last = _inside(folder, "weighed"), resume, on_epoch, progress
        result.train_seconds += weigh(model, log_density, last, *of_last).train_seconds
    if forward is not None:
        result.train_seconds += forward.train_seconds
    return DensityFit(**vars(result), model=model, log_density=log_density, forward=forward)


def reverse(
    model: Model,
    log_density: Callable,
    settings: FitSettings,
    location: float = 0.0,
    scale: float = 1.0,
    *,
    annealed_steps: int = 0,
    folder: str | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Trains a model that has started by the reverse divergence; arguments as in `fit_density`."""
    loss = reverse_kl(model, log_density, location, scale)
    latents = Latents(model, annealed_steps)
    trainer = Trainer(model, latents, None, settings, loss=loss, folder=folder, resume=resume)
    return trainer.run(on_epoch, progress)


def weigh(
    model: Model,
    log_density: Callable,
    settings: FitSettings,
    folder: str | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool | None = None,
) -> FitResult:
    """Trains a model that is nearly right on its own draws with weights, by maximum likelihood: the
    masses of its modes follow the density, which the reverse divergence does not see.

    Its weights stay as they were unless the effective share of its draws grows.
    """
    loss = forward_kl(model, log_density)
    before, kept = _share(model, loss), _values(model)
    options = {"loss": loss, "folder": folder, "resume": resume}
    result = Trainer(model, Latents(model), None, settings, **options).run(on_epoch, progress)
    if not _share(model, loss) > before:
        for name, variable in leaves(model.weights).items():
            variable.assign(kept[name])
    return result


def _share(model: Model, loss: Callable) -> float:
    """The effective share of JUDGED draws, op by op: a compilation would take longer."""
    found = loss(model.weights, Latents(model)(JUDGED, (0, -1)))
    log_weights = (found["log_p"] - found["log_q"]).numpy().astype(float)
    return WeightedSamples(np.empty((JUDGED, 0)), log_weights).ess_fraction


def _values(model: Model) -> dict:
    return {name: variable.numpy() for name, variable in leaves(model.weights).items()}


def parts(settings: FitSettings) -> tuple[FitSettings, FitSettings | None]:
    """Settings of the reverse divergence and of `weigh` after it, which few steps leave out."""
    last = int(WEIGHED * settings.steps)
    rest = settings.part(settings.steps - last)
    return rest, finish(settings, last) if last else None


def annealed_draws(log_density, model: Model, location=0.0, scale=1.0, seed: int = 0) -> Buffer:
    """Data for a `Trainer` that learns annealed draws by maximum likelihood; a new model starts at
    them, as one of data does at its first rows."""
    return Buffer(model, log_density, location, scale, seed=seed)


def of_steps(settings: FitSettings, steps: int, rows: int = 0) -> FitSettings:
    """The settings for so many steps, with so many rows of the history if they have no number."""
    every = settings.eval_every_steps or (rows and max(steps // rows, 1))
    return dataclasses.replace(settings.part(steps), eval_every_steps=every)


def finish(settings: FitSettings, steps: int) -> FitSettings:
    """Settings of the reverse divergence after the forward one: smaller steps."""
    rate = FINE * settings.learning_rate
    return dataclasses.replace(settings.part(steps), learning_rate=rate)


def begin(model: Model, location: float, scale: float, seed: int) -> None:
    """Starts a new model at N(location, scale^2 I); one that has started stays as it is."""
    z = model.partition.standard_sample(START_ROWS[1], (seed, -1), model.dtype)
    blocks = model.partition.split("inputs", z)
    start(model, {**blocks, "x": location + scale * blocks["x"]})


def _inside(folder: str | None, name: str) -> str | None:
    return folder and f"{folder.rstrip('/')}/{name}"


def check_method(method: str) -> None:
    """Raises UserError for a method that there is not."""
    if method not in SHARES:
        raise UserError(f"method is {method!r}, must be one of {', '.join(SHARES)}")


def _check(method: str, scale: float, share: float) -> None:
    check_method(method)
    if not scale > 0:
        raise UserError(f"scale is {scale}, must be above 0")
    if not 0 <= share < 1:
        raise UserError(f"forward_share is {share}, must be at least 0 and below 1")
