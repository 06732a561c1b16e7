"""Network and training of a posterior from pairs alone, by their number and their columns.

They were chosen on the problems of benchmarks/inverse_problems.py and two others.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from flow_models.training.settings import FitSettings

WIDEST = 16  # parameters, up to which a pass for each of them is fast enough to sample
PASSES = 400  # through few pairs
STEPS = 12_000  # at most, unless that is less than
LEAST_PASSES = 10
PATIENCE = 20  # looks at the held-out pairs that find nothing better
FEWEST_STEPS = 10  # between looks
DECAYED = 1_000  # over the pairs: the weight decay, at most
MOST_DECAY = 0.1
# follow from the pairs
OF_PAIRS = ("steps", "batch_size", "eval_every_steps", "patience", "ema", "weight_decay")


@dataclasses.dataclass(frozen=True, repr=False)
class OwnFit(FitSettings):
    """How to train on pairs; -1 stands for what follows from their number."""

    steps: int = -1
    """optimizer steps in all; -1, here and in the five below: by the number of pairs"""
    batch_size: int = -1
    """rows a step"""
    eval_every_steps: int = -1
    """steps between evaluations, each a row of the history; 0: a fiftieth of all steps"""
    patience: int = -1
    """evaluations without a better validation objective before stopping; 0: never"""
    ema: float = -1.0
    """decay of the average of the weights that is evaluated and kept; 0: the weights themselves"""
    weight_decay: float = -1.0
    """share of each weight that is taken off in a step, times the rate (AdamW); 0: none"""

    def __post_init__(self):
        self.over(FitSettings())

    def over(self, found: FitSettings) -> FitSettings:
        """These settings, with those of `found` where they are -1.

        Raises:
          UserError: a setting that `FitSettings` refuses.
        """
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(FitSettings)}
        free = [name for name in OF_PAIRS if values[name] == -1]
        return FitSettings(**{**values, **{name: getattr(found, name) for name in free}})


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What `fit_posterior` does where it is told nothing.

    Attributes:
      architecture, options: of `architectures.build`.
      settings: of the training.
    """

    architecture: str
    options: dict[str, Any]
    settings: FitSettings


def defaults(pairs: int, parameters: int, data: int) -> Defaults:
    """Of `pairs` training pairs, with so many columns of parameters and of data.

    Autoregressive splines are the most accurate, and take a pass for each parameter to sample: of
    many parameters, couplings are faster. Training stops where the held-out pairs say so; its
    length is a limit.
    """
    batch = batch_size(pairs)
    per_pass = max(pairs // batch, 1)
    steps = min(PASSES * per_pass, max(STEPS, LEAST_PASSES * per_pass))
    look = max((2 if pairs < 10_000 else 1) * per_pass, FEWEST_STEPS)
    settings = FitSettings(
        steps=steps,
        batch_size=batch,
        eval_every_steps=look,
        patience=PATIENCE,
        ema=0.99,
        weight_decay=min(MOST_DECAY, DECAYED / pairs),
    )
    hidden = (128, 128, 128) if data + parameters <= 256 else (256, 256)
    options = {"bins": 8, "activation": "silu", "layers_per_loop_body": 1, "hidden": hidden}
    options |= {"affine": True, "linear": True}  # of couplings
    architecture = "maf" if parameters <= WIDEST else "spline_coupling"
    return Defaults(architecture, options, settings)


def batch_size(pairs: int) -> int:
    """About 4 sqrt(pairs), between 64 and 512."""
    return min(max(round(4 * math.sqrt(pairs) / 16) * 16, 64), 512, pairs)
