"""How to train: plain data, known without loading TensorFlow."""

from __future__ import annotations

import dataclasses
import math
import numbers

from flow_models.core.errors import UserError
from flow_models.core.shown import flat_repr
from flow_models.training.cluster import STRATEGIES

SCHEDULES = ("constant", "exponential", "cosine")


@dataclasses.dataclass(frozen=True, repr=False)
class FitSettings:
    """How to train.

    Raises:
      UserError: a number of the wrong type or out of its range; the message says which.
    """

    steps: int = 5000
    """optimizer steps in all"""
    minutes: float = 0.0
    """time of the training, compilation included: as many steps as fit, whatever `steps` says; 0:
    so many as `steps` says"""
    batch_size: int = 512
    """rows a step"""
    eval_every_steps: int = 0
    """steps between evaluations, each a row of the history; 0: a fiftieth of all steps"""
    learning_rate: float = 4e-3
    """highest rate of Adam"""
    schedule: str = "cosine"
    """constant, exponential or cosine decay after the warm-up"""
    warmup_steps: int = 200
    """linear rise to the highest rate; at most a quarter of all steps"""
    final_fraction: float = 0.0
    """rate at the end over the highest rate; exponential needs it above 0"""
    beta1: float = 0.9
    """Adam's decay of the first moment"""
    beta2: float = 0.99
    """Adam's decay of the second moment"""
    weight_decay: float = 0.0
    """share of each weight that is taken off in a step, times the rate (AdamW); 0: none"""
    clip_norm: float = 5.0
    """gradients are scaled to at most this global norm; 0: never"""
    ema: float = 0.998
    """decay of the average of the weights that is evaluated and kept; 0: the weights themselves"""
    patience: int = 0
    """evaluations without a better validation objective (training, if none) before stopping; 0:
    never"""
    checkpoint_seconds: float = 30.0
    """least time between checkpoints"""
    seed: int = 0
    """of initial weights, splits, batches and simulators"""
    microbatches: int = 1
    """independent parts of a batch, which XLA runs on different cores; 2 pays for layers without a
    loop"""
    jit: bool = True
    """compile with XLA"""
    tf32: bool = False
    """on GPUs that have it, take TF32 (mantissas of 10 bits) in the matrix products of training;
    densities and samples keep float32"""
    strategy: str = "auto"
    """single (one device), mirrored (all GPUs here), multiworker (TF_CONFIG or AWS Batch), or auto:
    whichever there is"""

    def __post_init__(self):
        _check_types(self)
        wrong = [
            (self.steps < 1, f"steps is {self.steps}, must be at least 1"),
            (not 0 <= self.minutes < math.inf, f"minutes is {self.minutes}, must be at least 0"),
            (self.batch_size < 1, f"batch_size is {self.batch_size}, must be at least 1"),
            (
                self.eval_every_steps < 0,
                f"eval_every_steps is {self.eval_every_steps}, must be at least 0",
            ),
            (
                not 0 < self.learning_rate < math.inf,
                f"learning_rate is {self.learning_rate}, must be above 0",
            ),
            (
                self.schedule not in SCHEDULES,
                f"schedule is {self.schedule!r}, must be one of {', '.join(SCHEDULES)}",
            ),
            (self.warmup_steps < 0, f"warmup_steps is {self.warmup_steps}, must be at least 0"),
            (
                not 0 <= self.final_fraction <= 1,
                f"final_fraction is {self.final_fraction}, must be between 0 and 1",
            ),
            (not 0 <= self.beta1 < 1, f"beta1 is {self.beta1}, must be in [0, 1)"),
            (not 0 <= self.beta2 < 1, f"beta2 is {self.beta2}, must be in [0, 1)"),
            (
                self.strategy not in STRATEGIES,
                f"strategy is {self.strategy!r}, must be one of {', '.join(STRATEGIES)}",
            ),
            (
                self.schedule == "exponential" and self.final_fraction == 0,
                "an exponential schedule needs a final_fraction above 0",
            ),
            (
                not 0 <= self.clip_norm < math.inf,
                f"clip_norm is {self.clip_norm}, must be at least 0",
            ),
            (
                not 0 <= self.weight_decay < math.inf,
                f"weight_decay is {self.weight_decay}, must be at least 0",
            ),
            (
                not self.checkpoint_seconds >= 0,
                f"checkpoint_seconds is {self.checkpoint_seconds}, must be at least 0",
            ),
            (not 0 <= self.ema < 1, f"ema is {self.ema}, must be in [0, 1)"),
            (self.microbatches < 1, f"microbatches is {self.microbatches}, must be at least 1"),
            (
                self.microbatches > 1 and self.batch_size % self.microbatches,
                f"microbatches is {self.microbatches}, must divide batch_size {self.batch_size}",
            ),
            (self.patience < 0, f"patience is {self.patience}, must be at least 0"),
            (not 0 <= self.seed < 2**31, f"seed is {self.seed}, must be at least 0 and below 2^31"),
        ]
        for is_wrong, message in wrong:
            if is_wrong:
                raise UserError(message)

    def __repr__(self) -> str:
        return flat_repr(self)

    def row_steps(self, steps: int) -> int:
        """Steps between evaluations of a training of so many steps."""
        return min(steps, self.eval_every_steps or max(steps // 50, 1))

    def part(self, steps: int) -> FitSettings:
        """The settings of so many of the steps, with as large a share of the minutes."""
        return dataclasses.replace(self, steps=steps, minutes=self.minutes * steps / self.steps)


def _check_types(settings) -> None:
    """Raises UserError for a field that is no number, or no whole one, where one is expected."""
    for field in dataclasses.fields(settings):
        value, default = getattr(settings, field.name), field.default
        kind = {int: numbers.Integral, float: numbers.Real}.get(type(default), object)
        if not isinstance(value, kind) or kind is not object and isinstance(value, bool):
            what = "whole number" if isinstance(default, int) else "number"
            raise UserError(f"{field.name} is {value!r}, must be a {what}")
