"""`fit_density`: training on a density instead of data (variational inference)."""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from flow_models.bijectors.face import FlowBijector
from flow_models.core.errors import UserError
from flow_models.diagnostics.importance import WeightedSamples
from flow_models.models.model import Model
from flow_models.models.weighted import weighted_samples
from flow_models.training.prepared import START_ROWS, start
from flow_models.training.reverse_kl import Latents, reverse_kl
from flow_models.training.settings import FitSettings
from flow_models.training.trainer import FitResult, Trainer


@dataclasses.dataclass(repr=False)
class DensityFit(FitResult):
    """What the training did, the trained model, and the density that it was trained on."""

    model: Model
    log_density: Callable

    def sample(self, n: int, seed: int = 0) -> WeightedSamples:
        """n draws of the model with importance weights: log Z, its standard error, the effective
        share and expectations under the density."""
        return weighted_samples(self.model, self.log_density, n, seed)


def fit_density(
    log_density: Callable[[tf.Tensor], tf.Tensor],
    model: Model | FlowBijector,
    settings: FitSettings | None = None,
    *,
    location: float = 0.0,
    scale: float = 1.0,
    annealed_share: float = 0.5,
    folder: str | None = None,
    resume: bool = False,
    on_epoch: Callable[[dict], None] | None = None,
    progress: bool | None = None,
) -> DensityFit:
    """Trains a model on an unnormalised density, without data.

    Args:
      log_density: log p(x) up to a constant, tensors [B, D] -> [B], written with TensorFlow.
      model: a `Model` of vectors without y, or a flow; it is trained in place.
      location, scale: mean and standard deviation of the Gaussian that a new model starts from;
        wide enough to reach all modes. A trained model starts as it is.
      annealed_share: of the steps, over which the density is annealed from that Gaussian.
      settings, folder, resume, on_epoch, progress: as in `fit`.

    Raises:
      UserError: the density or the model does not fit.
      TrainingDiverged: NaN or Inf, also where the density is infinite for draws of the model.

    Example:
      >>> found = fit_density(log_density, realnvp(2), scale=5.0)
      >>> found.model.sample(100), found.sample(2000).log_z
    """
    model = model if isinstance(model, Model) else Model(model)
    settings = settings or FitSettings()
    if not scale > 0:
        raise UserError(f"scale is {scale}, must be above 0")
    if not 0 <= annealed_share < 1:
        raise UserError(f"annealed_share is {annealed_share}, must be at least 0 and below 1")
    loss = reverse_kl(model, log_density, location, scale)
    begin(model, location, scale, settings.seed)
    latents = Latents(model, int(annealed_share * settings.steps))
    trainer = Trainer(model, latents, None, settings, loss=loss, folder=folder, resume=resume)
    result = trainer.run(on_epoch, progress)
    return DensityFit(**vars(result), model=model, log_density=log_density)


def begin(model: Model, location: float, scale: float, seed: int) -> None:
    """Starts a new model at N(location, scale^2 I); one that has started stays as it is."""
    z = model.partition.standard_sample(START_ROWS[1], (seed, -1), model.dtype)
    blocks = model.partition.split("inputs", z)
    start(model, {**blocks, "x": location + scale * blocks["x"]})
