"""Settings that the three inverse problems share. Loads nothing heavy."""

from __future__ import annotations

import dataclasses
import math

from flow_models.core.errors import UserError
from flow_models.runs.config import RunConfig

FORMS = ("conditional", "joint")


@dataclasses.dataclass(frozen=True)
class PosteriorConfig(RunConfig):
    """Settings of applications 5, 6 and 7."""

    form: str = "conditional"
    """conditional (data into the couplings) or joint (data among the outputs)"""
    compare: bool = True
    """train the other form too, for the table"""
    simulations: int = 100_000
    """pairs of parameters and data drawn ahead for training"""
    validation_draws: int = 10_000
    """pairs that the training is watched on"""
    test_draws: int = 1000
    """fresh pairs for calibration, coverage and ranks; at least as many as `references`"""
    posterior_samples: int = 1000
    """of each posterior of the test"""
    reference: bool = True
    """compare with the reference sampler; kept on disk, so paid for once"""
    references: int = 10
    """observations for which the reference sampler is run"""
    reference_folder: str = ""
    """where its samples are kept; empty: ~/.cache/flow_models"""
    correct: bool = True
    """importance resampling of the flow's samples with the exact likelihood, as a row of its own"""
    observed: str = ""
    """CSV file of data of one's own, local or s3://; see data/README.md for the format"""
    architecture: str = "spline_coupling"
    """realnvp, spline_coupling, maf, iaf or glow"""
    depth: int = 6
    """layers"""
    hidden: tuple[int, ...] = (128, 128)
    """widths of the hidden layers of each conditioner"""
    activation: str = "silu"
    """relu, silu, tanh or gelu"""
    bins: int = 8
    """of the splines"""
    bound: float = 4.0
    """splines act on [-bound, bound]"""
    affine: bool = True
    """spline_coupling: an affine coupling in front of each spline"""
    linear: bool = True
    """spline_coupling: a learned linear layer, started at a random rotation, in front of each
    coupling"""
    summary: int = 0
    """conditional: columns that a network, trained along, makes of the data's context for all
    layers; 0: they see it whole"""
    summary_hidden: tuple[int, ...] = (128,)
    """widths of that network"""
    mmd_latents: float = 0.0
    """weight in the loss of the MMD^2 of (y, z) to independent ones, z of N(0, I) (Ardizzone et al.
    2019)"""
    mmd_parameters: float = 0.0
    """weight in the loss of the MMD^2 of parameters sampled for the data of a batch to its
    parameters"""
    reconstruction: float = 0.0
    """weight in the loss of the squared distance of parameters to those got back with y in place of
    what the network says of it"""
    joint_depth: int = 6
    """layers of the joint form, which are spline couplings whatever the architecture of the
    conditional form"""
    joint_hidden: tuple[int, ...] = (128, 128)
    """widths of its conditioners: it has the whole forward model to learn"""
    unroll: int = 1
    """layers in the body of the compiled loop; 1 compiles fastest, 0 (no loop) runs fastest"""


def check(config: PosteriorConfig) -> None:
    """Refuses settings before anything is simulated."""
    least = {
        "simulations": 1000,
        "validation_draws": 100,
        "test_draws": 20,
        "posterior_samples": 20,
        "references": 1,
    }
    least |= {
        name: value
        for name, value in (("components", 1), ("newton_steps", 0))
        if hasattr(config, name)
    }
    for name, value in least.items():
        if getattr(config, name) < value:
            raise UserError(f"{name} is {getattr(config, name)}, must be at least {value}")
    for name in ("summary", "mmd_latents", "mmd_parameters", "reconstruction"):
        if not 0 <= getattr(config, name) < math.inf:
            raise UserError(f"{name} is {getattr(config, name)}, must be at least 0")
    if (
        config.batch_size > config.simulations
    ):  # found before a form that draws as it goes is trained, not after
        raise UserError(
            f"batch_size is {config.batch_size}, more than the {config.simulations} simulations:"
            " lower it, or raise those"
        )
    if config.form not in FORMS:
        raise UserError(f"no form {config.form!r}; there are {', '.join(FORMS)}")
    if not 0 < config.bound < math.inf:
        raise UserError(f"bound is {config.bound}; it must be above 0")
    if config.reference or config.observed:
        from flow_models.references import cache as reference_cache

        reference_cache.folder_of(config.reference_folder)
